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
    none_below = False
    if narrow is not None and narrow.itemsize < rows.itemsize:
        # Where all are below the highest count nothing was cut off in it. Without its sign what is negative is above
        # any count: where nothing is missing one look is enough.
        without_sign = entries.view(entries.dtype.str.replace("i", "u"))  # which keeps the order of bytes
        none_below = bool(np.maximum.reduce(without_sign) < max(counts))
        if not (none_below or (np.minimum.reduce(entries) >= MISSING and np.maximum.reduce(entries) < max(counts))):
            return False
        entries = narrow.reshape(-1)
    # A row is too short for NumPy's inner loop: many rows side by side are compared at once.
    highest = _highest(counts, entries.dtype)
    whole = len(entries) - len(entries) % len(highest)
    blocks, rest = entries[:whole].reshape(-1, len(highest)), entries[whole:]
    # The reductions themselves: the methods of arrays go through Python again.
    return bool(
        (none_below or np.minimum.reduce(entries) >= MISSING)
        and (not len(blocks) or np.logical_and.reduce(blocks <= highest, axis=None))
        and (not len(rest) or np.logical_and.reduce(rest <= highest[: len(rest)]))
    )


@lru_cache(maxsize=256)
def _highest(counts: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The highest index per column, for a block of rows side by side; no higher than the type can hold."""
    most = np.iinfo(dtype).max
    rows = max(1, _BLOCK_ENTRIES // len(counts))
    return np.tile(np.array([min(count - 1, most) for count in counts], dtype), rows)
