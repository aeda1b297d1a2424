"""Warnings about models that are valid and yet surely not meant."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from beliefd.model import Model


_MOST_OPERATIONS = 2**28
"""What the search for states that can be reached may take; a larger model is not searched."""


class ModelWarning(UserWarning):
    """A model is valid, but a part of it can have no effect. The message says which part and what to do."""


def warn(model: Model) -> None:
    """Warns of every such part, on behalf of the caller of `Model`."""
    for message in (*_uninformative(model), *_unreachable(model), *_out_of_reach(model)):
        warnings.warn(message, ModelWarning, stacklevel=3)


def _uninformative(model: Model) -> Iterator[str]:
    for m, A in enumerate(model.A):
        columns = A.reshape(len(A), -1)
        if model.pA is not None and model.pA[m] is not None:
            # What is learned may start without a difference.
            continue
        if columns.shape[1] > 1 and (columns == columns[:, :1]).all():
            yield (
                f"all columns of A[{m}] are equal, so its observations say nothing about the states; "
                "make the columns differ, or leave the modality out"
            )


def _unreachable(model: Model) -> Iterator[str]:
    for m, (A, C) in enumerate(zip(model.A, model.timed_C, strict=True)):
        possible = A.reshape(len(A), -1).any(axis=1)
        if possible.all() or (model.pA is not None and model.pA[m] is not None):
            continue
        preference = _most(C)
        o = int(np.argmax(preference))
        if preference[o] > preference[possible].max():
            yield (
                f"C[{m}] prefers observation {o} to all others, but no state gives it: row {o} of A[{m}] is all zero; "
                "move the preference to an observation that can come, or correct A"
            )


def _out_of_reach(model: Model) -> Iterator[str]:
    learned = (*(model.pA or ()), *(model.pB or ()), *(model.pD or ()))
    if any(counts is not None for counts in learned) or all(D.all() for D in model.D):
        return
    reached = _reached(model)
    if reached is None:
        return
    for m, (A, C, factors) in enumerate(zip(model.A, model.timed_C, model.A_dependencies, strict=True)):
        possible = np.asarray(A.reshape(len(A), -1).any(axis=1))
        comes = A[np.ix_(np.arange(len(A)), *(np.flatnonzero(reached[f]) for f in factors))]
        seen = np.asarray(comes.reshape(len(A), -1).any(axis=1))
        preference = _most(C)
        o = int(np.argmax(preference))
        if possible[o] and preference[o] > preference[seen].max():
            yield (
                f"C[{m}] prefers observation {o} to all others, but no policy leads from D to a state that gives it; "
                "move the preference to an observation that can come, or correct B or D"
            )


def _most(C: NDArray[np.float64]) -> NDArray[np.float64]:
    """The most that each observation is ever worth."""
    return np.asarray(C.max(axis=(0, *range(2, C.ndim))))


def _reached(model: Model) -> list[NDArray[np.bool_]] | None:
    """Per factor the states that actions may lead to from D; parents that are coupled make it too many, not too few."""
    if sum(B.size for B in model.B) > _MOST_OPERATIONS:
        return None
    moves = [np.asarray((B > 0.0).any(axis=-1)) for B in model.joint_B]
    if sum(move.size * len(move) for move in moves) > _MOST_OPERATIONS:
        return None
    reached = [np.asarray(D > 0.0) for D in model.D]
    while True:
        before = sum(int(states.sum()) for states in reached)
        for f, (move, parents) in enumerate(zip(moves, model.B_dependencies, strict=True)):
            open_ = move[np.ix_(np.arange(len(move)), *(np.flatnonzero(reached[p]) for p in parents))]
            reached[f] = reached[f] | open_.reshape(len(move), -1).any(axis=1)
        if sum(int(states.sum()) for states in reached) == before:
            return reached
