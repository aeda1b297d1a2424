"""Agents that learn look where they know little, find out how a world works, form habits, and forget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from beliefd import worlds
from beliefd.engine import Engine
from beliefd.model import Model
from models import changed

GRID = 5
CELLS = GRID * GRID


def _tmaze_with_an_unknown_cue(**options: Any) -> Model:
    """The cue may mean anything; all else is known. Nothing but novelty says that the cue is worth a look."""
    maze = worlds.tmaze(cue_validity=0.5, policy_len=1, use_states_info_gain=False)
    known = [1000.0 * A for A in maze.A]
    known[2] = known[2].copy()
    known[2][:, worlds.CUE, :] = 0.25
    return changed(maze, **{"pA": known, "learn_A": [2], "use_param_info_gain": True, **options})


def test_novelty_seeks_the_cue_that_is_not_understood() -> None:
    agents = 50
    start = np.tile([worlds.CENTRE, worlds.NOTHING, 0], (agents, 1))
    step = Engine(_tmaze_with_an_unknown_cue(), agents, seed=1).step(start, want=("novelty",))
    assert (step.actions[:, 0] == worlds.CUE).all()
    assert step.novelty is not None
    assert (step.novelty.argmax(axis=1) == worlds.CUE).all()
    # Without novelty all is alike, and the first of what is alike is to stay.
    indifferent = _tmaze_with_an_unknown_cue(use_param_info_gain=False)
    assert (Engine(indifferent, agents, seed=1).step(start).actions[:, 0] == worlds.CENTRE).all()


def test_what_is_understood_is_novel_no_more() -> None:
    engine = Engine(_tmaze_with_an_unknown_cue(), 1, seed=1)
    at_cue = [[worlds.CUE, worlds.NOTHING, 1]]
    novelty = []
    for _ in range(30):
        step = engine.step(at_cue, executed_actions=[[worlds.CUE, 0]], want=("novelty",))
        assert step.novelty is not None
        novelty.append(step.novelty[0, worlds.CUE])
    assert novelty[-1] < 0.1 * novelty[0]


def _wander(model: Model, ticks: int, truth: NDArray[np.float64]) -> Engine:
    """An agent that sees its cell and finds its way; the world does what `truth` says."""
    engine = Engine(model, 1, seed=3)
    cell = 0
    for _ in range(ticks):
        action = int(engine.step([[cell]]).control[0])
        cell = int(truth[:, cell, action].argmax())
    return engine


@pytest.mark.slow
def test_an_unknown_grid_is_learned_and_the_goal_found() -> None:
    truth = worlds.grid(GRID).B[0]
    nothing = np.full_like(truth, 1.0 / CELLS)
    explorer = Model(
        A=[np.eye(CELLS)],
        B=[nothing],
        C=[np.zeros(CELLS)],
        pB=[nothing * 0.1],
        learn_B=True,
        use_param_info_gain=True,
        D=[np.eye(CELLS)[0]],
        policy_len=2,
        dtype="float64",
    )
    learned = _wander(explorer, 700, truth).parameters()["pB"][0]
    assert learned is not None
    B = learned[0] / learned[0].sum(axis=0)
    assert 0.5 * np.abs(B - truth).sum(axis=0).max() < 0.1
    seeker = changed(
        explorer,
        B=[B],
        pB=[learned[0]],
        D=[np.full(CELLS, 1.0 / CELLS)],
        use_param_info_gain=False,
        H=[np.eye(CELLS)[CELLS - 1]],
        use_inductive=True,
        inductive_depth=2 * GRID,
        policy_len=1,
    )
    engine, cells = Engine(seeker, CELLS, seed=4), np.arange(CELLS)
    for _ in range(2 * (GRID - 1)):
        cells = truth[:, cells, engine.step(cells[:, None]).control].argmax(axis=0)
    assert (cells == CELLS - 1).all()


def _bandit(**options: Any) -> Model:
    """Two arms, one of which pays most of the time. Which one is to be learned."""
    choose = np.zeros((2, 2, 2))
    choose[0, :, 0] = choose[1, :, 1] = 1.0
    return Model(
        A=[np.eye(2), np.full((2, 2), 0.5)],
        B=[choose],
        C=[np.zeros(2), np.array([0.0, 2.0])],
        D=[np.full(2, 0.5)],
        pA=[np.eye(2), np.ones((2, 2))],
        learn_A=[1],
        use_states_info_gain=False,
        gamma=2.0,
        action_selection="stochastic",
        **options,
    )


def _trials_to_relearn(fr_pA: float) -> float:
    """After the better arm has changed: how many trials until most agents choose the new one."""
    agents, before, after = 400, 60, 120
    engine = Engine(_bandit(fr_pA=fr_pA), agents, seed=5)
    rng = np.random.default_rng(6)
    arm = rng.integers(0, 2, agents)
    for trial in range(before + after):
        better = 0 if trial < before else 1
        pays = rng.random(agents) < np.where(arm == better, 0.9, 0.1)
        arm = engine.step(np.stack([arm, pays.astype(int)], axis=1)).control
        if trial == before - 1:
            assert (arm == 0).mean() > 0.75
        if trial >= before and (arm == 1).mean() > 0.75:
            return trial - before + 1
    return after


def test_with_forgetting_a_reversed_reward_is_learned_sooner() -> None:
    assert _trials_to_relearn(0.9) < 0.5 * _trials_to_relearn(1.0)


def test_habits_form_and_outlast_their_reason() -> None:
    """A choice that paid for long goes on for a while when it pays no more, and more so the longer it was made."""
    choose = np.zeros((2, 2, 2))
    choose[0, :, 0] = choose[1, :, 1] = 1.0
    model = Model(
        A=[np.eye(2)], B=[choose], C=[np.array([2.0, 0.0])], pE=np.ones(2), learn_E=True, use_states_info_gain=False
    )
    engine = Engine(model, 1, seed=7)
    habit = []
    for _ in range(50):
        step = engine.step([[0]], want=("q_pi",))
        assert step.q_pi is not None
        habit.append(step.q_pi[0, 0])
    counts = engine.parameters()["pE"]
    assert counts[0, 0] > 5.0 * counts[0, 1]
    assert (np.diff(habit) >= -1e-6).all()
    assert habit[-1] > habit[0] + 0.05
