from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from beliefd.observations import DISTRIBUTION, MISSING, Observations, canonical, check, wire_dtype
from beliefd_proto.errors import InvalidObservation
from beliefd_proto.model_info import ModelInfo


def info(*num_obs: int) -> ModelInfo:
    return ModelInfo(
        hash="0" * 64,
        dtype="float32",
        num_obs=num_obs,
        num_states=(2,),
        num_controls=(2,),
        control_fac_idx=(0,),
        policy_len=1,
        num_policies=2,
    )


def refusal(observations: Any, num_obs: tuple[int, ...], agents: int) -> InvalidObservation:
    with pytest.raises(InvalidObservation) as caught:
        canonical(observations, info(*num_obs), agents)
    assert caught.value.field
    return caught.value


def same(found: Observations, indices: Any, *distributions: Any) -> None:
    assert found.indices.dtype == np.int32
    assert found.indices.flags.c_contiguous
    assert found.indices.tolist() == indices
    for probabilities, expected in zip(found.distributions, distributions, strict=True):
        if expected is None:
            assert probabilities is None
        else:
            assert probabilities is not None
            assert probabilities.flags.c_contiguous
            assert probabilities.tolist() == expected


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i4", "i8", "u8", ">i4"])
def test_rows_of_any_integer_type(dtype: str) -> None:
    same(canonical(np.array([[0, 2], [1, 0]], dtype=dtype), info(2, 3), 2), [[0, 2], [1, 0]], None, None)


def test_one_modality_may_be_flat() -> None:
    for flat in (np.array([0, -1, 4]), [0, -1, 4], (0, -1, 4), [np.int64(0), np.int64(-1), np.int64(4)]):
        same(canonical(flat, info(5), 3), [[0], [-1], [4]], None)
    same(canonical(np.array([[0], [-1], [4]]), info(5), 3), [[0], [-1], [4]], None)
    same(canonical([3], info(5), 1), [[3]], None)


def test_slices_become_contiguous() -> None:
    wide = np.zeros((4, 4), dtype=np.int32)
    same(canonical(wide[:, ::2], info(1, 1), 4), [[0, 0]] * 4, None, None)


def test_indices_and_distributions_mix_per_modality() -> None:
    found = canonical([np.array([1, -1]), np.array([[0.25, 0.75], [1, 0]], dtype=np.float32)], info(2, 2), 2)
    same(found, [[1, DISTRIBUTION], [MISSING, DISTRIBUTION]], None, [[0.25, 0.75], [1.0, 0.0]])
    assert found.distributions[1] is not None
    assert found.distributions[1].dtype == np.float32


@pytest.mark.parametrize(
    ("dtype", "kept"), [("f2", np.float32), ("f4", np.float32), ("f8", np.float64), ("longdouble", np.float64)]
)
def test_distribution_types(dtype: str, kept: Any) -> None:
    probabilities = np.asfortranarray(np.full((3, 2), 0.5, dtype=dtype))
    found = canonical([probabilities], info(2), 3)
    assert found.distributions[0] is not None
    assert found.distributions[0].dtype == kept
    assert found.distributions[0].flags.c_contiguous


class TestListOrRows:
    """A list of length M is one entry per modality where M != n or an entry is an array; otherwise it is rows."""

    def test_rows_where_the_counts_differ(self) -> None:
        same(canonical([[0, 1], [1, 2], [0, 0]], info(2, 3), 3), [[0, 1], [1, 2], [0, 0]], None, None)

    def test_modalities_where_the_counts_differ(self) -> None:
        same(canonical([[0, 1, 1], (1, 2, 0)], info(2, 3), 3), [[0, 1], [1, 2], [1, 0]], None, None)

    def test_rows_where_the_counts_agree_and_all_are_lists(self) -> None:
        same(canonical([[0, 2], [1, 0]], info(2, 3), 2), [[0, 2], [1, 0]], None, None)

    def test_modalities_where_the_counts_agree_and_one_is_an_array(self) -> None:
        same(canonical([np.array([0, 1]), [2, 0]], info(2, 3), 2), [[0, 2], [1, 0]], None, None)

    def test_an_array_is_always_rows(self) -> None:
        same(canonical(np.array([[0, 2], [1, 0]]), info(2, 3), 2), [[0, 2], [1, 0]], None, None)

    def test_nested_lists_of_probabilities(self) -> None:
        same(canonical([[[0.5, 0.5]] * 3], info(2), 3), [[-2]] * 3, [[0.5, 0.5]] * 3)

    def test_one_agent_with_one_list_per_modality(self) -> None:
        same(canonical([[0], [2]], info(2, 3), 1), [[0, 2]], None, None)

    def test_one_agent_with_one_row(self) -> None:
        same(canonical([[0, 2]], info(2, 3), 1), [[0, 2]], None, None)


