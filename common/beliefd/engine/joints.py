"""The joints of a model: which sets of factors are multiplied, and where their states stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from beliefd.engine import plan
from beliefd.engine.contraction import Contraction
from beliefd.engine.plan import starts
from beliefd.model import Model


class Joints:
    """The distinct sets of factors that are multiplied somewhere; sets of one factor come first."""

    def __init__(self, model: Model, contractions: Sequence[Contraction | None]) -> None:
        singles = [(f,) for f in range(len(model.num_states))]
        self.A = [tuple(sorted(factors)) for factors in model.A_dependencies]
        self.B = [tuple(sorted(factors)) for factors in model.B_dependencies]
        summed_out = [contraction.others for contraction in contractions if contraction is not None]
        # All modalities inform all factors at once where the profile takes them together.
        self.informing = self.A if model.profile == "pymdp" else [tuple(range(len(model.num_states)))]
        self.members = list(dict.fromkeys([*singles, *self.A, *self.B, *summed_out, *self.informing]))
        self.number = {factors: j for j, factors in enumerate(self.members)}
        self.num_states = model.num_states
        self.state_start = starts(model.num_states)
        self.sizes = [int(np.prod([model.num_states[f] for f in factors])) for factors in self.members]
        self.rows = list(self.state_start)
        self.end = sum(model.num_states)
        self.likelihood = [-1] * len(self.members)
        self.likelihood_rows = 0
        for j, factors in enumerate(self.members[len(singles) :], start=len(singles)):
            self.rows.append(self.end)
            self.end += self.sizes[j]
            if factors in self.informing:
                self.likelihood[j] = self.likelihood_rows
                self.likelihood_rows += self.sizes[j]

    @property
    def inference_rows(self) -> int:
        """Rows that inference needs beside those with names: for a factor's prediction, or for messages of a joint."""
        needed = [*self.num_states, *(self.sizes[self.number[factors]] for factors in self.B)]
        if self.informing is not self.A:
            needed.append(max(self.sizes[self.number[factors]] for factors in self.A) + max(self.sizes))
        for factors in set(self.informing):
            prefixes = np.cumprod([self.num_states[f] for f in factors])[:-1]
            needed.append(2 * int(prefixes.sum()))
        return max(needed)

    def mask(self, sets: list[tuple[int, ...]]) -> int:
        """Mask the joints of several factors among `sets`."""
        chosen = {factors for factors in sets if len(factors) > 1}
        return sum(1 << (self.number[factors] - len(self.num_states)) for factors in chosen)

    def fields(self) -> dict[int, Any]:
        index = []
        for factors in self.members:
            states = np.indices([self.num_states[f] for f in factors]).reshape(len(factors), -1)
            index.append((states + np.array([[self.state_start[f]] for f in factors])).T.reshape(-1))
        informs = [factors for factors in self.informing if len(factors) > 1]
        return {
            plan.NUM_JOINTS: len(self.members),
            plan.TRANSITION_JOINTS: _signed(self.mask(self.B)),
            plan.ALL_JOINTS: _signed(self.mask(self.members)),
            plan.JOINT_ROW: self.rows,
            plan.JOINT_SIZE: self.sizes,
            plan.JOINT_ARITY: [len(factors) for factors in self.members],
            plan.JOINT_LIKELIHOOD: self.likelihood,
            plan.JOINT_FACTORS_START: starts([len(factors) for factors in self.members]),
            plan.JOINT_FACTORS: np.concatenate(self.members),
            plan.JOINT_INDEX_START: starts([len(entry) for entry in index]),
            plan.JOINT_INDEX: np.concatenate(index),
            plan.COUPLED: [any(f in factors for factors in informs) for f in range(len(self.num_states))],
        }


def _signed(mask: int) -> int:
    """Fit a mask of 64 bits into an int64; kernels test single bits, which the sign does not disturb."""
    return mask - (1 << 64) if mask >> 63 else mask
