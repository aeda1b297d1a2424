"""Dirichlet counts: what an agent may learn, which parts of it, and how fast."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd import validation
from beliefd_proto.errors import InvalidModel

LEAST_COUNT = 1e-30
"""Counts of less, but 0, are refused: in float32 the reciprocal of a column of them would not be finite."""

Counts = tuple["NDArray[np.float64] | None", ...]


def given_counts(
    value: Any, field: str, probabilities: tuple[NDArray[np.float64], ...], keep_zeros: bool
) -> Counts | None:
    """Checks counts, one entry per modality or factor; None stands for "no counts", for all of them or for one.

    Returns
    -------
    tuple of (ndarray of float64, shape as the tensor of `probabilities` that they belong to, read-only) or None
    """
    if value is None:
        return None
    entries = validation.sequence(value, field, length=len(probabilities))
    counts = tuple(
        None if entry is None else _checked(entry, f"{field}[{i}]", probability, keep_zeros)
        for i, (entry, probability) in enumerate(zip(entries, probabilities, strict=True))
    )
    return None if all(entry is None for entry in counts) else counts


def given_habits(value: Any, E: NDArray[np.float64], keep_zeros: bool) -> NDArray[np.float64] | None:
    """Checks the counts of policies, shape (policies,)."""
    return None if value is None else _checked(value, "pE", E, keep_zeros, longest=len(E))


def learned_parts(value: Any, field: str, counts: Counts | None, counts_field: str, length: int) -> tuple[int, ...]:
    """Which modalities or factors learn, ascending: all that have counts where `value` is True, or a list of them."""
    if isinstance(value, (bool, np.bool_)):
        if value and counts is None:
            raise _no_counts(field, counts_field)
        return tuple(i for i, entry in enumerate(counts or ()) if entry is not None) if value else ()
    entries = validation.sequence(value, field, shortest=0)
    parts = tuple(sorted(validation.distinct_factors(entries, field, length)))
    for part in parts:
        if counts is None or counts[part] is None:
            raise _no_counts(field, f"{counts_field}[{part}]")
    return parts


def learns_habits(value: Any, pE: NDArray[np.float64] | None) -> bool:
    learns = validation.flag(value, "learn_E")
    if learns and pE is None:
        raise _no_counts("learn_E", "pE")
    return learns


def _checked(
    value: Any, field: str, probability: NDArray[np.float64], keep_zeros: bool, longest: int = validation.MAX_AXIS
) -> NDArray[np.float64]:
    array = validation.numbers(value, field, rank=probability.ndim, longest=longest)
    validation.shape(array, field, probability.shape)
    validation.refuse_where(array < 0.0, array, field, "negative count", "0 or more")
    validation.refuse_where(array > validation.MAX_MAGNITUDE, array, field, "too large", "at most 1e12")
    validation.refuse_where((array > 0.0) & (array < LEAST_COUNT), array, field, "too small", "0, or at least 1e-30")
    lost = (array == 0.0) & (probability > 0.0)
    validation.refuse_where(lost, array, field, "a count of 0 where the probability is not 0", "a number above 0")
    if keep_zeros:
        grown = (array > 0.0) & (probability == 0.0)
        validation.refuse_where(
            grown, array, field, "a count above 0 where the probability is 0", "0 there, or keep_zeros=False"
        )
    return array


def _no_counts(field: str, counts_field: str) -> InvalidModel:
    return InvalidModel(
        f"learning needs counts to start from; give {counts_field}",
        field=field,
        value=True,
        allowed=f"False, or True together with {counts_field}",
    )
