from __future__ import annotations

import numpy as np
import pytest

from beliefd.engine import Engine
from beliefd.worlds import CENTRE, CUE, LEFT_ARM, NOTHING, PUNISHMENT, REWARD, RIGHT_ARM
from benches.numpy_agent import Tables
from demos.maze import CUE_VALIDITY, MOVES, Recording, maze_model
from demos.maze_world import MazeWorld
from demos.threads import count_same_actions

MAZES = 4_000
SPREAD = 5.0 * (0.25 / MAZES) ** 0.5
"""Five standard deviations, at most, of a frequency over all mazes."""


@pytest.mark.parametrize("location", [CENTRE, RIGHT_ARM, LEFT_ARM, CUE])
def test_the_world_is_the_one_that_the_model_describes(location: int) -> None:
    model = maze_model()
    world = MazeWorld(MAZES, CUE_VALIDITY, seed=1)
    world.start()
    observations = world.move(np.full(MAZES, location, np.int32))
    for side in (0, 1):
        there = observations[world.sides == side]
        for m, A in enumerate(model.A):
            frequencies = np.bincount(there[:, m], minlength=len(A)) / len(there)
            column = A[:, location] if A.ndim == 2 else A[:, location, side]
            np.testing.assert_allclose(frequencies, column, atol=1.5 * SPREAD)


def test_sides_are_even_and_new_in_every_trial() -> None:
    world = MazeWorld(MAZES, CUE_VALIDITY, seed=1)
    world.start()
    first = world.sides
    world.start()
    assert abs(first.mean() - 0.5) < SPREAD
    assert abs((first == world.sides).mean() - 0.5) < SPREAD


def test_an_arm_is_never_left() -> None:
    world = MazeWorld(2, CUE_VALIDITY, seed=1)
    world.start()
    world.sides = np.array([0, 1], np.int32)
    world.move(np.full(2, RIGHT_ARM, np.int32))
    observations = world.move(np.full(2, CUE, np.int32))
    assert observations[:, :2].tolist() == [[RIGHT_ARM, REWARD], [RIGHT_ARM, PUNISHMENT]]
    assert world.rewarded.tolist() == [True, False]
    assert world.start()[:, :2].tolist() == [[CENTRE, NOTHING]] * 2


def played(mazes: int) -> tuple[MazeWorld, Recording]:
    world = MazeWorld(mazes, CUE_VALIDITY, seed=2)
    seen, done = [world.start()], []
    with Engine(maze_model(), agents=mazes) as engine:
        for tick in range(MOVES + 1):
            done.append(engine.step(seen[-1]).control)
            if tick < MOVES:
                seen.append(world.move(done[-1]))
    return world, Recording(np.array(seen), np.array([True, False, False]), np.array(done))


def test_agents_look_at_the_cue_enter_the_arm_it_shows_and_mostly_get_the_reward() -> None:
    world, recording = played(MAZES)
    assert (recording.actions[0] == CUE).all()
    shown = recording.observations[1, :, 2]
    np.testing.assert_array_equal(recording.actions[1], np.where(shown == 0, RIGHT_ARM, LEFT_ARM))
    assert abs(world.rewarded.mean() - CUE_VALIDITY) < SPREAD


def test_numpy_agents_repeat_the_recorded_actions_and_a_wrong_one_is_counted() -> None:
    _, recording = played(30)
    tables = Tables(maze_model())
    assert count_same_actions(tables, recording) == recording.actions.size
    recording.actions[1, 7] = CENTRE
    assert count_same_actions(tables, recording) == recording.actions.size - 1