@pytest.mark.parametrize("value", [3, -2, -3, 127])
def test_index_out_of_range_names_agent_modality_and_value(value: int) -> None:
    rows = np.zeros((5, 2), dtype=np.int8)
    rows[3, 1] = value
    for form in (rows, rows.tolist(), [rows[:, 0], rows[:, 1]]):
        error = refusal(form, (2, 3), 5)
        assert (error.index, error.value) == ((3, 1), value)
        assert error.allowed == "0..2, or -1 for a missing one"


@pytest.mark.parametrize("value", [2**32, 2**63 - 1, -(2**32)])
def test_an_index_that_would_wrap_is_refused(value: int) -> None:
    assert refusal(np.array([0, value]), (2,), 2).value == value


def test_the_first_offender_is_named() -> None:
    assert refusal(np.array([0, 9, 8]), (2,), 3).index == (1, 0)


@pytest.mark.parametrize(
    ("observations", "num_obs", "agents"),
    [
        (np.array([[0.0, 1.0]]), (2, 2), 1),
        (np.array([0.0, 1.0]), (2,), 2),
        ([0.0, 1.0], (2,), 2),
        (np.array([True, False]), (2,), 2),
        ([np.array([True, False])], (2,), 2),
        (np.array([0, 1], dtype=object), (2,), 2),
        ([np.array([0, None], dtype=object)], (2,), 2),
        (["0", "1"], (2,), 2),
        (None, (2,), 2),
        ({0: 1}, (2,), 1),
        ([[0, 1], [0]], (2, 2), 3),
        ([[0, 1], [0]], (2, 2), 2),
        (np.array([0, 1]), (2, 2), 1),
        (np.array([0, 1]), (2,), 3),
        (np.zeros((2, 1, 1), dtype=int), (2,), 2),
        (np.zeros((2, 3), dtype=int), (2, 2), 2),
        ([np.zeros(2, dtype=int)], (2, 2), 2),
        ([np.zeros((2, 1), dtype=int)], (2,), 2),
        ([np.full((2, 3), 1 / 3)], (2,), 2),
        ([np.full((3, 2), 1 / 2)], (2,), 2),
        ([np.array([0.5, 0.5])], (2,), 2),
        ([np.array([0.5 + 0j, 0.5])], (2,), 2),
    ],
)
def test_wrong_types_and_shapes(observations: Any, num_obs: tuple[int, ...], agents: int) -> None:
    refusal(observations, num_obs, agents)


@pytest.mark.parametrize(
    ("row", "value", "message"),
    [
        ([np.nan, np.nan], np.nan, "outcome 0"),
        ([0.5, np.nan], np.nan, "outcome 1"),
        ([1.5, -0.5], -0.5, "outcome 1"),
        ([0.5, 0.4], 0.9, "sum to 1"),
        ([0.0, 0.0], 0.0, "sum to 1"),
        ([np.inf, 0.0], np.inf, "sum to 1"),
    ],
)
def test_bad_distribution_names_agent_modality_and_value(row: list[float], value: float, message: str) -> None:
    probabilities = np.full((4, 2), 0.5)
    probabilities[2] = row
    error = refusal([np.zeros(4, dtype=int), probabilities], (2, 2), 4)
    assert error.index == (2, 1)
    assert error.value == pytest.approx(value, nan_ok=True)
    assert message in error.message


def test_row_sum_tolerance_is_1e_5() -> None:
    canonical([np.array([[0.5, 0.5 + 0.9e-5]])], info(2), 1)
    refusal([np.array([[0.5, 0.5 + 1.1e-5]])], (2,), 1)


def test_no_agents() -> None:
    assert canonical(np.zeros((0, 2), dtype=int), info(2, 3), 0).indices.shape == (0, 2)
    assert canonical([np.zeros(0, dtype=int), np.zeros((0, 3))], info(2, 3), 0).indices.shape == (0, 2)


