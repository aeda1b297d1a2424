"""What a plan says of novelty: which counts it is about, and their information where agents share them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import plan
from beliefd.engine.own import OwnArray, kept_axes
from beliefd.engine.plan import starts
from beliefd.engine.rowmath import RAISE
from beliefd.engine.vectormath import FLOOR, digamma_gap
from beliefd.model import Model


class NoveltyPlan:
    """The counts whose novelty is part of G.

    Attributes
    ----------
    modalities, factors : list of int
        Whose A, and whose B, it is about.
    rows, room : int
        Rows of scratch for the information of the agents' own counts, and for what is weighed by it.
    """

    def __init__(self, model: Model, own: Mapping[str, OwnArray]) -> None:
        self._model = model
        self._own = own
        known = {*model.tensors(), *own} if model.use_param_info_gain else {*()}
        self.modalities = [m for m in range(len(model.num_obs)) if f"pA{m}" in known]
        self.factors = [f for f in range(len(model.num_states)) if f"pB{f}" in known]
        self._matrices: dict[str, NDArray[np.float64]] = {}
        for name in self._names():
            if name not in own:
                counts = model.tensors()[name]
                kept = np.ascontiguousarray(counts.transpose(kept_axes(model, name, counts.ndim)))
                self._matrices[name] = _information(kept, int(name.startswith("pB")), model, name)
        self.rows = sum(own[name].size for name in self._names() if name in own)
        self.room = 0
        if self.modalities or self.factors:
            self.room = 2 * max(*model.num_obs, *model.num_states)

    def _names(self) -> list[str]:
        return [*(f"pA{m}" for m in self.modalities), *(f"pB{f}" for f in self.factors)]

    def fields(self, first_row: int) -> dict[int, Any]:
        rows: dict[str, int] = {}
        for name in self._names():
            if name in self._own:
                rows[name] = first_row
                first_row += self._own[name].size
        matrices = self._matrices
        at = dict(zip(matrices, starts([len(matrix) for matrix in matrices.values()]), strict=True))
        counts = [np.count_nonzero(matrix, axis=1) for matrix in matrices.values()]
        found = [np.nonzero(matrix) for matrix in matrices.values()]
        none = np.zeros(0, dtype=np.int64)
        values = [matrix[places] for matrix, places in zip(matrices.values(), found, strict=True)]
        modalities, factors = range(len(self._model.num_obs)), range(len(self._model.num_states))
        return {
            plan.OWN_NOVELTY_A: [rows.get(f"pA{m}", -1) for m in modalities],
            plan.OWN_NOVELTY_B: [rows.get(f"pB{f}", -1) for f in factors],
            plan.NOVELTY_A: [at.get(f"pA{m}", -1) for m in modalities],
            plan.NOVELTY_B: [at.get(f"pB{f}", -1) for f in factors],
            plan.NOVELTY_ROWS: [0, *np.cumsum(np.concatenate([none, *counts]))],
            plan.NOVELTY_COLUMNS: np.concatenate([none, *(columns for _, columns in found)]),
            plan.NOVELTY_VALUES: np.concatenate([np.zeros(0), *values]),
        }


def _information(kept: NDArray[np.float64], axis: int, model: Model, name: str) -> NDArray[np.float64]:
    """I as `beliefd.engine.novelty` has it: rows of (action and) outcome, a column per state of the joint."""
    if name.startswith("pB"):
        actions = kept.ndim - 1 - len(model.B_dependencies[int(name[2:])])
        kept = kept.reshape(-1, *kept.shape[actions:])
    counts = kept.reshape(*kept.shape[: axis + 1], -1)
    if model.profile == "pymdp":
        gap = digamma_gap(np.maximum(counts, FLOOR))
        information = gap - digamma_gap(np.maximum(counts, FLOOR).sum(axis=axis, keepdims=True))
    else:
        raised = counts + RAISE
        information = 1.0 / raised - 1.0 / raised.sum(axis=axis, keepdims=True)
    return np.where(counts > 0.0, information, 0.0).reshape(-1, counts.shape[-1])
