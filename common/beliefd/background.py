"""Futures that somebody drives: whoever waits for one, or else a thread of the client's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

GRACE_S = 0.005
"""For how long after a caller has waited for a future the next ones are left to callers: two threads that drive in
turns hand each other the interpreter, which takes longer than a small step."""


class Collected(Future[T]):
    """A future whose `result` has `collect` move messages until it is done, where it may take as long as it takes."""

    def __init__(self, collect: Callable[[Callable[[], bool]], None], take_back: Callable[[], None]) -> None:
        super().__init__()
        self._collect = collect
        self._take_back = take_back

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

    def result(self, timeout: float | None = None) -> T:
        if timeout is None and not self.done():
            self._collect(self.done)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if timeout is None and not self.done():
            self._collect(self.done)
        return super().exception(timeout)


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
