"""T-mazes, simulated in NumPy: the world that the agents of `maze` live in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from beliefd.worlds import CENTRE, CUE, LEFT_ARM, NOTHING, PUNISHMENT, REWARD, RIGHT_ARM


class MazeWorld:
    """Many T-mazes, one agent in each.

    The reward lies in one arm, at random; the other arm punishes. The cue at the foot of the maze shows the side
    of the reward, and errs now and then. An arm is never left again.

    Parameters
    ----------
    mazes : int
    cue_validity : float
        Probability, 0..1, that the cue shows the right side. Elsewhere in the maze both signs are equally likely.
    seed : int

    Attributes
    ----------
    sides : ndarray of int32, shape (mazes,)
        Where the reward lies: 0 right, 1 left.
    locations : ndarray of int32, shape (mazes,)
        Where the agents are, as `beliefd.worlds` numbers the locations.
    """

    def __init__(self, mazes: int, cue_validity: float, seed: int) -> None:
        self._draws = np.random.default_rng(seed)
        self._cue_validity = cue_validity
        self.sides: NDArray[np.int32] = np.zeros(mazes, np.int32)
        self.locations: NDArray[np.int32] = np.full(mazes, CENTRE, np.int32)

    def start(self) -> NDArray[np.int32]:
        """Put every agent into the centre of a maze with a new side, and return what they observe."""
        self.sides = self._draws.integers(0, 2, len(self.sides), dtype=np.int32)
        self.locations = np.full(len(self.sides), CENTRE, np.int32)
        return self._observe()

    def move(self, actions: NDArray[np.int32]) -> NDArray[np.int32]:
        """Let every agent go where it wants to, and return what they observe.

        Parameters
        ----------
        actions : ndarray of int32, shape (mazes,)
            The location to go to.

        Returns
        -------
        ndarray of int32, shape (mazes, 3)
            Location, outcome, cue.
        """
        self.locations = np.where(self._in_arm, self.locations, actions)
        return self._observe()

    @property
    def rewarded(self) -> NDArray[np.bool_]:
        """Which agents are in the arm with the reward; shape (mazes,)."""
        return np.equal(self.locations, np.where(self.sides == 0, RIGHT_ARM, LEFT_ARM))

    @property
    def _in_arm(self) -> NDArray[np.bool_]:
        return np.isin(self.locations, (RIGHT_ARM, LEFT_ARM))

    def _observe(self) -> NDArray[np.int32]:
        outcome = np.where(self._in_arm, np.where(self.rewarded, REWARD, PUNISHMENT), NOTHING)
        validity = np.where(self.locations == CUE, self._cue_validity, 0.5)
        errs = self._draws.random(len(self.sides)) >= validity
        return np.stack([self.locations, outcome, self.sides ^ errs], axis=1).astype(np.int32)
