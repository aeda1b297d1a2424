"""The T-maze agent in plain NumPy, one agent at a time: what a Python program would run in each of its threads.

The same mathematics as the server's, and no more work than it needs: tables of the model are made once and
shared, sweeps end at the fixed point, and policies that begin alike share their first step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import beliefd

Vector = NDArray[np.float64]

_FLOOR = 2.0**-52
_TIES = 1e-5


class MazeTables:
    """What all agents share: the model of `maze.maze_model`, laid out for `NumpyAgent`. Read-only."""

    def __init__(self, model: beliefd.Model) -> None:
        where, outcome, cue = model.A
        self.log_where: Vector = _log(where)
        self.log_outcome: Vector = _log(outcome)
        self.log_cue: Vector = _log(cue)
        self.start: tuple[Vector, Vector] = (model.D[0], model.D[1])
        self.moves: Vector = np.ascontiguousarray(model.B[0].transpose(2, 0, 1))
        # From a belief about the location to those after each first action, and then after each pair of actions.
        pairs = (self.moves @ self.moves[:, np.newaxis]).reshape(64, 4)
        self.foresight: Vector = np.concatenate([self.moves.reshape(16, 4), pairs])
        self.num_iter: int = model.num_iter
        # Rows are locations, each with both sides: the joint state. Columns are the observations of all modalities.
        likelihoods = [np.repeat(where[:, :, np.newaxis], 2, axis=2), outcome, cue]
        self.likelihood: Vector = np.concatenate([A.reshape(len(A), 8) for A in likelihoods]).T.copy()
        self.ambiguity: Vector = -(self.likelihood * _log(self.likelihood)).sum(axis=1)
        self.preference: Vector = np.concatenate(model.C)


class NumpyAgent:
    """One agent in one T-maze."""

    def __init__(self, tables: MazeTables) -> None:
        self._tables = tables
        self._where, self._side = tables.start

    def step(self, observation: NDArray[np.int32], start: bool) -> int:
        """One tick of perception and action.

        Parameters
        ----------
        observation : ndarray of int32, shape (3,)
            Location, outcome, cue.
        start : bool
            Whether a new trial begins with it.

        Returns
        -------
        int
            The location to go to.
        """
        if start:
            self._where, self._side = self._tables.start
        where, side = self._infer_states(observation)
        action = self._choose(where, side)
        self._where, self._side = self._tables.moves[action] @ where, side
        return action

    def _infer_states(self, observation: NDArray[np.int32]) -> tuple[Vector, Vector]:
        """Fixed point iteration over the two factors: Heins et al. (2022), pymdp, JOSS 7(73)."""
        tables = self._tables
        both = tables.log_outcome[observation[1]] + tables.log_cue[observation[2]]
        for_where = tables.log_where[observation[0]] + _log(self._where)
        for_side = _log(self._side)
        where, side = np.full(4, 0.25), np.full(2, 0.5)
        for _ in range(tables.num_iter):
            before = where.tobytes(), side.tobytes()
            where, side = _softmax(for_where + both @ side), _softmax(for_side + where @ both)
            if (where.tobytes(), side.tobytes()) == before:
                break
        return where, side

    def _choose(self, where: Vector, side: Vector) -> int:
        """The first action of the best policy: Parr, Pezzulo, Friston (2022), Active Inference, equation 4.10."""
        tables = self._tables
        nodes = (tables.foresight @ where).reshape(20, 4, 1)
        states = (nodes * side).reshape(20, 8)
        predicted = states @ tables.likelihood
        worth = (predicted * (tables.preference - _log(predicted))).sum(axis=1) - states @ tables.ambiguity
        policies = (worth[:4, np.newaxis] + worth[4:].reshape(4, 4)).ravel()
        best = policies.max()
        return int((policies >= best - _TIES * max(1.0, abs(best))).argmax()) // 4


def _log(x: Vector) -> Vector:
    return np.log(np.maximum(x, _FLOOR))


def _softmax(x: Vector) -> Vector:
    # Sums of a few logarithms, none under -37: no exponential overflows or vanishes, so the maximum may stay in.
    e = np.exp(x)
    e /= np.add.reduce(e)
    return np.asarray(e)
