"""The goals of inductive inference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import plan
from beliefd.engine.plan import starts
from beliefd.model import Model


class Goals:
    """From which states a goal can be reached in how many steps, where there is inductive inference."""

    def __init__(self, model: Model) -> None:
        self.factors: list[int] = []
        self._paths: list[NDArray[np.bool_]] = []
        self._steps = model.inductive_depth
        self._log_epsilon = float(np.log(model.inductive_epsilon))
        self._num_factors = len(model.num_states)
        if model.use_inductive and model.H is not None:
            for f, goal in enumerate(model.H):
                if goal.any():
                    self.factors.append(f)
                    self._paths.append(_goal_paths(model, f, goal))

    def fields(self) -> dict[int, Any]:
        first = dict(zip(self.factors, starts([paths.size for paths in self._paths]), strict=True))
        return {
            plan.GOAL_STEPS: self._steps,
            plan.GOAL_START: [first.get(f, -1) for f in range(self._num_factors)],
            plan.GOAL_PATHS: np.concatenate([np.zeros(0, np.bool_), *(paths.reshape(-1) for paths in self._paths)]),
            plan.LOG_EPSILON: self._log_epsilon,
        }


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
