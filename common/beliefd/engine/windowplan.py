"""What a plan says of agents that infer or learn from a window of steps."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import plan
from beliefd.engine.convention import log_floor, raised_log
from beliefd.engine.joints import Joints
from beliefd.engine.keptplan import KeptTransitions
from beliefd.engine.layout import WindowLayout
from beliefd.engine.plan import starts
from beliefd.engine.vectormath import FLOOR
from beliefd.model import Model

_MESSAGES = {"mmp": plan.MMP, "vmp": plan.VMP}
_BETWEEN_STEPS = (plan.MMP, plan.VMP)


class WindowPlan:
    """Transitions in the form in which agents of one tile, who did different things, are moved together.

    Beliefs about the parents of a factor are put in the place of the action that the agent took, zeros in those of the
    other actions. One matrix with a column per action and state then moves all agents, each by its own action. What
    goes back in time is its transpose.

    Where they are few, the entries of each agent's own matrix are brought into rows instead, once per step of the
    window, before messages are passed: then no action but its own is looked at in the sweeps.

    Attributes
    ----------
    matrices : list of ndarray
        Those of the factors that agents share, all kinds.
    room : int
        Rows that passing messages needs beside those with names.

    `own` are the factors whose B is the agents' own; `refined` says whether what does not settle is inferred once more.
    """

    def __init__(
        self,
        model: Model,
        layout: WindowLayout | None,
        joints: Joints,
        transitions: list[NDArray[np.float64]],
        own: Collection[int],
        refined: bool,
    ) -> None:
        self.matrices: list[NDArray[np.float64]] = []
        self.room = 0
        self._kept = KeptTransitions(len(transitions))
        self._layout = layout
        self._messages = _MESSAGES.get(model.inference_algo, plan.NO_MESSAGES)
        if model.beliefs_per_policy:
            self._messages = plan.PER_POLICY
        self._log = log_floor if model.profile == "pymdp" else raised_log
        self._floor = model.inference_algo == "exact"
        self._own = own
        self._refined = refined and self._messages == plan.VMP
        self._shapes = [matrices.shape for matrices in transitions]
        self._frame_rows = 3 * sum(model.num_states) + joints.likelihood_rows
        # Per factor: which of the matrices are forward, ln B and backward.
        self._chosen: list[tuple[int, int, int]] = []
        if layout is None:
            return
        for f, (B, parents) in enumerate(zip(transitions, joints.B, strict=True)):
            if f in own:
                self._chosen.append((-1, -1, -1))
                continue
            self._chosen.append(self._append(B, len(parents) == 1))
            if self._messages in _BETWEEN_STEPS:
                forward, _, backward = self._chosen[f]
                ways = (_by_action(self.matrices[i], len(B)) for i in (forward, backward))
                self._kept.add(f, layout.steps, *ways)
        self._masked = max(actions * max(states, size) for actions, states, size in self._shapes)
        self._largest = max(size for _, _, size in self._shapes)
        most_states = max(states for _, states, _ in self._shapes)
        self.room = self._masked + 2 * self._largest + 2 * most_states
        # The joints of modalities are multiplied there too, for their part of free energy.
        self.room = max(self.room, max(joints.sizes))

    @property
    def kept_steps(self) -> int:
        """Of how many steps beliefs are kept to see whether they settle."""
        return self._layout.steps if self._refined and self._layout is not None else 1

    def _append(self, B: NDArray[np.float64], single: bool) -> tuple[int, int, int]:
        first = len(self.matrices)
        above_zero = self._log(B) - self._log(np.zeros(1))
        if self._messages == plan.VMP:
            self.matrices += [_forward(above_zero), _backward(above_zero)]
            return first, first, first + 1
        if self._messages not in _BETWEEN_STEPS:
            self.matrices += [_forward(B), _backward(B)]
            return first, first, first + 1
        # Where a factor has one parent, what its states have in common as successors is known beforehand.
        reached = np.maximum(B.sum(axis=2, keepdims=True), FLOOR) if single else 1.0
        self.matrices += [_forward(B), _forward(above_zero), _backward(B / reached)]
        return first, first + 1, first + 2

    def fields(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], values: NDArray[np.float64], widths: list[int]
    ) -> dict[int, Any]:
        """The fields that do not depend on where scratch rows are; the arguments are the `matrices` as sparse rows."""
        kept = self._kept.fields()
        moved = np.concatenate([kept[plan.KEPT_VALUES], values])
        first = [*starts([len(matrix) for matrix in self.matrices]), -1]
        width = [*widths, 0]
        forward, log, backward = zip(*self._chosen, strict=True) if self._chosen else ((), (), ())
        layout = self._layout
        return {
            plan.WINDOW: layout.steps if layout else 0,
            plan.MESSAGES: self._messages,
            plan.SMOOTHING_FLOOR: self._floor,
            plan.RING_START: layout.start if layout else 0,
            plan.ENTRY_BYTES: layout.entry_bytes if layout else 0,
            plan.SPAN_AT: layout.span if layout else 0,
            plan.PAST_OBSERVATION_AT: layout.observation if layout else 0,
            plan.MOVES_AT: layout.moves if layout else 0,
            plan.PAST_BELIEFS_AT: layout.beliefs if layout else 0,
            plan.DISTRIBUTION_AT: layout.distribution if layout else 0,
            plan.FRAME_ROWS: self._frame_rows,
            plan.MASKED_ROWS: self._masked if layout else 0,
            plan.LARGEST_JOINT: self._largest if layout else 0,
            plan.FORWARD_START: [first[i] for i in forward],
            plan.FORWARD_WIDTH: [width[i] for i in forward],
            plan.LOG_START: [first[i] for i in log],
            plan.LOG_WIDTH: [width[i] for i in log],
            plan.BACKWARD_START: [first[i] for i in backward],
            plan.BACKWARD_WIDTH: [width[i] for i in backward],
            plan.STEP_ROWS: rows,
            plan.STEP_COLUMNS: columns,
            plan.STEP_VALUES: values,
            **kept,
            plan.MOVED_REST: moved - moved.astype(np.float32) if self._refined else np.zeros(0),
        }

    def row_fields(self, first_row: int) -> tuple[dict[int, Any], int]:
        """Where logarithms of the agents' own B and the frames stand in scratch, and how many rows they take."""
        row = first_row
        logs = []
        for f, (actions, states, size) in enumerate(self._shapes):
            kept = self._layout is not None and self._messages in _BETWEEN_STEPS and f in self._own
            logs.append(row if kept else -1)
            row += actions * states * size if kept else 0
        fields = {plan.OWN_LOG_B: logs, plan.FRAME_ROW: row}
        if self._layout is not None:
            row += self._layout.steps * self._frame_rows
        places, rows = self._kept.row_fields(row)
        return fields | places, row + rows - first_row


def _forward(B: NDArray[np.float64]) -> NDArray[np.float64]:
    """(action, next state, state of the joint) as (next state, action and state of the joint)."""
    return np.moveaxis(B, 1, 0).reshape(B.shape[1], -1)


def _backward(B: NDArray[np.float64]) -> NDArray[np.float64]:
    """(action, next state, state of the joint) as (state of the joint, action and next state)."""
    return np.moveaxis(B, 2, 0).reshape(B.shape[2], -1)


def _by_action(matrix: NDArray[np.float64], actions: int) -> NDArray[np.float64]:
    """(row, action and column) as (action, row, column)."""
    return np.moveaxis(matrix.reshape(len(matrix), actions, -1), 1, 0)
