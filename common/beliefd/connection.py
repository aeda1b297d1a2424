"""A client's way to its broker: `beliefd.dealer` over TCP, `beliefd.stream` on the broker's machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

SOONEST_S, LATEST_S = 0.02, 0.5
"""Between two attempts to connect: longer each time."""


class Refused(Exception):
    """What listens there let nobody in: to try again is of no use."""


class Connection(Protocol):
    """Made anew by itself where it breaks. One thread at a time may use it."""

    @property
    def letterbox(self) -> bytes | None:
        """The name of the letterbox whose content `receive` returns too, where there is one."""

    def wait(self, timeout_ms: int) -> bool:
        """Wait for a message, for a byte in the wake fd, or for so long.

        Returns whether the connection was made anew, so that who listens does not know who we are.
        """

    def receive(self) -> list[Any] | None:
        """The frames of the next message, bytes-like; None where none has arrived."""

    def send(self, frames: Sequence[Any]) -> None:
        """Send a message, without waiting for who reads it. While the connection is broken it may be lost.

        Raises
        ------
        Refused
        """

    def close(self) -> None: ...
