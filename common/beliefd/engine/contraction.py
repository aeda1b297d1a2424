"""Modalities of several factors of which one moves: the others are summed out of A once, not once per prediction.

Where a modality depends on factors k and r, and policies move k while the beliefs over r stay the same,

    A'(o, s_k) = sum over s_r of A(o, s_k, s_r) q(s_r)

serves all predictions. It is a matrix per agent, with a row of scratch for each of its entries that can differ from
zero, and one for each state of k with what is linear in beliefs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beliefd.engine.forecast import Forecast

_PRODUCT_COST = 1.5
"""A term whose two factors are rows of scratch, in terms whose one factor is a number of the model."""


@dataclass(frozen=True, eq=False)
class Contraction:
    """How a modality is contracted.

    Attributes
    ----------
    kept, axis : int
        The factor that stays, and which of the modality's factors it is.
    others : tuple of int
        The factors that are summed out.
    matrix : ndarray of float64, shape (entries + parts times states of `kept`, states of the joint of `others`)
        What gives the rows of scratch: the entries of A', observation after observation, and then what is linear, of
        one part of G at a time.
    rows : int
        Rows of scratch that A' and a part take.
    states : ndarray of int64, shape (entries,)
        The state of `kept` of each entry.
    counts : ndarray of int64, shape (num_obs,)
        How many entries each observation has.
    """

    kept: int
    axis: int
    others: tuple[int, ...]
    matrix: NDArray[np.float64]
    states: NDArray[np.int64]
    counts: NDArray[np.int64]
    rows: int


def contract(
    A: NDArray[np.float64], linear: NDArray[np.float64], factors: tuple[int, ...], found: Forecast
) -> Contraction | None:
    """The cheapest contraction of a modality; None where none is cheaper than to multiply its factors out each time.

    Parameters
    ----------
    A : ndarray, shape (num_obs, states of the first factor, states of the second, …)
    linear : ndarray, shape (parts of G, times, states of the first factor, …)
        What is linear in the joint's beliefs.
    factors : tuple of int
        Ascending; as the axes of `A`.
    found : Forecast
    """
    if len(factors) == 1:
        return None
    values = _distinct(found, factors)
    best, least = None, values * (len(factors) * A[0].size + np.count_nonzero(A))
    for axis, kept in enumerate(factors):
        others = tuple(f for f in factors if f != kept)
        candidate = _contraction(A, linear, axis, kept, others)
        once = np.count_nonzero(candidate.matrix) + candidate.matrix.shape[1]
        cost = _distinct(found, others) * once + values * _PRODUCT_COST * candidate.rows
        if cost < least:
            best, least = candidate, cost
    return best


def _distinct(found: Forecast, factors: tuple[int, ...]) -> int:
    return len(np.unique(found.beliefs[:, list(factors)], axis=0))


def _contraction(
    A: NDArray[np.float64], linear: NDArray[np.float64], axis: int, kept: int, others: tuple[int, ...]
) -> Contraction:
    num_obs, states = len(A), A.shape[axis + 1]
    by_state = np.moveaxis(A, axis + 1, 1).reshape(num_obs, states, -1)
    used = by_state.any(axis=2)
    observations, kept_states = np.nonzero(used)
    by_part = np.moveaxis(linear, axis + 2, 2).reshape(-1, by_state.shape[2])
    matrix = np.concatenate([by_state[observations, kept_states], by_part])
    counts = np.bincount(observations, minlength=num_obs)
    return Contraction(kept, axis, others, matrix, kept_states, counts, len(kept_states) + linear.shape[1] * states)
