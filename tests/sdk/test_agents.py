"""Arguments about agents: what is accepted is exact, what is not is named."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peer import INFO

from beliefd.agents import agent_rows, executed_array, new_ids, reset_array
from beliefd.wire import ids_from
from beliefd_proto import ModelInfo
from beliefd_proto.errors import InvalidArgument, InvalidInput, UnknownAgent

LIVE = np.array([0, 1, 4, 5, 9])
IDS = {"a": 0, "b": 1, "e": 4}
TWO = ModelInfo("0" * 64, "float32", (2,), (2, 2), (3, 2), (0, 1), 1, 6)


@given(st.data())
def test_numbers_keep_the_order_of_the_call(data):
    live = np.array(sorted(data.draw(st.sets(st.integers(0, 40), min_size=1))))
    asked = data.draw(st.lists(st.sampled_from(live.tolist()), unique=True, min_size=1))
    dtype = data.draw(st.sampled_from(["u1", "i4", "i8", "u8"]))
    rows = agent_rows(np.array(asked, dtype), live, None)
    assert rows.dtype == np.int64
    assert rows.tolist() == asked


@given(st.lists(st.integers(-5, 15), min_size=1, max_size=12))
def test_any_list_of_numbers_is_taken_whole_or_refused(asked):
    if set(asked) <= set(LIVE.tolist()) and len(set(asked)) == len(asked):
        assert agent_rows(asked, LIVE, None).tolist() == asked
        return
    with pytest.raises((UnknownAgent, InvalidArgument)) as caught:
        agent_rows(asked, LIVE, None)
    (at,) = caught.value.index
    assert asked[at] == caught.value.value
    assert asked[at] not in LIVE or asked.index(asked[at]) < at


def test_all_that_live_and_ids():
    assert agent_rows(None, LIVE, None) is LIVE
    assert agent_rows(["e", "a"], LIVE, IDS).tolist() == [4, 0]
    assert agent_rows(np.array(["e", "a"]), LIVE, IDS).tolist() == [4, 0]
    assert agent_rows(np.array(["e", "a"], object), LIVE, IDS).tolist() == [4, 0]


@pytest.mark.parametrize("nobody", [[], (), np.zeros(0), np.zeros(0, np.int64)])
def test_no_agents_are_told_to_be_none(nobody):
    with pytest.raises(InvalidArgument, match="one agent or more"):
        agent_rows(nobody, LIVE, None)


@pytest.mark.parametrize(
    ("agents", "kind", "index"),
    [
        ([], InvalidArgument, None),
        ([[1]], InvalidArgument, None),
        ([1.0], InvalidArgument, None),
        ([True], InvalidArgument, None),
        ([[1], [1, 4]], InvalidArgument, None),
        (["a", 4], InvalidArgument, None),
        ([2**70], InvalidArgument, None),
        (3, InvalidArgument, None),
        (["a", "e", "a"], InvalidArgument, (2,)),
        (["a", "z"], UnknownAgent, (1,)),
        ([4, 2], UnknownAgent, (1,)),
        ([10], UnknownAgent, (0,)),
        ([-1], UnknownAgent, (0,)),
    ],
)
def test_agents_that_are_refused(agents, kind, index):
    with pytest.raises(kind) as caught:
        agent_rows(agents, LIVE, IDS)
    assert (caught.value.field, caught.value.index) == ("agents", index)


def test_ids_where_there_are_none_and_a_population_without_agents():
    with pytest.raises(UnknownAgent, match="no ids"):
        agent_rows(["a"], LIVE, None)
    nobody = np.zeros(0, np.int64)
    with pytest.raises(InvalidArgument):
        agent_rows(None, nobody, None)
    with pytest.raises(UnknownAgent):
        agent_rows([0], nobody, None)


@pytest.mark.parametrize("reset", [[True, False], [1, 0], np.array([1, 0], np.uint8)])
def test_a_mask_travels_as_zeros_and_ones(reset):
    mask = reset_array(reset, 2)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [1, 0]


@pytest.mark.parametrize(
    "reset", [[True], [[True, False]], [2, 0], [-1, 0], [0.0, 1.0], ["x", "y"], [[1], [0, 1]], True]
)
def test_masks_that_are_refused(reset):
    with pytest.raises(InvalidArgument) as caught:
        reset_array(reset, 2)
    assert caught.value.field == "reset"


def test_executed_actions_of_the_one_controlled_factor():
    assert executed_array([3, -1], INFO, 2).tolist() == [[3], [-1]]
    coupled = ModelInfo("0" * 64, "float32", (2,), (2, 2), (1, 4), (1,), 1, 4)
    assert executed_array([3, -1], coupled, 2).tolist() == [[0, 3], [-1, -1]]
    assert executed_array([[0, 3], [0, -1]], coupled, 2).tolist() == [[0, 3], [0, -1]]


@pytest.mark.parametrize(
    ("executed", "index"),
    [
        ([[0, 0]], None),
        ([[0], [0]], None),
        ([0, 0], None),
        ([[0.0, 0.0], [0.0, 0.0]], None),
        ([[0, 0], [0]], None),
        ([[0, 0], [3, 0]], (1, 0)),
        ([[0, 2], [0, 0]], (0, 1)),
        ([[0, 0], [0, -2]], (1, 1)),
        (np.array([[0, 0], [0, 2**63]], np.uint64), (1, 1)),
    ],
)
def test_executed_actions_that_are_refused(executed, index):
    with pytest.raises(InvalidArgument) as caught:
        executed_array(executed, TWO, 2)
    assert (caught.value.field, caught.value.index) == ("executed_actions", index)


@pytest.mark.parametrize(("agent", "factor", "value"), [(0, 0, 3), (700, 1, 2), (999, 1, -2)])
def test_of_many_agents_the_one_whose_action_is_refused_is_named(agent, factor, value):
    executed = np.tile(np.array([2, -1], np.int8), (1000, 1))
    assert executed_array(executed, TWO, 1000, np.int8).dtype == np.int8
    executed[agent, factor] = value
    with pytest.raises(InvalidArgument) as caught:
        executed_array(executed, TWO, 1000)
    assert (caught.value.index, caught.value.value) == ((agent, factor), value)


@pytest.mark.parametrize("action", [2**64 - 1, 2**63, 4])
def test_an_executed_action_is_checked_as_it_came(action):
    with pytest.raises(InvalidArgument) as caught:
        executed_array(np.array([0, action], np.uint64), INFO, 2)
    assert (caught.value.index, caught.value.value) == ((1, 0), action)


@pytest.mark.parametrize("ids", [["a", "é"], ("a", "é"), np.array(["a", "é"]), np.array(["a", "é"], object)])
def test_new_ids_travel_as_arrays(ids):
    assert ids_from(new_ids(ids)) == ("a", "é")
    assert new_ids(None) == {}
    assert ids_from(new_ids([])) == ()


@pytest.mark.parametrize(
    ("ids", "index"), [(5, None), ("ab", None), (b"ab", None), ({"a"}, None), (["a", 1], (1,)), (["a", "\ud800"], (1,))]
)
def test_new_ids_that_are_none(ids, index):
    with pytest.raises(InvalidArgument) as caught:
        new_ids(ids)
    assert (caught.value.field, caught.value.index) == ("agent_ids", index)


@pytest.mark.parametrize("executed", [[0.5, 1.0], [float("nan"), 0.0], ["0", "1"], [True, False]])
def test_executed_actions_of_one_factor_are_never_rounded(executed):
    with pytest.raises(InvalidArgument):
        executed_array(executed, INFO, 2)


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=3), st.lists, max_leaves=8))
def test_whatever_is_passed_is_taken_or_refused_as_bad_input(value):
    for check in (
        lambda: agent_rows(value, LIVE, IDS),
        lambda: reset_array(value, 2),
        lambda: executed_array(value, INFO, 2),
    ):
        with contextlib.suppress(InvalidInput, UnknownAgent):
            check()
