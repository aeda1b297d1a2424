"""What a plan says of what agents have of their own: where it is kept, what it begins with, and its rows of scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import plan
from beliefd.engine.convention import log_habits, preferences
from beliefd.engine.own import OwnArray, learned_arrays, own_arrays
from beliefd.model import Model
from beliefd_proto.model_info import ModelInfo


class OwnPlan:
    """What agents have of their own: learned counts, in their records, and parameters that they were given.

    Attributes
    ----------
    modalities, factors : list of int
        Whose A, and whose B, is the agents' own.
    counts : dict
        The counts of A and B among it, by name.
    """

    def __init__(self, model: Model, info: ModelInfo) -> None:
        self._model = model
        self._learned = learned_arrays(model)
        self._given = own_arrays(model, info.per_agent)
        self.counts = {n: a for n, a in (self._given | self._learned).items() if n.startswith(("pA", "pB"))}
        self.modalities = [m for m in range(len(model.num_obs)) if f"pA{m}" in self.counts]
        self.factors = [f for f in range(len(model.num_states)) if f"pB{f}" in self.counts]

    def fields(self) -> dict[int, Any]:
        model, learned, tensors = self._model, self._learned, self._model.tensors()
        zeros, none = np.zeros(0), np.zeros(0, dtype=np.int64)
        b_arrays = [array for name, array in learned.items() if name.startswith("pB")]
        b_start = b_arrays[0].start if b_arrays else 0
        modalities, factors = len(model.num_obs), len(model.num_states)
        # C, D and E that were given hold until they are learned; counts are the mean of A and B from the first.
        first = [
            self._from(name[1:] if name.startswith(("pC", "pD", "pE")) else name, array)
            for name, array in learned.items()
        ]
        return {
            plan.B_COUNTS_START: b_start,
            plan.B_COUNTS_END: b_start + sum(array.size for array in b_arrays),
            plan.INITIAL_TENSORS: np.concatenate([zeros, *(self._before(name) for name in learned)]),
            plan.COUNT_ORDER: np.concatenate([none, *(array.order for array in learned.values())]),
            plan.NUM_COUNTS: sum(array.size for array in learned.values()),
            plan.NUM_PARAMETERS: sum(array.size for array in self._given.values()),
            plan.INITIAL_COUNTS: np.concatenate([zeros, *(a.kept(tensors[name]) for name, a in learned.items())]),
            plan.COUNT_TENSORS: np.concatenate([none, *first]),
            plan.COUNT_PARAMETERS: np.concatenate([none, *(self._from(name, a) for name, a in learned.items())]),
            plan.OWN_A_COUNTS: [learned[f"pA{m}"].start if f"pA{m}" in learned else -1 for m in range(modalities)],
            plan.OWN_B_COUNTS: [learned[f"pB{f}"].start if f"pB{f}" in learned else -1 for f in range(factors)],
            plan.OWN_D_COUNTS: [learned[f"pD{f}"].start if f"pD{f}" in learned else -1 for f in range(factors)],
            plan.GIVEN_D: [self._first_given(f"D{f}") for f in range(factors)],
            plan.GIVEN_PA: [self._first_given(f"pA{m}") for m in range(modalities)],
            plan.GIVEN_PB: [self._first_given(f"pB{f}") for f in range(factors)],
            plan.RATES: [getattr(model, f"{kind}_p{letter}") for letter in "ABDCE" for kind in ("lr", "fr")],
            plan.PC_COUNTS: [learned[f"pC{m}"].start if f"pC{m}" in learned else -1 for m in range(modalities)],
            plan.PE_COUNTS: learned["pE"].start if "pE" in learned else -1,
        }

    def _before(self, name: str) -> NDArray[np.float64]:
        """What holds until counts of this name are learned, in their order."""
        tensor = self._model.tensors()[name[1:]]
        if name.startswith("pC"):
            tensor = preferences(tensor, self._model.profile)
        elif name == "pE":
            tensor = log_habits(tensor, self._model.profile)
        return self._learned[name].kept(tensor)

    def _first_given(self, name: str) -> int:
        return self._given[name].start if name in self._given else -1

    def _from(self, name: str, array: OwnArray) -> NDArray[np.int64]:
        """The parameters that an array of counts starts from; -1 where it was not given."""
        if name not in self._given:
            return np.full(array.size, -1)
        return self._given[name].start + np.arange(array.size)

    def place(self, first_row: int, times: Sequence[int]) -> tuple[dict[int, Any], int, dict[int, int]]:
        """Give all of it rows of scratch from `first_row` on.

        Returns
        -------
        fields : dict
        rows : int
            How many.
        own_A : dict
            First row of each A of the agents' own.
        """
        row, rows = first_row, {}
        count_rows, parameter_rows = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for name, array in self._learned.items():
            rows[name] = row
            count_rows.append(np.arange(row, row + array.size))
            row += _rows_of(name, array, times)
        for name, array in self._given.items():
            if name in rows or (name.startswith(("C", "D", "E")) and f"p{name}" in rows):
                parameter_rows.append(np.full(array.size, -1))
                continue
            rows[name] = row
            parameter_rows.append(np.arange(row, row + array.size))
            row += _rows_of(name, array, times)
        modalities, factors = range(len(self._model.num_obs)), range(len(self._model.num_states))
        fields = {
            plan.OWN_A: [rows.get(f"pA{m}", -1) for m in modalities],
            plan.OWN_B: [rows.get(f"pB{f}", -1) for f in factors],
            plan.OWN_C: [rows.get(f"pC{m}", rows.get(f"C{m}", -1)) for m in modalities],
            plan.OWN_D: [rows.get(f"pD{f}", rows.get(f"D{f}", -1)) for f in factors],
            plan.OWN_E: rows.get("pE", rows.get("E", -1)),
            plan.OWN_GAMMA: rows.get("gamma", -1),
            plan.OWN_ALPHA: rows.get("alpha", -1),
            plan.COUNT_ROWS: np.concatenate(count_rows),
            plan.PARAMETER_ROWS: np.concatenate(parameter_rows),
        }
        return fields, row - first_row, {m: rows[f"pA{m}"] for m in modalities if f"pA{m}" in rows}


def _rows_of(name: str, array: OwnArray, times: Sequence[int]) -> int:
    # After an own A stands what is linear, as after A'.
    linear = times[int(name[2:])] * (array.size // array.shape[0]) if name.startswith("pA") else 0
    return array.size + linear
