"""The goals of inductive inference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import plan
from beliefd.engine.plan import starts
from beliefd.model import Model
from beliefd_proto.model_info import ModelInfo


class Goals:
    """From which states a goal can be reached in how many steps, where there is inductive inference."""

    def __init__(self, model: Model, info: ModelInfo) -> None:
        self.factors: list[int] = []
        self._paths: list[NDArray[np.bool_]] = []
        self._steps = model.inductive_depth
        self._log_epsilon = float(np.log(model.inductive_epsilon))
        self._threshold = model.inductive_threshold
        self._num_states = model.num_states
        self._own = {f for f in range(len(model.B)) if f"pB{f}" in info.learned or f"pB{f}" in info.per_agent}
        if model.use_inductive and model.H is not None:
            for f, goal in enumerate(model.H):
                if goal.any():
                    self.factors.append(f)
                    self._paths.append(_goal_paths(model, f, goal))

    def fields(self) -> dict[int, Any]:
        first = dict(zip(self.factors, starts([paths.size for paths in self._paths]), strict=True))
        return {
            plan.GOAL_STEPS: self._steps,
            plan.GOAL_START: [first.get(f, -1) for f in range(len(self._num_states))],
            plan.GOAL_PATHS: np.concatenate([np.zeros(0, np.bool_), *(paths.reshape(-1) for paths in self._paths)]),
            plan.LOG_EPSILON: self._log_epsilon,
            plan.THRESHOLD: self._threshold,
        }

    def own_fields(self, first_row: int) -> tuple[dict[int, Any], int]:
        """Where ways to a goal stand in scratch, that agents find by a B of their own, and how many rows they take.

        Of a factor: which states lead to which (next state, state), and then as `plan.GOAL_PATHS` (step, state).
        """
        rows, row = [-1] * len(self._num_states), first_row
        for f in self.factors:
            if f in self._own:
                rows[f] = row
                row += (self._num_states[f] + self._steps) * self._num_states[f]
        return {plan.OWN_GOAL: rows}, row - first_row


def _goal_paths(model: Model, factor: int, goal: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Row n: from which states, (states,), n steps can lead to the goal, whatever the other factors do."""
    states = model.num_states[factor]
    place = model.B_dependencies[factor].index(factor) if factor in model.B_dependencies[factor] else None
    possible = model.joint_B[factor] > model.inductive_threshold
    others = tuple(axis for axis in range(1, possible.ndim) if place is None or axis != 1 + place)
    steps = np.asarray(possible.any(axis=others))
    if place is None:
        steps = np.repeat(steps[:, np.newaxis], states, axis=1)
    paths = [goal > 0]
    for _ in range(model.inductive_depth - 1):
        paths.append(np.asarray(steps[paths[-1]].any(axis=0)))
    return np.stack(paths)
