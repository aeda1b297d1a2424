"""What a planner that grows a tree needs of a model, beside what evaluates its single actions."""

from __future__ import annotations

from typing import Any

from beliefd.engine import plan
from beliefd.model import Model
from beliefd.treesize import level_rows, node_rows


class TreePlan:
    """The levels of a tree, or the nodes of one that is sampled, in scratch; then a row per part of G and policy."""

    def __init__(self, model: Model) -> None:
        self._model = model
        sizes = (model.num_states, model.num_obs, len(model.policies))
        if model.planner == "sophisticated":
            self._level_rows, levels = level_rows(*sizes), model.policy_len
        elif model.planner == "mcts":
            self._level_rows, levels = node_rows(*sizes), model.num_simulations + 1
        else:
            self._level_rows, levels = 0, 0
        self.rows = self._level_rows * levels + plan.PARTS * len(model.policies) * (levels > 0)

    def fields(self, first_row: int) -> dict[int, Any]:
        planner = self._model.planner
        return {
            plan.SEARCHES: planner == "sophisticated",
            plan.SIMULATIONS: self._model.num_simulations if planner == "mcts" else 0,
            plan.TREE_DEPTH: 0 if planner == "policies" else self._model.policy_len,
            plan.TREE_ROW: first_row,
            plan.LEVEL_ROWS: self._level_rows,
            plan.POLICY_MOVES: self._model.joint_policies[:, 0],
        }
