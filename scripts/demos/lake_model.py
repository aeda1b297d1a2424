"""FrozenLake as a generative model, made from the environment's own transition table; and its optimal policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

import beliefd

Table = Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]]
"""``P[state][action]`` is a list of (probability, next state, reward, terminated)."""

GOAL = 8.0
HOLE = -2.0
POLICY_LEN = 4


def transitions(table: Table) -> NDArray[np.float64]:
    """B[s', s, u]: the probability of cell s' after action u in cell s. Holes and the goal are never left."""
    B = np.zeros((len(table), len(table), len(table[0])))
    for cell, actions in table.items():
        for action, outcomes in actions.items():
            for probability, following, _, _ in outcomes:
                B[following, cell, action] += probability
    return B


def cells_of_reward(table: Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cells that end an episode: goals, and holes."""
    goals, holes = set(), set()
    for actions in table.values():
        for outcomes in actions.values():
            for _, following, reward, terminated in outcomes:
                if reward > 0.0:
                    goals.add(following)
                elif terminated:
                    holes.add(following)
    return np.array(sorted(goals)), np.array(sorted(holes - goals))


def lake_model(table: Table, start: NDArray[np.float64], sensor: NDArray[np.float64] | None = None) -> beliefd.Model:
    """The model of an agent on the lake.

    Parameters
    ----------
    table : Table
        ``env.unwrapped.P``.
    start : ndarray, shape (cells,)
        ``env.unwrapped.initial_state_distrib``.
    sensor : ndarray, shape (cells, cells), optional
        A[o, s]: the probability that the agent in cell s sees cell o. By default it sees where it is.

    Notes
    -----
    The preferences, in nats, and why these. The goal is six moves from the start and the agent looks four ahead, so it
    is out of sight there: by preference alone every policy is worth the same, and the agent stays in the corner
    (success 0.0). What moves it is the entropy of what it expects to observe. The ice is slippery, so a move in the
    open spreads the agent over three cells, worth up to ln 3 = 1.1 nats, and one in the corner over fewer: it goes
    where more can happen. A hole ends that, and planning shows it: a hole is never left, so its preference counts
    again at every step that remains. It has to outweigh the spread: with 0 or -1 the agent takes risks that it need
    not (success 0.51). It must not forbid every risky step either: with -3.5 or less the agent never leaves the
    corner (0.0). Between -1.5 and -3 the policy is the same, and reaches the goal in 0.546 of the episodes of at most
    100 steps; value iteration does in 0.740. Once in sight, the goal outweighs any spread: from 2 to 16 nats the
    policy is the same.
    """
    goals, holes = cells_of_reward(table)
    C = np.zeros(len(table))
    C[goals] = GOAL
    C[holes] = HOLE
    A = np.eye(len(table)) if sensor is None else sensor
    return beliefd.Model(A=[A], B=[transitions(table)], C=[C], D=[start], policy_len=POLICY_LEN)


def optimal_policy(table: Table) -> NDArray[np.int32]:
    """The action per cell that makes reaching the goal most likely: undiscounted value iteration from zero."""
    probability = transitions(table)
    goals, holes = cells_of_reward(table)
    value = np.zeros(len(table))
    value[goals] = 1.0
    while True:
        following = np.einsum("tsu,t->su", probability, value)
        following[goals], following[holes] = 1.0, 0.0
        best = following.max(axis=1)
        if np.abs(best - value).max() < 1e-12:
            return np.asarray(following.argmax(axis=1), np.int32)
        value = best


def noisy_sensor(size: int, right: float) -> NDArray[np.float64]:
    """A[o, s] of a position sensor on a square lake that shows a neighbouring cell now and then.

    Parameters
    ----------
    size : int
        Cells per side.
    right : float
        Probability, 0..1, that it shows the true cell; the neighbours share the rest.
    """
    rows, columns = np.divmod(np.arange(size * size), size)
    distance = np.abs(rows[:, np.newaxis] - rows) + np.abs(columns[:, np.newaxis] - columns)
    neighbours = distance == 1
    return np.asarray(right * np.eye(size * size) + (1.0 - right) * neighbours / neighbours.sum(axis=0))