@st.composite
def cases(draw: st.DrawFn) -> tuple[ModelInfo, int, list[Any]]:
    """Sizes, and a valid entry per modality."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_obs = draw(st.lists(st.integers(1, 300), min_size=1, max_size=4))
    agents = draw(st.integers(1, 6))
    entries: list[Any] = []
    for n in num_obs:
        if draw(st.booleans()):
            entries.append(rng.integers(-1, n, agents))
        else:
            entries.append(rng.dirichlet(np.ones(n), agents).astype(draw(st.sampled_from(["f4", "f8"]))))
    return info(*num_obs), agents, entries


@settings(deadline=None)
@given(cases())
def test_what_canonical_accepts_check_accepts_in_its_wire_type(case: tuple[ModelInfo, int, list[Any]]) -> None:
    sizes, agents, entries = case
    found = canonical(entries, sizes, agents)
    check(found, sizes)
    wire = found.indices.astype(wire_dtype(sizes))
    np.testing.assert_array_equal(wire, found.indices)
    for m, entry in enumerate(entries):
        if entry.dtype.kind == "f":
            np.testing.assert_array_equal(found.distributions[m], entry)
            assert (found.indices[:, m] == DISTRIBUTION).all()
        else:
            np.testing.assert_array_equal(found.indices[:, m], entry)


@settings(deadline=None)
@given(cases(), st.integers(-400, 400), st.data())
def test_check_finds_a_bad_entry_wherever_it_stands(
    case: tuple[ModelInfo, int, list[Any]], value: int, data: st.DataObject
) -> None:
    sizes, agents, entries = case
    good = canonical(entries, sizes, agents)
    agent = data.draw(st.integers(0, agents - 1))
    m = data.draw(st.integers(0, len(entries) - 1))
    given_as_index = good.distributions[m] is None
    assume(not -1 <= value < sizes.num_obs[m] if given_as_index else value != DISTRIBUTION)
    indices = good.indices.copy()
    indices[agent, m] = value
    with pytest.raises(InvalidObservation) as caught:
        check(Observations(indices, good.distributions), sizes)
    assert caught.value.index == (agent, m)
    assert caught.value.value == value


def test_check_refuses_shapes_that_do_not_fit() -> None:
    indices = np.zeros((3, 2), dtype=np.int32)
    good = np.full((3, 2), 0.5)
    marked = np.array([[0, -2]] * 3, dtype=np.int32)
    check(Observations(marked, (None, good)), info(2, 2))
    for bad in (
        Observations(indices, (None,)),
        Observations(indices[:, :1], (None, None)),
        Observations(indices[0], (None, None)),
        Observations(marked, (None, good[:2])),
        Observations(marked, (None, good[:, :1])),
        Observations(marked, (None, good * 0.9)),
        Observations(marked, (None, None)),
    ):
        with pytest.raises(InvalidObservation):
            check(bad, info(2, 2))


def test_select() -> None:
    found = canonical([np.arange(4), np.eye(4)], info(4, 4), 4)
    for rows in (slice(1, None, 2), np.array([1, 3]), np.array([False, True, False, True])):
        same(found.select(rows), [[1, -2], [3, -2]], None, [[0, 1, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("num_obs", "dtype"), [(1, "i1"), (128, "i1"), (129, "i2"), (32_768, "i2"), (32_769, "i4"), (65_536, "i4")]
)
def test_wire_dtype_is_the_smallest_that_holds_every_index(num_obs: int, dtype: str) -> None:
    assert wire_dtype(info(2, num_obs)) == np.dtype(dtype)


@pytest.mark.parametrize(
    ("rows", "index"),
    [
        ([[0, 1], [1]], (1,)),
        ([[0.0, 1.0], [1.0, 0.5]], (1, 1)),
        ([[0.0, float("nan")], [1.0, 0.5]], (0, 1)),
        ([[0.0, 1.0], [1.0, 0.0]], (0, 0)),
    ],
)
def test_rows_that_are_no_indices_say_where(rows: list[list[float]], index: tuple[int, ...]) -> None:
    assert refusal(rows, (2, 2), 2).index == index


def test_a_copy_shares_no_memory_whatever_came() -> None:
    rows, certain = np.zeros((3, 1), np.int8), np.ones((3, 1), np.float32)
    assert not np.shares_memory(canonical(rows, info(1), 3, np.int8, copy=True).indices, rows)
    (told,) = canonical([certain], info(1), 3, np.int8, copy=True).distributions
    assert not np.shares_memory(told, certain)
