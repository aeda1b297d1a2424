"""Where the agents of a population stand, as the handle of their simulator knows it."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from beliefd.agents import Rows, compact
from beliefd.call import Call, same_ticks
from beliefd_proto import Applied
from beliefd_proto.errors import BeliefdError, InvalidArgument, Unavailable

# What is to be minded of an agent, as bits: its tick is to be read before its next step; it has a step without answer.
_UNCERTAIN, _IN_FLIGHT = 1, 2


class Ticks:
    """The tick of every agent, and which agents a step has taken that has no answer yet.

    A step notes the agents that it takes in a list of its own, `taken`, which is emptied as they are given back: in
    whatever it ends, that is once, and not when others have taken them since. For any thread: futures end on whichever
    drives the client.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ticks = np.zeros(0, np.int64)
        # The tick of all agents where it is known to be one: then nobody looks at each, and `_ticks` is out of date.
        self._even: int | None = None
        self._all: Rows = np.zeros(0, np.int64)
        # At first all are uncertain, since somebody may have stepped them.
        self._marks = np.zeros(0, np.uint8)

    def __len__(self) -> int:
        """How many agents there ever were."""
        return len(self._ticks)

    def set_members(self, members: Rows, rows: int) -> None:
        """From now on these live, of so many agents that there ever were."""
        with self._lock:
            self._look_at_each()
            grown = rows - len(self._ticks)
            if grown > 0:
                self._ticks = np.concatenate([self._ticks, np.zeros(grown, np.int64)])
                self._marks = np.concatenate([self._marks, np.full(grown, _UNCERTAIN, np.uint8)])
            self._all = members

    def take(self, rows: Rows, taken: list[Rows]) -> bool:
        """Take agents for a step; returns whether all their ticks are known.

        Raises
        ------
        InvalidArgument
            One of them has a step without an answer.
        """
        with self._lock:
            marks = self._marks[rows]
            if marks.tobytes() == bytes(len(marks)):  # as `any` says, without all that NumPy does for a few
                taken.append(rows)
                self._marks[rows] = _IN_FLIGHT
                return True
            others = marks >= _IN_FLIGHT
            if others.any():
                number = int(_numbers(rows)[int(np.argmax(others))])
                raise InvalidArgument(
                    "this agent has a step without an answer; wait for it", field="agents", value=number
                )
            taken.append(rows)
            self._marks[rows] = marks | _IN_FLIGHT
            return False

    def uncertain(self, rows: Rows) -> Rows:
        """Those of these agents whose tick is to be read."""
        with self._lock:
            return compact(_numbers(rows)[self._marks[rows] & _UNCERTAIN != 0])

    def learn(self, rows: Rows, ticks: NDArray[np.int64]) -> None:
        """Agents that a step has taken stand here."""
        with self._lock:
            self._look_at_each()
            self._ticks[rows] = ticks
            self._marks[rows] = _IN_FLIGHT

    def following(self, rows: Rows, count: int) -> tuple[NDArray[np.int64], int | None]:
        """The next tick of each of these agents, and the one of all where it is known to be one."""
        with self._lock:
            if self._even is None:
                return self._ticks[rows] + 1, None
            return same_ticks(self._even + 1, count), self._even + 1

    def give_back_unsent(self, rows: Rows, taken: list[Rows]) -> None:
        """Nothing of a step was sent: its agents stand where they did."""
        with self._lock:
            self._marks[rows] &= ~np.uint8(_IN_FLIGHT)
            taken.clear()

    def give_back(self, taken: list[Rows]) -> None:
        """A step could not be sent or awaited: its agents take another one, from where they are found then."""
        with self._lock:
            for rows in taken:
                self._marks[rows] = _UNCERTAIN
            taken.clear()

    def settle(self, call: Call, error: BeliefdError | None, taken: list[Rows]) -> None:
        """Take what a step did into the ticks, and give its agents back."""
        with self._lock:
            if not taken:  # given back already
                return
            if error is None:
                self._advance(call)
            else:
                self._advance_some(call, error)
            taken.clear()

    def _advance(self, call: Call) -> None:
        assert call.ticks is not None
        if call.rows is self._all and self._even is not None and call.tick == self._even + 1:
            self._even = call.tick
        else:
            self._look_at_each()
            # Not back: a step that is retried late may have been followed by others.
            ticks = np.maximum(self._ticks[call.rows], call.ticks)
            self._ticks[call.rows] = ticks
            if call.rows is self._all and call.tick is not None and ticks.max() == call.tick:
                self._even = call.tick
        self._marks[call.rows] = 0

    def _advance_some(self, call: Call, error: BeliefdError) -> None:
        assert call.ticks is not None
        applied = error.applied if error.applied is not None else np.full(call.count, Applied.UNKNOWN)
        done = applied == Applied.YES
        self._look_at_each()
        ticks = self._ticks[call.rows]
        self._ticks[call.rows] = np.where(done, np.maximum(ticks, call.ticks), ticks)
        # Who was too late to be begun stands where it stood: in an overload, asking would be more of the same.
        passed = all(isinstance(each, Unavailable) for _, each in call.errors())
        known = done | ((applied == Applied.NO) & passed)
        self._marks[call.rows] = np.where(known, 0, _UNCERTAIN)

    def _look_at_each(self) -> None:
        """From now on agents may stand at several ticks. The lock is held."""
        if self._even is not None:
            self._ticks[self._all], self._even = self._even, None


def _numbers(rows: Rows) -> NDArray[np.int64]:
    return np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
