"""What the kernels work in: rows of lanes for one tile of agents."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine.lanes import LANE_ROWS, MARK_ROWS
from beliefd.engine.plan import LANES, LINE_BYTES
from beliefd.engine.planner import CompiledModel


class Scratch:
    """The scratch of a model. Nothing in it outlives a call, so all populations of the model may share it.

    One call at a time.

    Attributes
    ----------
    compiled : CompiledModel
        The model.
    work : ndarray of the model's dtype, shape (rows, LANES)
    lanes : ndarray of int64, shape (rows, LANES)
    marks : ndarray of int32, shape (rows, LANES)
    """

    def __init__(self, compiled: CompiledModel) -> None:
        self.compiled = compiled
        info, window = compiled.info, compiled.layout.window
        factors, modalities, controls = info.num_factors, info.num_modalities, len(info.num_controls)
        self.work = _rows(compiled.scratch_rows, np.dtype(info.dtype))
        self.lanes = np.zeros((LANE_ROWS, LANES), dtype=np.int64)
        steps = window.steps if window else 0
        marks = MARK_ROWS + modalities + factors + controls + steps * (modalities + factors)
        marks += info.policy_len * factors if steps else 0  # what policies do, after what was done
        self.marks = _rows(marks, np.dtype(np.int32))


def _rows(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Rows of lanes, zeros, that begin at a cache line: what vector code reads at once then never lies across two."""
    whole = np.zeros(count * LANES + LINE_BYTES // dtype.itemsize, dtype=dtype)
    first = -whole.ctypes.data % LINE_BYTES // dtype.itemsize
    return whole[first : first + count * LANES].reshape(count, LANES)
