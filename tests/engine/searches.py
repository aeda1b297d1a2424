"""Agents that search a tree, in the kernels and in the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np

from beliefd.engine import Engine
from beliefd.model import Model
from models import model_of_agent, random_observation
from naive import NaiveAgent

AGENTS = 2
TICKS = 3
PARTS = ("utility", "info_gain", "inductive", "novelty")
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
NEAR = {"float64": 1e-11, "float32": 5e-6}
"""A decision of the oracle that is nearer to another than this may be another in the kernels."""


def compare(model: Model, seed: int, per_agent: dict[str, Any] | None = None) -> int:
    """Run both; how many searches were too near to call."""
    rng = np.random.default_rng(seed)
    tolerance, excluded = TOLERANCE[model.dtype], 0
    engine = Engine(model, AGENTS, seed=seed, per_agent=per_agent)
    models = [model if per_agent is None else model_of_agent(model, per_agent, i) for i in range(AGENTS)]
    oracles = [NaiveAgent(own, seed=seed, agent=i) for i, own in enumerate(models)]
    for _ in range(TICKS):
        rows = [random_observation(rng, model, missing=0.2) for _ in range(AGENTS)]
        step = engine.step(np.array(rows, dtype=int), want=("beliefs", "q_pi", "neg_efe", "vfe", *PARTS))
        plain, told = engine.read(want=("q_pi", "neg_efe")), engine.read(want=PARTS)
        np.testing.assert_array_equal(plain.q_pi, step.q_pi)
        np.testing.assert_array_equal(plain.neg_efe, step.neg_efe)
        for part in PARTS:
            np.testing.assert_array_equal(getattr(told, part), getattr(step, part), err_msg=part)
        for i, oracle in enumerate(oracles):
            expected = oracle.step(rows[i], force=step.actions[i])
            assert step.beliefs is not None
            pairs = [(np.concatenate([q[i] for q in step.beliefs]), np.concatenate(expected.beliefs))]
            if expected.margin > NEAR[model.dtype]:
                assert step.q_pi is not None
                assert step.neg_efe is not None
                pairs += [(step.q_pi[i], expected.q_pi), (step.neg_efe[i], expected.neg_efe)]
                # Parts may cancel each other: what is rounded off them is rounded off G.
                scale = np.maximum(1.0, np.abs(expected.neg_efe))
                pairs += [(getattr(step, part)[i] / scale, getattr(expected, part) / scale) for part in PARTS]
                assert tuple(step.actions[i].tolist()) in expected.ties
            else:
                excluded += 1
            for found, wanted in pairs:
                assert np.max(np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))) <= tolerance
    return excluded
