"""What a plan says of A: its logarithms for inference, and what policies are worth by it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import plan
from beliefd.engine.contraction import Contraction, contract
from beliefd.engine.convention import log_floor, preferences
from beliefd.engine.forecast import Forecast
from beliefd.engine.joints import Joints
from beliefd.engine.plan import starts
from beliefd.engine.sparserows import sparse_rows
from beliefd.model import Model


class LikelihoodPlan:
    """A per modality, its axes in the order of the factors, and what of G is linear in their joint.

    Attributes
    ----------
    contractions : list of Contraction, or None
        Per modality, how other factors are summed out of it.
    times : list of int
        Per modality, how many steps of a policy have preferences of their own.

    `own` are the modalities whose A is the agents' own, `whole` those that no factor is summed out of; `refined` says
    whether what does not settle is inferred once more.
    """

    def __init__(
        self, model: Model, found: Forecast, own: Collection[int], whole: Collection[int], refined: bool
    ) -> None:
        self._tensors = []
        self._linear = []
        self.contractions: list[Contraction | None] = []
        self._preferences = [preferences(C, model.profile, axis=1) for C in model.timed_C]
        self.times = [len(preference) for preference in self._preferences]
        pairs = zip(model.A, self._preferences, model.A_dependencies, model.C_dependencies, strict=True)
        for tensor, preference, factors, states in pairs:
            A = tensor.transpose([0, *(1 + position for position in np.argsort(factors))])
            utility = _utility(preference, states, A, tuple(sorted(factors))) * model.use_utility
            gains = model.use_states_info_gain and model.profile == "pymdp"
            certainty = (A * log_floor(A)).sum(axis=0) * gains
            # In the order of the parts of G.
            linear = np.stack([utility + certainty, utility, np.broadcast_to(certainty, utility.shape)])
            self._tensors.append(A)
            self._linear.append(linear)
            keep = len(self.contractions) in whole
            self.contractions.append(None if keep else contract(A, linear, tuple(sorted(factors)), found))
        self._own = own
        self._states = model.C_dependencies
        self._factors = [tuple(sorted(factors)) for factors in model.A_dependencies]
        self._profile = model.profile
        self._refined = refined

    def fields(self, joints: Joints) -> dict[int, Any]:
        matrices = [tensor.reshape(len(tensor), -1) for tensor in self._tensors]
        rows, columns, values, widths = sparse_rows([[matrix] for matrix in matrices])
        by_state = [self._by_state(m) for m in range(len(matrices))]
        logs = np.concatenate([self._said(matrix).reshape(-1) for matrix in matrices])
        return {
            plan.A_JOINT: [joints.number[factors] for factors in joints.A],
            plan.A_WIDTH: widths,
            plan.LOG_A_START: starts([matrix.size for matrix in matrices]),
            plan.LOG_A: logs,
            plan.LOG_A_REST: logs - logs.astype(np.float32) if self._refined else np.zeros(0),
            plan.LINEAR_START: starts([weight.size for weight in self._linear]),
            plan.LINEAR: np.concatenate([weight.reshape(-1) for weight in self._linear]),
            plan.PREFERENCE_TIMES: self.times,
            plan.PREFERENCE_START: starts([preference.size for preference in by_state]),
            plan.PREFERENCE_STATES: [preference.shape[1] for preference in by_state],
            plan.PREFERENCES: np.concatenate([preference.reshape(-1) for preference in by_state]),
            plan.A_ROWS: rows,
            plan.A_COLUMNS: columns,
            plan.A_VALUES: values,
            **self._contracted(),
        }

    def _by_state(self, m: int) -> NDArray[np.float64]:
        """Preferences as (time, state of the joint, observation); of one state where they do not depend on it.

        They are weighed by an A of the agents' own. That of the model is in what is linear already.
        """
        C, states, A = self._preferences[m], self._states[m], self._tensors[m]
        if not states or m not in self._own:
            return C.reshape(len(C), 1, -1)
        spread = np.broadcast_to(_spread(C, states, A, self._factors[m]), (len(C), *A.shape))
        return np.moveaxis(spread, 1, -1).reshape(len(C), -1, len(A))

    def _said(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return log_floor(matrix) if self._profile == "pymdp" else matrix

    def _contracted(self) -> dict[int, Any]:
        none = np.zeros(0, dtype=np.int64)
        some = [contraction for contraction in self.contractions if contraction is not None]
        rows, columns, values, _ = sparse_rows([[contraction.matrix] for contraction in some], dense=2.0)
        counts, states, widths = [], [none], []
        for m, (A, contraction) in enumerate(zip(self._tensors, self.contractions, strict=True)):
            joint = A[0].size
            if contraction is not None:
                counts.append(contraction.counts)
                states.append(contraction.states)
                widths.append(A.shape[1 + contraction.axis])
            else:
                own = m in self._own
                counts.append(np.full(len(A), joint if own else 0))
                states.append(np.tile(np.arange(joint), len(A) if own else 0))
                widths.append(joint)
        return {
            plan.GIVEN_WIDTH: widths,
            plan.GIVEN_START: starts([0 if c is None else len(c.matrix) for c in self.contractions]),
            plan.GIVEN_COUNT: [int(count.sum()) for count in counts],
            plan.GIVEN_ROWS: rows,
            plan.GIVEN_COLUMNS: columns,
            plan.GIVEN_VALUES: values,
            plan.GIVEN_ENTRIES: [0, *np.cumsum(np.concatenate(counts))],
            plan.GIVEN_STATES: np.concatenate(states),
        }


def _spread(
    C: NDArray[np.float64], states: Sequence[int], A: NDArray[np.float64], factors: Sequence[int]
) -> NDArray[np.float64]:
    """Preferences with an axis for each factor of the modality, in order: of one where they do not depend on it."""
    in_order = C.transpose([0, 1, *(2 + position for position in np.argsort(states))])
    shape = [length if f in states else 1 for f, length in zip(factors, A.shape[1:], strict=True)]
    return in_order.reshape(*C.shape[:2], *shape)


def _utility(
    C: NDArray[np.float64], states: Sequence[int], A: NDArray[np.float64], factors: Sequence[int]
) -> NDArray[np.float64]:
    """What the observations of a modality are worth on average, by time and the states of its factors, in order."""
    if not states:
        return np.tensordot(C, A, 1)
    return np.asarray((_spread(C, states, A, factors) * A).sum(axis=1))
