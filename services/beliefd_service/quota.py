"""How much of something may be used per second: a bucket that fills with time and that use empties."""

from __future__ import annotations

BURST_S = 2.0
"""Of how many seconds' worth a bucket is when it is full."""


class Bucket:
    """Pure: time comes with every call.

    What is used may take it below zero, once: a request larger than the whole bucket can be served, and what comes
    after it waits the longer.
    """

    def __init__(self, per_s: float, now_s: float) -> None:
        self._per_s = per_s
        self._level = self._most = per_s * BURST_S
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """The seconds to wait until something can be used; 0.0 where it can now."""
        self._level = min(self._level + (now_s - self._at_s) * self._per_s, self._most)
        self._at_s = now_s
        return 0.0 if self._level > 0.0 else max(-self._level / self._per_s, 0.001)

    def take(self, amount: float, now_s: float) -> float:
        """Use `amount` and return 0.0; use nothing where the bucket is empty, and return the seconds to wait."""
        wait_s = self.wait_s(now_s)
        if not wait_s:
            self._level -= amount
        return wait_s
