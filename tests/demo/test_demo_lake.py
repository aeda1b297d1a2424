from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from beliefd.engine import Engine
from beliefd.model import Model
from demos.lake import WANTED_OF_OPTIMUM, make_lakes, play
from demos.lake_model import cells_of_reward, lake_model, noisy_sensor, optimal_policy, transitions
from demos.noisy_lake import Sensor, Walk, compare_with_engine

CELLS, GOAL, HOLES, LIMIT = 16, 15, [5, 7, 11, 12], 100
START = np.eye(CELLS)[0]
TABLE = gymnasium.make("FrozenLake-v1").unwrapped.P  # type: ignore[attr-defined]


def success(actions: NDArray[np.int32]) -> float:
    """The probability of being at the goal at the end of an episode, exactly."""
    B = transitions(TABLE)[:, np.arange(CELLS), actions]
    return float((np.linalg.matrix_power(B, LIMIT) @ START)[GOAL])


def test_every_column_of_the_transitions_is_a_distribution_and_ends_are_final() -> None:
    B = transitions(TABLE)
    np.testing.assert_allclose(B.sum(axis=0), 1.0, atol=1e-12)
    for cell in (GOAL, *HOLES):
        assert (B[cell, cell] == 1.0).all()
    # Down from the start: down or to the sides with equal chance, and left of it is the edge.
    np.testing.assert_allclose(B[[0, 4, 1], 0, 1], 1 / 3)


def test_goals_and_holes_are_read_from_the_table() -> None:
    goals, holes = cells_of_reward(TABLE)
    assert goals.tolist() == [GOAL]
    assert holes.tolist() == HOLES


def test_value_iteration_finds_the_optimum() -> None:
    best = optimal_policy(TABLE)
    assert success(best) == pytest.approx(0.7402, abs=5e-4)
    for cell in range(CELLS):
        for action in range(4):
            changed = best.copy()
            changed[cell] = action
            # Value iteration does not know of the limit of steps, under which haste may pay a bit.
            assert success(changed) < success(best) + 0.02


def test_agents_reach_the_goal_as_often_as_wanted() -> None:
    model = lake_model(TABLE, np.full(CELLS, 1 / CELLS))
    with Engine(model, agents=CELLS) as engine:
        actions = engine.step(np.arange(CELLS)).control
    # Where an agent sees its cell, what it does depends on that cell alone.
    assert success(actions) == pytest.approx(0.546, abs=5e-4)
    assert success(actions) >= WANTED_OF_OPTIMUM * success(optimal_policy(TABLE))


def test_the_optimal_policy_reaches_the_goal_in_gymnasium_as_often_as_on_paper() -> None:
    env, table, _ = make_lakes(60)
    best, parts = optimal_policy(table), []
    reached = play(env, lambda observations, starts: best[observations], 2, seed=3, advance=parts.append)
    env.close()
    assert abs(reached - success(best)) < 5.0 * (0.25 / 120) ** 0.5
    assert sum(parts) == 120


@settings(max_examples=20)
@given(size=st.integers(2, 6), right=st.floats(0.0, 1.0))
def test_the_sensor_is_a_likelihood_over_the_cell_and_its_neighbours(size: int, right: float) -> None:
    A = noisy_sensor(size, right)
    np.testing.assert_allclose(A.sum(axis=0), 1.0, atol=1e-12)
    np.testing.assert_allclose(np.diag(A), right)
    Model(A=[A], B=[np.eye(size * size)[:, :, np.newaxis]])
    assert np.flatnonzero(noisy_sensor(size, 0.5)[:, 0]).tolist() == [0, 1, size]


def test_what_is_seen_is_drawn_from_the_likelihood() -> None:
    A, draws = noisy_sensor(4, 0.7), 6_000
    for cell in (0, 6, 15):
        seen = Sensor(A, seed=4).observe(np.full(draws, cell))
        frequencies = np.bincount(seen, minlength=CELLS) / draws
        np.testing.assert_allclose(frequencies, A[:, cell], atol=5.0 * (0.25 / draws) ** 0.5)


@pytest.mark.parametrize("changed", ["nothing", "action", "belief"])
def test_the_comparison_sees_a_single_bit(changed: str) -> None:
    agents, ticks = 5, 4
    model = lake_model(TABLE, START, noisy_sensor(4, 0.7))
    observations = np.random.default_rng(5).integers(0, 3, (ticks, agents))
    starts = np.zeros((ticks, agents), np.bool_)
    starts[2, 1] = True
    with Engine(model, agents=agents, seed=6) as engine:
        steps = [engine.step(o, reset=s, want=("beliefs",)) for o, s in zip(observations, starts, strict=True)]
    actions = np.array([step.control for step in steps])
    beliefs = np.array([step.beliefs[0] for step in steps if step.beliefs is not None])
    if changed == "action":
        actions[3, 2] += 1
    elif changed == "belief":
        beliefs.view(np.uint32)[1, 4, 0] ^= 1
    walk = Walk(observations, observations, starts, actions, beliefs, np.zeros(ticks))
    expected = {"nothing": (20, 20), "action": (19, 20), "belief": (20, 19)}[changed]
    assert compare_with_engine(model, 6, walk) == expected
