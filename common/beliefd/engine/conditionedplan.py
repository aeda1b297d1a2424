"""What a plan says of beliefs under each policy; see `beliefd.engine.conditioned`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from beliefd.engine import plan
from beliefd.model import Model
from beliefd_proto.errors import InvalidModel

MAX_ROWS = 2**20
"""Of scratch: 256 MiB per worker in float32."""


class ConditionedPlan:
    """Beliefs of a model's agents under each policy, about the steps of their window and of the policy.

    Parameters
    ----------
    model : Model

    Attributes
    ----------
    rows : int
        Rows of scratch that they take; 0 for models without.

    Raises
    ------
    InvalidModel
        They would not fit.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._needed = model.beliefs_per_policy
        steps, states = model.window + model.policy_len, sum(model.num_states)
        regions = (
            (plan.CONDITIONED_ROW, model.window * math.prod(model.num_states)),
            (plan.REACHED_ROW, steps * states),
            (plan.SAID_ROW, max(model.num_states)),
            (plan.PAST_ROW, max(model.num_states)),
            (plan.BACK_ROW, max(model.num_states)),
            (plan.EVIDENCE_ROW, len(model.policies)),
            (plan.PRECISION_ROW, 3 + 2 * len(model.policies) if model.update_gamma else 0),
            (plan.BELIEVED_ROW, len(model.policies) * steps * states),
        )
        self._regions = [(name, rows if self._needed else 0) for name, rows in regions]
        self.rows = sum(rows for _, rows in self._regions)
        if self.rows > MAX_ROWS:
            raise InvalidModel(
                'beliefs under each policy are too many; take fewer policies, a shorter window, or profile "pymdp"',
                field="policies",
                value=f"{len(model.policies):,} policies over {steps} steps: {self.rows:,} rows of scratch",
                allowed=f"at most {MAX_ROWS:,}",
            )

    def fields(self, first_row: int) -> dict[int, Any]:
        fields: dict[int, Any] = {
            plan.FUTURE: self._model.policy_len if self._needed else 0,
            plan.MOVES_OF_POLICIES: self._model.joint_policies if self._needed else np.zeros(0, np.int64),
        }
        for name, rows in self._regions:
            fields[name] = first_row
            first_row += rows
        if not self._model.update_gamma:
            fields[plan.PRECISION_ROW] = -1
        return fields
