"""Matrices as a plan has them: row by row, without the entries that are zero where there are many of those."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_DENSE = 0.5
"""Above this share of entries that are not zero, skipping the others costs more than it saves."""


def sparse_rows(
    groups: Iterable[Iterable[NDArray[np.float64]]], dense: float = _DENSE
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], list[int]]:
    """Stack matrices by rows and keep their entries: of a group that is dense all, else those that are not zero.

    Returns
    -------
    rows, columns, values
        Row i has the entries rows[i] .. rows[i + 1].
    widths : list of int
        Per group the columns of a row where all are kept, else 0.
    """
    counts, columns = [np.zeros(1, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    values, widths = [np.zeros(0)], []
    for group in groups:
        matrix = np.concatenate(list(group))
        whole = np.count_nonzero(matrix) > dense * matrix.size
        row, column = np.nonzero(np.ones_like(matrix) if whole else matrix)
        counts.append(np.bincount(row, minlength=len(matrix)))
        columns.append(column)
        values.append(matrix[row, column])
        widths.append(matrix.shape[1] if whole else 0)
    return np.cumsum(np.concatenate(counts)), np.concatenate(columns), np.concatenate(values), widths
