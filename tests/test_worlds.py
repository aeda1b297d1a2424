from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from beliefd.worlds import CENTRE, CUE, DOWN, LEFT_ARM, NOTHING, RIGHT, RIGHT_ARM, STAY, grid, tmaze
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


@pytest.mark.parametrize(
    ("world", "arguments"),
    [
        (tmaze, {"cue_validity": 1.1}),
        (tmaze, {"reward_validity": np.nan}),
        (grid, {"noise": -0.1}),
        (grid, {"size": 1}),
    ],
)
def test_bad_arguments_are_refused(world: Any, arguments: dict[str, float]) -> None:
    with pytest.raises(BeliefdError) as caught:
        world(**arguments)
    assert caught.value.field == next(iter(arguments))
