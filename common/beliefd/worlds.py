"""Small worlds of the literature as models: for demonstrations, measurements and tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd import validation
from beliefd.model import Model
from beliefd_proto.errors import InvalidArgument

CENTRE, RIGHT_ARM, LEFT_ARM, CUE = range(4)
NOTHING, REWARD, PUNISHMENT = range(3)
STAY, UP, DOWN, LEFT, RIGHT = range(5)
FLOOR, EDGE, CORNER, LANDMARK, GOAL = range(5)
CUE_ROWS, CUE_COLUMNS = 5, 7
FIRST_CUE_PLACE = 2 * CUE_COLUMNS
SECOND_CUE_PLACES = (2, CUE_COLUMNS + 3, 3 * CUE_COLUMNS + 3, 4 * CUE_COLUMNS + 2)
"""Cells that may have the second cue."""
REWARD_PLACES = (CUE_COLUMNS + 5, 3 * CUE_COLUMNS + 5)
"""Cells that may have the reward: upper, lower."""


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
    _check_preference(preference, "preference")
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
    move = _walk(size, size)
    rows, columns = np.divmod(np.arange(cells), size)
    neighbours = move[:, :, 1:].any(axis=2) & ~np.eye(cells, dtype=bool)
    sensor = (1.0 - noise) * np.eye(cells) + noise * neighbours / neighbours.sum(axis=0)
    distance = np.abs(rows - rows[goal_cell]) + np.abs(columns - columns[goal_cell])
    return Model(A=[sensor], B=[move], C=[-distance.astype(np.float64)], **{"policy_len": 3, **options})


def cue_chaining(preference: float = 2.0, punishment: float = 4.0, **options: Any) -> Model:
    """Cue chaining: a first cue tells where the second one is, and the second one where the reward is.

    A walk on a grid of 5 rows and 7 columns. Hidden states: location (35 cells, row by row), which of four places has
    the second cue, and whether the upper or the lower place has the reward. Observations: location (exact), first cue
    (nothing, or one of the four places), second cue (nothing, upper, lower), outcome (nothing, reward, punishment).
    Each but the location says nothing except in its own place, and is right there. Actions: stay, up, down, left,
    right. The agent starts in the upper left corner and knows nothing but where it is. It sees far enough ahead to
    reach the first cue, and from each cue on whatever that one tells of; so it goes from cue to cue to the reward.

    A task of the active inference literature for planning by expected information, as in pymdp's examples: Heins et al.
    (2022), pymdp, JOSS 7(73).

    Parameters
    ----------
    preference : float
        Log preference for the reward, in nats.
    punishment : float
        Log preference against the punishment, which waits in the place without the reward, in nats.
    **options
        Passed on to `Model`; `policy_len` defaults to 4, which gives 625 policies.
    """
    _check_preference(preference, "preference")
    _check_preference(punishment, "punishment")
    cells, sides = CUE_ROWS * CUE_COLUMNS, len(REWARD_PLACES)
    places = len(SECOND_CUE_PLACES)
    first = np.zeros((1 + places, cells, places))
    first[NOTHING] = 1.0
    second = np.zeros((1 + sides, cells, places, sides))
    second[NOTHING] = 1.0
    for place, cell in enumerate(SECOND_CUE_PLACES):
        first[NOTHING, FIRST_CUE_PLACE, place] = 0.0
        first[1 + place, FIRST_CUE_PLACE, place] = 1.0
        for side in range(sides):
            second[NOTHING, cell, place, side] = 0.0
            second[1 + side, cell, place, side] = 1.0
    outcome = np.zeros((3, cells, sides))
    outcome[NOTHING] = 1.0
    for place, cell in enumerate(REWARD_PLACES):
        outcome[NOTHING, cell, :] = 0.0
        for side in range(sides):
            outcome[REWARD if side == place else PUNISHMENT, cell, side] = 1.0
    return Model(
        A=[np.eye(cells), first, second, outcome],
        B=[_walk(CUE_ROWS, CUE_COLUMNS), np.eye(places)[:, :, np.newaxis], np.eye(sides)[:, :, np.newaxis]],
        C=[np.zeros(cells), np.zeros(1 + places), np.zeros(1 + sides), np.array([0.0, preference, -punishment])],
        D=[np.eye(cells)[0], np.full(places, 1.0 / places), np.full(sides, 1.0 / sides)],
        A_dependencies=[[0], [0, 1], [0, 1, 2], [0, 2]],
        **{"policy_len": 4, **options},
    )


def explorer(
    size: int = 5, noise: float = 0.1, preference: float = 3.0, informative: bool = True, **options: Any
) -> Model:
    """The grid explorer of FreeAgentics: it sees what kind of cell it stands on, one of five.

    One hidden factor: the cell of a square grid, row by row. One modality: floor, edge, corner, landmark (the middle
    cell) or goal (the last cell). Actions: stay, up, down, left, right; a wall keeps the agent where it is.

    Parameters
    ----------
    size : int
        Cells per side, 3..256.
    noise : float
        Probability, 0..1, that another kind is shown (all equally likely) than that of the cell.
    preference : float
        Log preference for the sight of the goal, in nats.
    informative : bool
        False makes every column of A the mean over all cells, as they all are in the original: then an observation
        says nothing about the cell, and all policies are worth the same.
    **options
        Passed on to `Model`; `policy_len` defaults to 3, which gives 125 policies.
    """
    cells = validation.whole(size, "size", 3, 256) ** 2
    _check_probability(noise, "noise")
    rows, columns = np.divmod(np.arange(cells), size)
    kinds = np.isin(rows, (0, size - 1)).astype(int) + np.isin(columns, (0, size - 1))
    kinds[size // 2 * (size + 1)] = LANDMARK
    kinds[-1] = GOAL
    sight = np.full((5, cells), noise / 4.0)
    sight[kinds, np.arange(cells)] = 1.0 - noise
    if not informative:
        sight[:] = sight.mean(axis=1, keepdims=True)
    wish = np.zeros(5)
    wish[GOAL] = preference
    return Model(A=[sight], B=[_walk(size, size)], C=[wish], **{"policy_len": 3, **options})


def _walk(height: int, width: int) -> NDArray[np.float64]:
    """Transitions of a grid, shape (cells, cells, 5): actions stay, up, down, left, right, in the order of `STAY`.."""
    cells = height * width
    rows, columns = np.divmod(np.arange(cells), width)
    steps = {STAY: (0, 0), UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}
    move = np.zeros((cells, cells, len(steps)))
    for action, (down, right) in steps.items():
        arrivals = np.clip(rows + down, 0, height - 1) * width + np.clip(columns + right, 0, width - 1)
        move[arrivals, np.arange(cells), action] = 1.0
    return move


def _check_probability(value: float, field: str) -> None:
    if not _is_number(value) or not 0.0 <= value <= 1.0:
        raise InvalidArgument("not a probability", field=field, value=value, allowed="0..1")


def _check_preference(value: float, field: str) -> None:
    if not _is_number(value) or not abs(value) <= validation.MAX_MAGNITUDE:
        allowed = f"-{validation.MAX_MAGNITUDE:g}..{validation.MAX_MAGNITUDE:g}"
        raise InvalidArgument("not a preference", field=field, value=value, allowed=allowed)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
