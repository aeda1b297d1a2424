"""Rows of indices, checked all at once: observations per modality, actions per factor."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING = -1

_FEW = 32
_BLOCK_ENTRIES = 4096


def all_known(rows: NDArray[Any], counts: tuple[int, ...], narrow: NDArray[Any] | None = None) -> bool:
    """Whether every entry of a column is -1, or an index below its count.

    Parameters
    ----------
    rows : ndarray of an integer type, shape (n, M)
    counts : tuple of M int
    narrow : ndarray of a signed integer type, shape (n, M), C-contiguous, optional
        `rows` in a type that holds -1 and every index, and in which there are fewer bytes to look at.
    """
    if rows.size <= _FEW:  # where a call of NumPy costs more than all of it
        for row in rows.tolist():
            for index, count in zip(row, counts, strict=True):
                if not MISSING <= index < count:
                    return False
        return True
    entries = rows.reshape(-1)
    # What is negative is, without its sign, above any count: where nothing is missing one look is enough. Where entries
    # are few, fewer bytes to look at do not make up for a second look.
    if narrow is not None and narrow.itemsize < rows.itemsize and len(entries) > _BLOCK_ENTRIES:
        # Where all are below the highest count nothing was cut off in it.
        if np.maximum.reduce(_without_sign(entries)) >= max(counts) and not (
            np.minimum.reduce(entries) >= MISSING and np.maximum.reduce(entries) < max(counts)
        ):
            return False
        entries = narrow.reshape(-1)
    highest = _highest(counts, entries.dtype)
    return _none_above(_without_sign(entries), _without_sign(highest)) or bool(
        np.minimum.reduce(entries) >= MISSING and _none_above(entries, highest)
    )


def _without_sign(entries: NDArray[Any]) -> NDArray[Any]:
    return entries.view(_unsigned(entries.dtype))


def _none_above(entries: NDArray[Any], highest: NDArray[Any]) -> bool:
    """Whether no entry of rows that stand one after the other is above the highest of its column."""
    # A row is too short for NumPy's inner loop: the highest of many rows side by side are found at once.
    whole = len(entries) - len(entries) % len(highest)
    if whole:
        found = np.maximum.reduce(entries[:whole].reshape(-1, len(highest)), axis=0)
        if np.count_nonzero(found <= highest) < len(highest):  # to count is faster than to ask for all
            return False
    rest = entries[whole:]
    return not len(rest) or np.count_nonzero(rest <= highest[: len(rest)]) == len(rest)


@lru_cache(maxsize=64)
def _unsigned(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(dtype.str.replace("i", "u"))  # which keeps the order of bytes


@lru_cache(maxsize=256)
def _highest(counts: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The highest index per column, for a block of rows side by side; no higher than the type can hold."""
    most = np.iinfo(dtype).max
    rows = max(1, _BLOCK_ENTRIES // len(counts))
    return np.tile(np.array([min(count - 1, most) for count in counts], dtype), rows)
