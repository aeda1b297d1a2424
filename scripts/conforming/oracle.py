"""The kernels beside the slow oracle, on random models and histories."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import naive_learning
from beliefd import reduction
from beliefd.engine import Engine
from beliefd.model import Model
from beliefd.step import Step
from conforming.gaps import gap, worst
from conforming.history import PARTS, History, engine_steps
from models import model_of_agent
from naive import NaiveAgent, NaiveStep

NEAR = {"float64": 1e-11, "float32": 5e-6}
"""A decision of the oracle's tree that is nearer to another than this may be another in the kernels."""


def from_oracle(model: Model, history: History, seed: int, reduced: bool = False) -> dict[str, float] | None:
    """How far the kernels are from the oracle, by output, in all of a history; None where rounding decides a search.

    The oracle's actions are forced to be the kernels', so that ties decide nothing. With `reduced` also how far what
    was learned of A, B and D is from the oracle's under another prior.
    """
    rng = np.random.default_rng(seed)
    engine = Engine(model, history.agents, seed=seed, per_agent=history.per_agent)
    steps = engine_steps(engine, history)
    gaps: dict[str, float] = {}
    for i in range(history.agents):
        own = model if history.per_agent is None else model_of_agent(model, history.per_agent, i)
        oracle = NaiveAgent(own, seed=seed, agent=i)
        for t, step in enumerate(steps):
            expected = oracle.step(
                [entry[i] for entry in history.observations[t]],
                bool(history.reset[t][i]),
                executed=history.executed[t][i].tolist(),
                force=step.actions[i].tolist(),
            )
            if expected.margin <= NEAR[model.dtype]:
                return None
            gaps = worst(gaps, step_gaps(step, i, expected))
        for name, arrays in engine.parameters().items():
            theirs, before = getattr(oracle.model, name), getattr(own, name)
            every = [(arrays, theirs, before)] if name == "pE" else zip(arrays, theirs, before, strict=True)
            for array, counts, prior in every:
                if array is not None:
                    gaps = worst(gaps, {name: gap(array[i], counts)})
                    if reduced:
                        gaps = worst(gaps, reduction_gaps(rng, array[i], counts, prior))
    return gaps


def reduction_gaps(
    rng: np.random.Generator, learned: NDArray[Any], expected: NDArray[Any], prior: NDArray[Any]
) -> dict[str, float]:
    """The gaps of learned counts and of their evidence under a prior of which every count is another."""
    reduced_prior = prior * rng.uniform(0.25, 4.0, prior.shape)
    F, counts = reduction.reduce(learned, prior, reduced_prior)
    expected_F, expected_counts = naive_learning.reduction(expected, prior, reduced_prior)
    return {"evidence": gap(F, expected_F), "reduced counts": gap(counts, expected_counts)}


def step_gaps(step: Step, i: int, expected: NaiveStep) -> dict[str, float]:
    """The gaps of one agent's step."""
    assert step.beliefs is not None
    assert step.q_pi is not None
    assert step.neg_efe is not None
    assert step.vfe is not None
    assert step.gamma is not None
    gaps = {
        "beliefs": gap(np.concatenate([q[i] for q in step.beliefs]), np.concatenate(expected.beliefs)),
        "q_pi": gap(step.q_pi[i], expected.q_pi),
        "neg_efe": gap(step.neg_efe[i], expected.neg_efe),
        "vfe": gap(step.vfe[i], expected.vfe),
        "gamma": gap(step.gamma[i], expected.gamma),
    }
    # Parts may cancel each other: what is rounded off them is rounded off G.
    scale = np.maximum(1.0, np.abs(expected.neg_efe))
    return gaps | {part: gap(getattr(step, part)[i] / scale, getattr(expected, part) / scale) for part in PARTS}
