"""Beliefs that do not settle: in float32 they are inferred once more in float64."""

from __future__ import annotations

import numpy as np
import pytest

from beliefd.engine import Engine
from beliefd.model import Model
from models import turned_over
from naive import NaiveAgent

TICKS = 5


def observations(seed: int, agents: int) -> list[np.ndarray]:
    """Some of them distributions."""
    p = np.random.default_rng(seed).dirichlet(np.full(2, 0.5), (TICKS, agents))
    return [np.where(p.max(axis=-1, keepdims=True) > 0.9, np.eye(2)[p.argmax(axis=-1)], p)[t] for t in range(TICKS)]


OPTIONS: dict[str, dict[str, object]] = {
    "fpi": {},
    "mmp": {"inference_algo": "mmp", "inference_horizon": 3, "num_iter": 8},
    "vmp": {"inference_algo": "vmp", "inference_horizon": 3, "num_iter": 8},
    "legacy": {"profile": "legacy"},
    "legacy, vmp": {"profile": "legacy", "inference_algo": "vmp", "inference_horizon": 3, "num_iter": 8},
    "spm": {"profile": "spm"},
}


BOUNDS = {
    "fpi": (1e-4, 1e-4),
    "vmp": (4e-5, 4e-5),
    "legacy": (6e-5, 6e-6),
    "legacy, vmp": (3e-5, 3e-5),
    "spm": (6e-5, 3e-6),
}
"""What no gap reaches, by model's and by own A; without refinement some does."""


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("name", BOUNDS)
def test_what_does_not_settle_is_as_near_to_the_oracle_as_what_does(name: str, own: bool) -> None:
    bound = BOUNDS[name][own]
    for seed in range(12):
        model = turned_over(seed, **OPTIONS[name])
        # Agents' own A is held in float32: so here it is one that float32 holds exactly.
        first = np.random.default_rng(seed).integers(0, 5, (4, *model.A[0].shape[1:]))
        counts = np.stack([first, 4 - first], axis=1).astype(float)
        engine = Engine(model, 4, per_agent={"pA": [counts]} if own else None)
        oracles = [NaiveAgent(model, agent=i, pA=[counts[i]] if own else None) for i in range(4)]
        for given in observations(seed, 4):
            step = engine.step([given], want=("beliefs", "vfe"))
            assert step.beliefs is not None
            assert step.vfe is not None
            for i, oracle in enumerate(oracles):
                expected = oracle.step([given[i]], force=step.actions[i].tolist())
                assert step.vfe[i] == pytest.approx(expected.vfe, rel=bound, abs=bound)
                for q, p in zip(step.beliefs, expected.beliefs, strict=True):
                    np.testing.assert_allclose(q[i], p, rtol=0.0, atol=bound)


@pytest.mark.parametrize("seed", range(3, 9))
@pytest.mark.parametrize("name", OPTIONS)
def test_who_settles_and_who_does_not_are_no_business_of_their_neighbours(name: str, seed: int) -> None:
    model = turned_over(seed, **OPTIONS[name])
    # Their windows begin at different steps.
    resets = np.random.default_rng(seed).random((TICKS, 8)) < 0.3
    together, alone = Engine(model, 8), [Engine(model, 8) for _ in range(8)]
    for given, reset in zip(observations(seed, 8), resets, strict=True):
        step = together.step([given], reset=reset, want=("beliefs", "vfe"))
        for i, engine in enumerate(alone):
            own = engine.step([given[i : i + 1]], agents=[i], reset=reset[i : i + 1], want=("beliefs", "vfe"))
            assert own.beliefs is not None
            assert own.vfe is not None
            assert step.beliefs is not None
            assert step.vfe is not None
            assert step.vfe[i] == own.vfe[0]
            for q, p in zip(step.beliefs, own.beliefs, strict=True):
                np.testing.assert_array_equal(q[i], p[0])


def test_steps_that_an_agent_does_not_have_are_not_among_what_moves() -> None:
    """After a reset one step is all, which settles at once; its neighbour has three, which do not in three sweeps."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        A, B = (np.moveaxis(rng.dirichlet(np.full(shape[0], 0.3), shape[1:]), -1, 0) for shape in ((4, 5), (5, 5, 2)))
        model = Model([A], [B], inference_algo="vmp", inference_horizon=3, num_iter=3, dtype="float32")
        together, alone = Engine(model, 2), Engine(model, 2)
        for tick in range(TICKS):
            seen, reset = rng.integers(0, 4, 2), np.array([False, tick == TICKS - 1])
            step = together.step([seen], reset=reset, want=("beliefs",))
            own = alone.step([seen[1:]], agents=[1], reset=reset[1:], want=("beliefs",))
        assert step.beliefs is not None
        assert own.beliefs is not None
        np.testing.assert_array_equal(step.beliefs[0][1], own.beliefs[0][0])
