"""Agents come to do what they did, and to prefer what they saw."""

from __future__ import annotations

import numpy as np

from beliefd.engine import Engine
from beliefd.model import Model

AGENTS = 50


def _levers(**options: object) -> Model:
    """Two levers that show what they are called; the second is preferred."""
    levers = np.stack([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]], axis=-1)
    defaults = {"C": [[0.0, 3.0]], "action_selection": "stochastic", "use_states_info_gain": False}
    return Model(A=[np.eye(2)], B=[levers], **(defaults | options))


def _pulled(engine: Engine, steps: int) -> np.ndarray:
    """The share of the second lever."""
    seen = np.zeros(AGENTS, dtype=int)
    pulls = []
    for _ in range(steps):
        seen = engine.step(seen).control
        pulls.append(seen.mean())
    return np.array(pulls)


def test_habits_form_and_last() -> None:
    engine = Engine(_levers(pE=[1.0, 1.0], learn_E=True), AGENTS, seed=1)
    q_pi = engine.step(np.zeros(AGENTS, dtype=int), want=("q_pi",)).q_pi
    assert q_pi is not None
    _pulled(engine, 60)
    habits = engine.parameters()["pE"]
    assert habits.shape == (AGENTS, 2)
    assert np.allclose(habits.sum(axis=1), 2 + 61, rtol=1e-5)
    # Preference and habit together make a stronger choice than preference alone.
    assert (habits[:, 1] / habits.sum(axis=1) > q_pi[:, 1] + 0.02).all()


def test_what_was_seen_often_is_preferred() -> None:
    engine = Engine(_levers(C=[[0.0, 0.0]], pC=[[1.0, 1.0]], learn_C=True), AGENTS, seed=2)
    for _ in range(40):
        engine.step(np.ones(AGENTS, dtype=int))
    assert (engine.parameters()["pC"][0] == [1.0, 41.0]).all()
    assert _pulled(engine, 1)[0] > 0.9
