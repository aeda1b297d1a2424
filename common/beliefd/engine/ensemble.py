"""All modalities taken together: how the profiles "legacy" and "spm" see observations.

Their likelihood is the product over the modalities, P(o | s) = prod_m A_m(o_m | s), over the states of all factors, and
its logarithm is taken once; and what observations tell about states is told by all modalities at once, with an
observation for each combination of theirs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import plan
from beliefd.engine.joints import Joints
from beliefd.engine.rowmath import RAISE_CERTAINTY
from beliefd.model import Model
from beliefd_proto.errors import InvalidModel

MAX_ENTRIES = 2**24
MAX_OWN_ENTRIES = 2**16


class Ensemble:
    """The modalities of a model, taken together.

    Parameters
    ----------
    model : Model
    joints : Joints
    own : bool
        Whether agents have an A of their own, so that its product is one of theirs too.

    Attributes
    ----------
    needed : bool
        Whether the model's profile takes them together.
    gains : bool
        Whether their information about states counts.
    rows, observation_rows : int
        Rows of scratch for the joint A and for what is weighed by it; and for observations.

    Raises
    ------
    InvalidModel
        The combinations are too many.
    """

    def __init__(self, model: Model, joints: Joints, own: bool) -> None:
        self.needed = model.profile != "pymdp"
        self.gains = self.needed and model.use_states_info_gain
        self._model = model
        self._joints = joints
        self._states = math.prod(model.num_states) if self.needed else 0
        self._num_obs = math.prod(model.num_obs) if self.gains else 0
        self._own = own and self.gains
        entries, most = self._num_obs * self._states, MAX_OWN_ENTRIES if own else MAX_ENTRIES
        if entries > most:
            raise InvalidModel(
                f'profile "{model.profile}" takes all modalities together, which is too much for this model; '
                'take profile "pymdp", or merge modalities or observations',
                field="A",
                value=f"{self._num_obs:,} combinations of observations in {self._states:,} states",
                allowed=f"at most {most:,} entries",
            )
        self.rows = self._states + (entries + self._states if self._own else 0)
        self.observation_rows = 2 * self._num_obs

    def fields(self, first_row: int) -> dict[int, Any]:
        index = [np.zeros(0, np.int64)]
        if self.needed:
            states = np.indices(self._model.num_states).reshape(len(self._model.num_states), -1)
            for factors in self._joints.A:
                sizes = [self._model.num_states[f] for f in factors]
                index.append(np.ravel_multi_index([states[f] for f in factors], sizes))
        together, certainty = self._product(index[1:])
        rows, columns = np.nonzero(together)
        counts = np.bincount(rows, minlength=len(together))
        every = tuple(range(len(self._model.num_states)))
        return {
            plan.TOGETHER: self.needed,
            plan.SETTLES: self._model.profile == "legacy",
            plan.EVERY_STATE: self._joints.number[every] if self.needed else -1,
            plan.NUM_COMBINATIONS: self._num_obs,
            plan.OWN_COMBINED: first_row if self._own else -1,
            plan.WEIGHT_ROW: first_row + self.rows - self._states,
            plan.STATES_OF: np.concatenate(index),
            plan.COMBINED_ROWS: [0, *np.cumsum(counts)],
            plan.COMBINED_COLUMNS: columns,
            plan.COMBINED_VALUES: together[rows, columns],
            plan.CERTAINTY: certainty,
        }

    def _product(self, index: list[NDArray[np.int64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The joint A, (combinations, states of all factors), the last modality fastest; and p ln p per column."""
        if not self.gains or self._own:
            return np.zeros((0, 0)), np.zeros(0)
        product = np.ones((1, self._states))
        for A, factors, states in zip(self._model.A, self._model.A_dependencies, index, strict=True):
            ordered = A.transpose([0, *(1 + place for place in np.argsort(factors))]).reshape(len(A), -1)[:, states]
            product = (product[:, np.newaxis] * ordered).reshape(-1, self._states)
        return product, (product * np.log(product + RAISE_CERTAINTY)).sum(axis=0)
