"""Two small worlds of the literature as models: for demonstrations, measurements and tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from beliefd import validation
from beliefd.model import Model
from beliefd_proto.errors import InvalidArgument

CENTRE, RIGHT_ARM, LEFT_ARM, CUE = range(4)
NOTHING, REWARD, PUNISHMENT = range(3)
STAY, UP, DOWN, LEFT, RIGHT = range(5)


def tmaze(cue_validity: float = 0.95, reward_validity: float = 0.9, preference: float = 3.0, **options: Any) -> Model:
    """The T-maze: is a look at the cue worth a step before the choice of an arm that cannot be undone?

    Hidden states: location (centre, right arm, left arm, cue) and the side of the reward (right, left). Observations:
    location (exact), outcome (nothing, reward, punishment) and cue (right, left). Actions: go to a location; an arm
    is never left again. The agent starts in the centre and does not know the side. With the defaults it looks at the
    cue first, since that tells more than an arm does, and then enters the arm that the cue showed.

    Friston et al. (2015), Active inference and epistemic value, Cognitive Neuroscience 6(4); there the location is not
    a modality of its own.

    Parameters
    ----------
    cue_validity : float
        Probability, 0..1, that the cue shows the true side. Away from the cue location both are equally likely.
    reward_validity : float
        Probability, 0..1, that the right choice is rewarded and the wrong one punished.
    preference : float
        Log preference for a reward, and against a punishment, in nats.
    **options
        Passed on to `Model`; `policy_len` defaults to 2, which gives 16 policies.
    """
    _check_probability(cue_validity, "cue_validity")
    _check_probability(reward_validity, "reward_validity")
    outcome = np.zeros((3, 4, 2))
    outcome[NOTHING, [CENTRE, CUE], :] = 1.0
    cue = np.full((2, 4, 2), 0.5)
    for side, right_choice, wrong_choice in ((0, RIGHT_ARM, LEFT_ARM), (1, LEFT_ARM, RIGHT_ARM)):
        outcome[REWARD, right_choice, side] = outcome[PUNISHMENT, wrong_choice, side] = reward_validity
        outcome[PUNISHMENT, right_choice, side] = outcome[REWARD, wrong_choice, side] = 1.0 - reward_validity
        cue[side, CUE, side] = cue_validity
        cue[1 - side, CUE, side] = 1.0 - cue_validity
    move = np.zeros((4, 4, 4))
    for location in range(4):
        for action in range(4):
            arrival = location if location in (RIGHT_ARM, LEFT_ARM) else action
            move[arrival, location, action] = 1.0
    return Model(
        A=[np.eye(4), outcome, cue],
        B=[move, np.eye(2)[:, :, np.newaxis]],
        C=[np.zeros(4), np.array([0.0, preference, -preference]), np.zeros(2)],
        D=[np.eye(4)[CENTRE], np.full(2, 0.5)],
        A_dependencies=[[0], [0, 1], [0, 1]],
        **{"policy_len": 2, **options},
    )


def grid(size: int = 5, noise: float = 0.1, goal: int | None = None, **options: Any) -> Model:
    """A walk on a square grid whose position sensor is noisy.

    One hidden factor and one modality: the cell, row by row. Actions: stay, up, down, left, right; a wall keeps the
    agent where it is. The log preference for a cell falls by one nat per step of its distance from the goal.

    Parameters
    ----------
    size : int
        Cells per side, 2..256.
    noise : float
        Probability, 0..1, that the sensor shows a neighbouring cell (all equally likely) in place of the true one.
    goal : int, optional
        The preferred cell. Default: the last.
    **options
        Passed on to `Model`; `policy_len` defaults to 3, which gives 125 policies.
    """
    cells = validation.whole(size, "size", 2, 256) ** 2
    _check_probability(noise, "noise")
    goal_cell = validation.whole(cells - 1 if goal is None else goal, "goal", 0, cells - 1)
    rows, columns = np.divmod(np.arange(cells), size)
    steps = {STAY: (0, 0), UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}
    move = np.zeros((cells, cells, len(steps)))
    for action, (down, right) in steps.items():
        arrivals = np.clip(rows + down, 0, size - 1) * size + np.clip(columns + right, 0, size - 1)
        move[arrivals, np.arange(cells), action] = 1.0
    neighbours = move[:, :, 1:].any(axis=2) & ~np.eye(cells, dtype=bool)
    sensor = (1.0 - noise) * np.eye(cells) + noise * neighbours / neighbours.sum(axis=0)
    distance = np.abs(rows - rows[goal_cell]) + np.abs(columns - columns[goal_cell])
    return Model(A=[sensor], B=[move], C=[-distance.astype(np.float64)], **{"policy_len": 3, **options})


def _check_probability(value: float, field: str) -> None:
    if not 0.0 <= value <= 1.0:
        raise InvalidArgument("not a probability", field=field, value=value, allowed="0..1")
