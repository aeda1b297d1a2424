"""Which entries of transitions stand in rows of scratch, for each step of a window as each agent made it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import plan

_MOST_ROWS = 1024
"""Of one factor. More would not stay in a core's own cache through the sweeps."""


class KeptTransitions:
    """The entries that any action has, row by row, with the value that each action has there."""

    def __init__(self, num_factors: int) -> None:
        self._steps = [0] * num_factors
        self._first = np.zeros((2, num_factors), dtype=np.int64)
        self._sizes = np.zeros((2, num_factors), dtype=np.int64)
        self._counts: list[NDArray[np.int64]] = []
        self._columns: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
        self._values: list[NDArray[np.float64]] = []

    def add(self, f: int, steps: int, forward: NDArray[np.float64], backward: NDArray[np.float64]) -> None:
        """Keep the matrices of factor f, if they have few entries: (action, row, column)."""
        entries = [matrices.any(axis=0) for matrices in (forward, backward)]
        if steps * sum(int(entry.sum()) for entry in entries) > _MOST_ROWS:
            return
        self._steps[f] = steps
        for way, (matrices, entry) in enumerate(zip((forward, backward), entries, strict=True)):
            self._first[way, f] = sum(len(counts) for counts in self._counts)
            self._sizes[way, f] = entry.sum()
            self._counts.append(entry.sum(axis=1))
            self._columns.append(np.nonzero(entry)[1])
            self._values.append(matrices[:, entry].T)

    def fields(self) -> dict[int, Any]:
        """The fields that do not depend on where scratch rows are."""
        most = max((values.shape[1] for values in self._values), default=0)
        padded = [np.pad(values, ((0, 0), (0, most - values.shape[1]))).reshape(-1) for values in self._values]
        return {
            plan.MOST_MOVES: most,
            plan.FORWARD_ENTRIES: self._first[0],
            plan.BACKWARD_ENTRIES: self._first[1],
            plan.KEPT_ROWS: [0, *np.cumsum(np.concatenate([np.zeros(0, dtype=np.int64), *self._counts]))],
            plan.KEPT_COLUMNS: np.concatenate(self._columns),
            plan.KEPT_VALUES: np.concatenate([np.zeros(0), *padded]),
        }

    def row_fields(self, first_row: int) -> tuple[dict[int, Any], int]:
        """Where the entries stand in scratch from `first_row` on, and how many rows they take."""
        row = first_row
        places = np.full(self._first.shape, -1)
        for f, steps in enumerate(self._steps):
            for way in range(2 if steps else 0):
                places[way, f] = row
                row += steps * int(self._sizes[way, f])
        return {plan.KEPT_FORWARD: places[0], plan.KEPT_BACKWARD: places[1]}, row - first_row
