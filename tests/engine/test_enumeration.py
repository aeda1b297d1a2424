"""The engine against sums over all paths of hidden states: free energy bounds surprise, smoothing is the full joint."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from beliefd.engine import Engine
from beliefd.model import Model
from enumeration import divergence, small_model, weighed_paths
from models import changed, random_observation

TICKS = 4
_RATE = 1e-7
"""So slow that what is learned changes no belief that the tolerance would tell."""


def _history(seed: int, model: Model) -> tuple[list[list[int]], list[tuple[int, ...]]]:
    rng = np.random.default_rng(seed)
    actions = [tuple(int(u) for u in rng.integers(model.num_controls)) for _ in range(TICKS - 1)]
    return [random_observation(rng, model) for _ in range(TICKS)], actions


def _steps(engine: Engine, observations: list[list[int]], actions: list[tuple[int, ...]]) -> list[tuple]:
    """Per tick the free energy and the beliefs of the one agent."""
    found = []
    for t, observation in enumerate(observations):
        executed = [actions[t - 1]] if t else None
        step = engine.step([observation], executed_actions=executed, want=("vfe", "beliefs"))
        assert step.vfe is not None
        assert step.beliefs is not None
        found.append((float(step.vfe[0]), [q[0] for q in step.beliefs]))
    return found


def _surprise(model: Model, observations: list[list[int]], actions: list[tuple[int, ...]]) -> float:
    return -math.log(sum(weighed_paths(model, observations, actions).values()))


@pytest.mark.parametrize("seed", range(5))
def test_free_energy_of_one_factor_is_the_surprise(seed: int) -> None:
    model = small_model(np.random.default_rng(seed), (4,))
    observations, actions = _history(seed, model)
    total = 0.0
    for t, (vfe, _) in enumerate(_steps(Engine(model, 1), observations, actions)):
        total += vfe
        assert total == pytest.approx(_surprise(model, observations[: t + 1], actions[:t]), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_free_energy_of_several_factors_is_surprise_and_divergence(seed: int) -> None:
    model = small_model(np.random.default_rng(seed), (3, 2))
    observations, actions = _history(seed, model)
    prior = list(model.D)
    for t, (vfe, q) in enumerate(_steps(Engine(model, 1), observations, actions)):
        surprise, distance = divergence([q], weighed_paths(changed(model, D=prior), observations[t : t + 1], []))
        assert vfe == pytest.approx(surprise + distance, abs=1e-9)
        assert vfe >= surprise
        if t < len(actions):
            moves = [B[..., u] for B, u in zip(model.B, actions[t], strict=True)]
            prior = [np.einsum("sab,a,b->s", move, *q) for move in moves]


@pytest.mark.parametrize("algo", ["mmp", "vmp"])
@pytest.mark.parametrize("seed", range(5))
def test_free_energy_of_a_window_bounds_the_surprise_of_all_of_it(seed: int, algo: str) -> None:
    rng = np.random.default_rng(seed)
    model = small_model(rng, (2, 2), inference_algo=algo, inference_horizon=TICKS)
    observations, actions = _history(seed, model)
    for t, (vfe, _) in enumerate(_steps(Engine(model, 1), observations, actions)):
        assert vfe >= _surprise(model, observations[: t + 1], actions[:t]) - 1e-9


@pytest.mark.parametrize("algo", ["exact", "ovf"])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_learned_from_smoothed_beliefs_is_the_full_joint(seed: int, algo: str) -> None:
    rng = np.random.default_rng(seed)
    plain = small_model(rng, (4,), inference_algo=algo, inference_horizon=TICKS)
    counts = {"pA": list(plain.A), "pB": list(plain.B), "learn_A": True, "learn_B": True}
    model = changed(plain, **counts, lr_pA=_RATE, lr_pB=_RATE)
    observations, actions = _history(seed, model)
    engine = Engine(model, 1)
    _steps(engine, observations, actions)
    expected_A = [np.zeros_like(A) for A in model.A]
    expected_B = np.zeros_like(model.B[0])
    for t in range(TICKS):  # at each tick from all steps of the window
        paths = weighed_paths(model, observations[: t + 1], actions[:t])
        for path, p in paths.items():
            weight = p / sum(paths.values())
            for (s,), observation in zip(path, observations, strict=False):
                for m, o in enumerate(observation):
                    expected_A[m][o, s] += weight
            for (before,), (after,), (u,) in zip(path, path[1:], actions, strict=False):
                expected_B[after, before, u] += weight
    learned = engine.parameters()
    for m, expected in enumerate(expected_A):
        _same_increment(learned["pA"][m][0], model.A[m], expected)
    _same_increment(learned["pB"][0][0], model.B[0], expected_B)


def _same_increment(found: NDArray[np.float64], before: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    np.testing.assert_allclose((found - before) / _RATE, expected, atol=1e-5)
