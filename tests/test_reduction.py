"""Bayesian model reduction against direct integrals, urns, and what agents learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import naive_learning
from beliefd import reduction
from beliefd.engine import Engine
from beliefd.model import Model
from beliefd_proto.errors import InvalidArgument

counts = arrays(np.float64, (4, 3), elements=st.floats(0.05, 30.0))


def log_evidence(prior: np.ndarray, data: np.ndarray) -> float:
    """Ln of the probability of a sequence of draws from an urn (Polya) whose counts are `prior` at first."""
    urn, total = prior.astype(float).copy(), 0.0
    for outcome, times in enumerate(data):
        for _ in range(int(times)):
            total += np.log(urn[outcome] / urn.sum())
            urn[outcome] += 1.0
    return total


@given(p=counts, r=counts, data=arrays(np.int64, (4, 3), elements=st.integers(0, 6)))
def test_f_is_the_difference_of_evidence_of_two_priors(p: np.ndarray, r: np.ndarray, data: np.ndarray) -> None:
    F, s = reduction.reduce(p + data, p, r)
    np.testing.assert_allclose(s, r + data, rtol=1e-9, atol=1e-9)
    for k in range(3):
        expected = log_evidence(p[:, k], data[:, k]) - log_evidence(r[:, k], data[:, k])
        assert F[k] == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_f_is_the_ratio_of_direct_integrals() -> None:
    p, r, data = np.array([1.5, 2.0]), np.array([4.0, 1.0]), np.array([2.4, 0.7])
    theta = (np.arange(200_000) + 0.5) / 200_000

    def integral(a: np.ndarray) -> float:
        return float((theta ** (a[0] - 1.0) * (1.0 - theta) ** (a[1] - 1.0)).mean())

    expected = np.log(integral(p + data) / integral(p)) - np.log(integral(r + data) / integral(r))
    assert float(reduction.reduce(p + data, p, r)[0]) == pytest.approx(expected, abs=1e-5)


@given(q=counts, p=counts, r=counts)
def test_it_agrees_with_the_oracle(q: np.ndarray, p: np.ndarray, r: np.ndarray) -> None:
    q = q + p
    F, s = reduction.reduce(q, p, r)
    expected, reduced = naive_learning.reduction(q, p, r)
    np.testing.assert_allclose(F, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(s, reduced, rtol=1e-9, atol=1e-9)


def test_what_was_learned_cannot_be_ruled_out_and_what_was_not_can() -> None:
    p, q = np.array([1.0, 1.0, 1.0]), np.array([5.0, 1.0, 3.0])
    F, s = reduction.reduce(q, p, [1.0, 0.0, 1.0])
    assert F < 0.0
    assert s.tolist() == [5.0, 0.0, 3.0]
    assert reduction.reduce(q, p, [1.0, 1.0, 0.0])[0] == np.inf


def test_pruning_removes_what_never_came_and_nothing_else() -> None:
    p = np.ones((3, 2))
    q = p + np.array([[40.0, 1.0], [0.01, 1.0], [30.0, 0.0]])
    posterior, prior = reduction.prune(q, p)
    assert (posterior[:, 0] > 0).tolist() == [True, False, True]
    assert (posterior[:, 1] > 0).all()
    np.testing.assert_array_equal(posterior > 0, prior > 0)
    np.testing.assert_array_equal(posterior[posterior > 0], q[posterior > 0])


@given(p=counts, data=arrays(np.float64, (4, 3), elements=st.floats(0.0, 40.0)), threshold=st.floats(1e-300, 4.0))
def test_a_column_is_pruned_among_others_as_it_is_alone(p: np.ndarray, data: np.ndarray, threshold: float) -> None:
    posterior, prior = reduction.prune(p + data, p, threshold)
    for k in range(3):
        column, start = pruned_alone((p + data)[:, k], p[:, k], threshold)
        np.testing.assert_array_equal(posterior[:, k], column)
        np.testing.assert_array_equal(prior[:, k], start)


def pruned_alone(q: np.ndarray, p: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """One column, an outcome after the other."""
    q, p = q.copy(), p.copy()
    while (p > 0.0).sum() > 1:
        worth = {}
        for k in np.flatnonzero(p):
            less = p.copy()
            less[k] /= 32
            worth[k] = float(reduction.reduce(q, p, less)[0])
        best = min(worth, key=lambda k: worth[k])
        if worth[best] >= -threshold:
            break
        q[best] = p[best] = 0.0
    return q, p


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (([1.0, -1.0], [1.0, 1.0], [1.0, 1.0]), "posterior"),
        (([1.0, 1.0], [0.0, 0.0], [1.0, 1.0]), "prior"),
        (([1.0, 1.0], [1.0, 1.0], [1.0, 1.0, 1.0]), "reduced_prior"),
        ((["a", "b"], [1.0, 1.0], [1.0, 1.0]), "posterior"),
        (([1.0, 1.0], [[1.0], [1.0, 1.0]], [1.0, 1.0]), "prior"),
        (([1.0, 1.0], [1.0, 1.0], None), "reduced_prior"),
    ],
)
def test_what_are_no_counts_is_named(arguments: tuple[list[float], ...], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        reduction.reduce(*arguments)
    assert caught.value.field == field


def test_an_agent_s_learned_map_is_pruned_to_the_world() -> None:
    """The first modality shows the state; what the second shows in each is learned from nothing."""
    model = Model(
        [np.eye(3), np.full((3, 3), 1 / 3)],
        [np.full((3, 3, 1), 1 / 3)],
        pA=[None, np.full((3, 3), 2.0)],
        learn_A=True,
        dtype="float64",
    )
    engine = Engine(model, 1)
    rng = np.random.default_rng(0)
    for _ in range(100):
        state = int(rng.integers(3))
        engine.step([[state, (state + 1) % 3]])
    learned = {name: [None if a is None else a[0] for a in entries] for name, entries in engine.parameters().items()}
    pruned = reduction.pruned_model(model, learned)
    assert pruned.pA is not None
    np.testing.assert_array_equal(pruned.A[1], np.eye(3)[[2, 0, 1]])
    np.testing.assert_array_equal(pruned.A[0], model.A[0])


def test_what_all_agents_learned_is_pruned_at_once_and_goes_into_a_new_population() -> None:
    """Each agent lives in a world of its own: what it sees is so many further than its state."""
    agents, start = 3, np.full((3, 3), 2.0)
    A, B = [np.eye(3), np.full((3, 3), 1 / 3)], [np.full((3, 3, 1), 1 / 3)]
    model = Model(A, B, pA=[None, start], learn_A=[1], dtype="float64")
    engine, rng = Engine(model, agents), np.random.default_rng(1)
    for _ in range(150):
        states = rng.integers(3, size=agents)
        engine.step(np.stack([states, (states + np.arange(agents)) % 3], axis=1))
    learned = np.moveaxis(engine.parameters()["pA"][1], 0, -1)
    pruned, _ = reduction.prune(learned, np.broadcast_to(start[..., np.newaxis], learned.shape))
    own = np.moveaxis(pruned, -1, 0)
    for i in range(agents):
        np.testing.assert_array_equal(own[i] > 0, np.eye(3)[(np.arange(3) - i) % 3] > 0)
        again = reduction.pruned_model(model, {"pA": [None, learned[..., i]]})
        assert again.pA is not None
        np.testing.assert_array_equal(again.pA[1], own[i])
    Engine(model, agents, per_agent={"pA": [None, own]}).step(np.zeros((agents, 2), int))


@pytest.mark.parametrize(
    ("learned", "options", "field"),
    [
        (None, {}, "learned"),
        ({"pA": np.eye(2)}, {}, "learned['pA']"),
        ({"pA": [np.eye(2), None]}, {}, "learned['pA']"),
        ({"pA": [np.ones((3, 2, 2))]}, {}, "posterior"),
        ({"pA": [np.eye(2)]}, {"threshold": "3"}, "threshold"),
        ({"pA": [np.eye(2)]}, {"residue": None}, "residue"),
    ],
)
def test_what_no_agent_learned_is_named(learned: Any, options: dict[str, Any], field: str) -> None:
    model = Model([np.full((2, 2), 0.5)], [np.eye(2)[:, :, np.newaxis]], pA=[np.ones((2, 2))])
    with pytest.raises(InvalidArgument) as caught:
        reduction.pruned_model(model, learned, **options)
    assert caught.value.field == field
