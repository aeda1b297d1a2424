from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from beliefd.engine import Engine
from beliefd.worlds import (
    CENTRE,
    CORNER,
    CUE,
    CUE_COLUMNS,
    DOWN,
    FIRST_CUE_PLACE,
    GOAL,
    LANDMARK,
    LEFT_ARM,
    NOTHING,
    REWARD_PLACES,
    RIGHT,
    RIGHT_ARM,
    SECOND_CUE_PLACES,
    STAY,
    cue_chaining,
    explorer,
    grid,
    tmaze,
)
from beliefd_proto.errors import BeliefdError
from naive import NaiveAgent


@pytest.mark.parametrize(("shown", "arm"), [(0, RIGHT_ARM), (1, LEFT_ARM)])
def test_tmaze_agent_looks_at_the_cue_and_then_enters_the_arm_it_showed(shown: int, arm: int) -> None:
    agent = NaiveAgent(tmaze())
    assert agent.step([CENTRE, NOTHING, 0]).action == (CUE, 0)
    step = agent.step([CUE, NOTHING, shown])
    assert step.action == (arm, 0)
    assert step.beliefs[1][shown] == pytest.approx(0.95)


def test_tmaze_has_the_shapes_of_the_literature() -> None:
    model = tmaze(cue_validity=0.8, dtype="float64")
    assert (model.num_states, model.num_obs, model.num_controls) == ((4, 2), (4, 3, 2), (4, 1))
    assert len(model.policies) == 16
    assert model.A[2][:, CUE, 0].tolist() == pytest.approx([0.8, 0.2])
    for arm in (RIGHT_ARM, LEFT_ARM):
        assert (model.B[0][arm, arm] == 1.0).all()


def test_grid_agent_walks_to_the_goal_and_stays() -> None:
    agent = NaiveAgent(grid(size=3, noise=0.2, policy_len=2))
    moves = {STAY: 0, 1: -3, DOWN: 3, 3: -1, RIGHT: 1}
    cell = 0
    for _ in range(4):
        cell += moves[agent.step([cell]).action[0]]
    assert cell == 8
    assert agent.step([cell]).action == (STAY,)


def test_grid_walls_hold_and_the_sensor_errs_to_neighbours() -> None:
    model = grid(size=3, noise=0.3)
    assert model.policies.shape == (125, 3, 1)
    assert model.B[0][2, 2, RIGHT] == 1.0
    assert np.flatnonzero(model.A[0][:, 0]).tolist() == [0, 1, 3]
    assert model.A[0][1, 0] == pytest.approx(0.15)


def test_cue_chaining_has_the_shapes_of_the_literature() -> None:
    model = cue_chaining()
    assert (model.num_states, model.num_obs, model.num_controls) == ((35, 4, 2), (35, 5, 3, 3), (5, 1, 1))
    assert model.policies.shape == (625, 4, 3)


@pytest.mark.parametrize(("place", "side"), [(0, 0), (1, 1), (3, 1)])
def test_the_cue_chaining_agent_goes_from_cue_to_cue_to_the_reward(place: int, side: int) -> None:
    model = cue_chaining()
    agent = Engine(model, agents=1)  # the oracle would take seconds for 625 policies
    state, visited = (0, place, side), [0]
    for _ in range(14):
        observation = [
            int(A[(slice(None), *(state[f] for f in factors))].argmax())
            for A, factors in zip(model.A, model.A_dependencies, strict=True)
        ]
        action = agent.step([observation]).control[0]
        state = (int(model.B[0][:, state[0], action].argmax()), place, side)
        visited.append(state[0])
        if state[0] == REWARD_PLACES[side]:
            break
    assert FIRST_CUE_PLACE in visited
    assert visited.index(SECOND_CUE_PLACES[place]) > visited.index(FIRST_CUE_PLACE)
    assert visited[-1] == REWARD_PLACES[side]
    assert REWARD_PLACES[1 - side] not in visited


def test_cues_say_nothing_elsewhere_and_are_right_in_their_places() -> None:
    _, first, second, outcome = cue_chaining().A
    assert (first[NOTHING].sum(axis=1) == 4.0).sum() == 34
    assert first[1 + 2, FIRST_CUE_PLACE, 2] == 1.0
    assert second[1 + 1, SECOND_CUE_PLACES[2], 2, 1] == 1.0
    assert second[NOTHING, SECOND_CUE_PLACES[2], 1, 1] == 1.0
    assert outcome[:, REWARD_PLACES[0], 0].tolist() == [0.0, 1.0, 0.0]
    assert outcome[:, REWARD_PLACES[1], 0].tolist() == [0.0, 0.0, 1.0]
    assert cue_chaining().B[0][CUE_COLUMNS - 1, CUE_COLUMNS - 1, RIGHT] == 1.0


@pytest.mark.parametrize(("size", "cells"), [(5, 25), (10, 100)])
def test_the_explorer_sees_five_kinds_of_cells_and_comes_to_the_goal(size: int, cells: int) -> None:
    model = explorer(size)
    assert (model.num_states, model.num_obs, model.num_controls) == ((cells,), (5,), (5,))
    kinds = model.A[0].argmax(axis=0)
    assert np.flatnonzero(kinds == CORNER).tolist() == [0, size - 1, cells - size]
    assert np.flatnonzero(kinds == GOAL).tolist() == [cells - 1]
    assert (kinds == LANDMARK).sum() == 1
    agent = NaiveAgent(explorer(size, noise=0.01, policy_len=1))
    before = agent.step([GOAL]).beliefs[0]
    assert before.argmax() == cells - 1
    assert agent.step([GOAL]).action == (STAY,)


def test_an_explorer_without_information_learns_nothing_and_takes_the_first_action() -> None:
    agent = NaiveAgent(explorer(5, informative=False, policy_len=1))
    step = agent.step([GOAL])
    np.testing.assert_allclose(step.beliefs[0], 1 / 25)
    assert np.ptp(step.neg_efe) < 1e-12
    assert step.action == (STAY,)


@pytest.mark.parametrize(
    ("world", "arguments"),
    [
        (tmaze, {"cue_validity": 1.1}),
        (tmaze, {"reward_validity": np.nan}),
        (tmaze, {"cue_validity": "0.9"}),
        (tmaze, {"preference": None}),
        (cue_chaining, {"punishment": np.nan}),
        (grid, {"noise": -0.1}),
        (grid, {"size": 1}),
        (explorer, {"noise": 2.0}),
        (explorer, {"size": 2}),
    ],
)
def test_bad_arguments_are_refused(world: Any, arguments: dict[str, float]) -> None:
    with pytest.raises(BeliefdError) as caught:
        world(**arguments)
    assert caught.value.field == next(iter(arguments))
