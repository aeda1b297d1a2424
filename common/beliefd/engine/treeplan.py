"""What a planner that grows a tree needs of a model, beside what evaluates its single actions."""

from __future__ import annotations

from typing import Any

from beliefd.engine import plan
from beliefd.model import Model
from beliefd.treesize import level_rows


class TreePlan:
    """The levels of a tree, one after the other in scratch; after them a row per policy for what the root is worth."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._grows = model.planner == "sophisticated"
        self._level_rows = level_rows(model.num_states, model.num_obs, len(model.policies)) if self._grows else 0
        self.rows = self._level_rows * model.policy_len + len(model.policies) if self._grows else 0

    def fields(self, first_row: int) -> dict[int, Any]:
        return {
            plan.SEARCHES: self._grows,
            plan.TREE_DEPTH: self._model.policy_len if self._grows else 0,
            plan.TREE_ROW: first_row,
            plan.LEVEL_ROWS: self._level_rows,
            plan.POLICY_MOVES: self._model.joint_policies[:, 0],
        }
