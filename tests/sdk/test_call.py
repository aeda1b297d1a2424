"""A call of any size, cut to what the broker takes, and its answers as one result."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beliefd.call import checked_header, read_call, step_call, want_bits
from beliefd.session import Pending
from beliefd_proto import Applied, Command, Message, ModelInfo, Want
from beliefd_proto import messages as m
from beliefd_proto.errors import BeliefdError, DeadlineExceeded, InvalidArgument, TickTaken

UID = "b" * 16
INFO = ModelInfo("0" * 64, "float32", (4, 3), (4, 2), (4, 1), (0,), 1, 4)
ALL = ("beliefs", "q_pi", "neg_efe", "vfe")


def arrays_of(call, chunk):
    """What a server would answer: every value tells its agent."""
    rows = call.rows[chunk.start : chunk.stop].astype(np.float32)
    return {
        "actions": np.stack([rows % 4, rows * 0], axis=1).astype(np.int8),
        "beliefs": rows[:, None] + np.arange(6, dtype=np.float32),
        "q_pi": rows[:, None] + np.zeros(4, np.float32),
        "neg_efe": -rows[:, None] + np.zeros(4, np.float32),
        "vfe": rows,
    }


def answer(call, failed=()):
    errors = dict(failed)
    for place, chunk in enumerate(call.chunks):
        chunk.future = Pending(Command.STEP, chunk.header, {}, 0.0)
        if place in errors:
            chunk.future.outcome = errors[place]
        else:
            chunk.future.outcome = Message(Command.STEPPED, m.Done(id=chunk.header.id), arrays_of(call, chunk))


def steps(rows, limits=None, ticks=None, want=ALL):
    rows = np.asarray(rows)
    ticks = np.ones(len(rows), np.int64) if ticks is None else np.asarray(ticks)
    inputs = {"observations": np.stack([rows % 4, rows % 3], axis=1).astype(np.int8)}
    return step_call(UID, INFO, limits or m.Limits(), rows, ticks, inputs, want_bits(want))


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(1, 20), st.booleans(), st.randoms())
def test_every_agent_is_in_one_chunk_with_its_own_input_and_tick(agents, size, several_ticks, random):
    rows = list(agents)
    random.shuffle(rows)
    ticks = [1 + row % 3 if several_ticks else 7 for row in rows]
    call = steps(rows, m.Limits(chunk_agents=size), ticks)
    seen = []
    for chunk in call.chunks:
        header = chunk.header
        assert 1 <= header.count <= size
        assert header.count == chunk.stop - chunk.start
        own = chunk.arrays.get("agents")
        assert (own is None) == (header.first is not None)
        own = np.arange(header.first, header.first + header.count) if own is None else own
        own_ticks = np.full(header.count, header.tick) if header.tick is not None else chunk.arrays["ticks"]
        assert own_ticks.tolist() == [ticks[rows.index(row)] for row in own.tolist()]
        assert chunk.arrays["observations"][:, 0].tolist() == (own % 4).tolist()
        seen += own.tolist()
    assert seen == rows
    assert len({chunk.header.id for chunk in call.chunks}) == len(call.chunks)
    answer(call)
    assert call.error() is None
    step = call.step()
    np.testing.assert_array_equal(step.actions[:, 0], np.array(rows) % 4)
    assert step.actions.dtype == np.int32
    np.testing.assert_array_equal(step.tick, ticks)
    np.testing.assert_array_equal(step.vfe, rows)
    assert [b.shape for b in step.beliefs] == [(len(rows), 4), (len(rows), 2)]
    np.testing.assert_array_equal(step.beliefs[1][:, 0], np.array(rows) + 4)


def test_neighbours_travel_as_a_range_and_others_by_number():
    (chunk,) = steps(range(5, 9)).chunks
    assert (chunk.header.first, "agents" in chunk.arrays) == (5, False)
    (chunk,) = steps([5, 7, 6, 8]).chunks
    assert chunk.header.first is None
    assert chunk.arrays["agents"].dtype == np.uint32


def test_chunks_are_as_few_as_answers_and_inputs_allow_and_of_one_size():
    limits = m.Limits(frame_bytes=1000)
    most = 1000 // INFO.answer_row_bytes(Want.BELIEFS | Want.Q_PI | Want.NEG_EFE | Want.VFE)
    for agents in (most, most + 1, 5 * most, 5 * most + 2):
        counts = [c.header.count for c in steps(range(agents), limits).chunks]
        assert (len(counts), sum(counts)) == (-(-agents // most), agents)
        assert max(counts) <= most
        assert max(counts) - min(counts) < len(counts)
    most = 1000 // INFO.answer_row_bytes(Want.NOTHING)
    assert [c.header.count for c in steps(range(4 * most), limits, want=()).chunks] == [most] * 4
    wide = {"distribution0": np.zeros((40, 4)), "observations": np.zeros((40, 2), np.int8)}
    rows = np.arange(40)
    call = step_call(UID, INFO, m.Limits(frame_bytes=100), rows, rows + 1, wide, Want.NOTHING)
    assert {c.header.count for c in call.chunks} == {100 // 34, 40 % (100 // 34)} - {0}
    tiny = m.Limits(frame_bytes=1)
    assert {c.header.count for c in steps(range(3), tiny).chunks} == {1}


def test_an_error_tells_of_all_agents_of_the_call_and_keeps_what_was_done():
    call = steps(range(6), m.Limits(chunk_agents=2))
    taken = TickTaken("taken", applied=np.array([Applied.YES, Applied.NO], np.uint8))
    taken.partial = {name: a * 1 for name, a in arrays_of(call, call.chunks[1]).items()} | {"applied": taken.applied}
    answer(call, {1: taken, 2: DeadlineExceeded("late", applied=np.full(2, Applied.UNKNOWN, np.uint8))}.items())
    error = call.error()
    assert error is taken
    assert error.applied.tolist() == [Applied.YES] * 3 + [Applied.NO] + [Applied.UNKNOWN] * 2
    assert error.partial.actions[:, 0].tolist() == [0, 1, 2, 3, 0, 0]
    assert error.partial.vfe.tolist() == [0, 1, 2, 3, 0, 0]


def test_an_error_that_does_not_say_what_was_applied_leaves_it_open():
    call = steps(range(4), m.Limits(chunk_agents=2))
    answer(call, {0: BeliefdError("?")}.items())
    assert call.error().applied.tolist() == [Applied.UNKNOWN] * 2 + [Applied.YES] * 2


def test_an_error_of_everything_has_no_partial_result():
    call = steps(range(2))
    answer(call, {0: DeadlineExceeded("late", applied=np.zeros(2, np.uint8))}.items())
    assert call.error().partial is None


def test_learned_counts_are_read_in_chunks_that_a_frame_holds():
    learners = msgspec.structs.replace(INFO, learned={"pB0": (5, 5, 2), "pE": (4,)})
    call = read_call(UID, learners, m.Limits(frame_bytes=1000), slice(0, 12), Want.LEARNED)
    assert [c.header.count for c in call.chunks] == [1000 // (54 * 4 + INFO.answer_row_bytes(0))] * 3


def test_a_read_is_cut_likewise():
    call = read_call(UID, INFO, m.Limits(chunk_agents=3), np.array([4, 5, 6, 8]), Want.OBSERVATION)
    assert [(c.header.first, c.header.count) for c in call.chunks] == [(4, 2), (None, 2)]
    for chunk in call.chunks:
        chunk.future = Pending(Command.STEP, chunk.header, {}, 0.0)
        rows = call.rows[chunk.start : chunk.stop]
        told = {"tick": rows * 10, "actions": np.zeros((len(rows), 2), np.int8), "observations": rows[:, None] * [1, 1]}
        chunk.future.outcome = Message(Command.VALUES, m.Values(id=bytes(16)), told)
    reading = call.reading()
    assert reading.tick.tolist() == [40, 50, 60, 80]
    assert reading.observations[:, 0].tolist() == [4, 5, 6, 8]
    assert reading.beliefs is None


def test_want():
    assert want_bits(("beliefs", "vfe")) == Want.BELIEFS | Want.VFE
    assert want_bits("q_pi") == Want.Q_PI
    assert want_bits((), read=True) == Want.NOTHING
    with pytest.raises(InvalidArgument) as caught:
        want_bits(["vfe", "observations"])
    assert (caught.value.field, caught.value.index) == ("want", (1,))
    assert want_bits(["observations"], read=True) == Want.OBSERVATION


@pytest.mark.parametrize("want", [None, 5, [["a"]], [None], {"vfe": 1, "x": 2}, b"vfe"])
def test_a_want_that_is_no_list_of_outputs(want):
    with pytest.raises(InvalidArgument) as caught:
        want_bits(want)
    assert caught.value.field == "want"


def test_a_name_that_is_refused_says_what_names_are():
    with pytest.raises(InvalidArgument) as caught:
        checked_header(m.Attach, name="a/b")
    assert str(caught.value).startswith("name: not a usable name (got 'a/b'); allowed: 1..128 letters")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"name": 5}, "name"),
        ({"name": "\ud800"}, "name"),
    ],
)
def test_a_header_is_checked_before_it_travels(fields, field):
    with pytest.raises(InvalidArgument) as caught:
        checked_header(m.Attach, **fields)
    assert caught.value.field == field
    assert len(checked_header(m.Attach, name="mice").id) == 16
