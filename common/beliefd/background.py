"""Futures that somebody drives: whoever waits for one, or else a thread of the client's own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from beliefd.interrupts import Undisturbed

T = TypeVar("T")

GRACE_S = 0.005
"""For how long after a caller has waited for a future the next ones are left to callers: two threads that drive in
turns hand each other the interpreter, which takes longer than a small step."""


def left_s(until_s: float) -> float | None:
    """How long it is until then; None where that is never."""
    return None if until_s == math.inf else max(until_s - time.monotonic(), 0.0)


class Collected(Future[T]):
    """A future whose `result` has `collect` move messages until it is done.

    What it does under its own lock is `undisturbed`: who interrupts a `Future` there may leave that locked for ever,
    and whoever drives would wait for it.
    """

    def __init__(
        self,
        collect: Callable[[Callable[[], bool], float], None],
        take_back: Callable[[], None],
        undisturbed: Callable[[], Undisturbed],
    ) -> None:
        super().__init__()
        self._collect = collect
        self._take_back = take_back
        self._undisturbed = undisturbed

    def cancel(self) -> bool:
        """Take the call back, as far as no worker has been given it.

        Not the end of it: `result` raises `Cancelled` once it is known what was done, with `applied` per agent; or
        returns as ever where all of it was under way.

        Returns
        -------
        bool
            False where the call has ended already.
        """
        if self.done():
            return False
        self._take_back()
        return True

    def done(self) -> bool:
        with self._undisturbed():
            return super().done()

    def result(self, timeout: float | None = None) -> T:
        with self._undisturbed():
            return super().result(self._await(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        with self._undisturbed():
            return super().exception(self._await(timeout))

    def _await(self, timeout: float | None) -> float | None:
        """Drive until this is done; returns what is left of `timeout`, where another thread closes the client."""
        until_s = math.inf if timeout is None else time.monotonic() + timeout
        if not super().done():
            self._collect(super().done, until_s)
        return left_s(until_s)


class Collectors:
    """Who waits for futures, and whether those to come are likely to be waited for too. A lock of the owner guards it.

    `waiting` counts the threads that wait for a future now.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._left_s = float("-inf")

    def leave(self) -> None:
        """A thread has waited for a future to its end."""
        self.waiting -= 1
        self._left_s = time.monotonic()

    @property
    def expected(self) -> bool:
        """Whether callers wait for their futures, now or a moment ago."""
        return self.waiting > 0 or time.monotonic() - self._left_s < GRACE_S
