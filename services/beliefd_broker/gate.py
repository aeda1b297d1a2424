"""Keeps newcomers away from the clients' ipc socket while it has nearly no descriptor left.

libzmq ends the process where it can accept no connection on an ipc socket for want of a descriptor; on a tcp socket it
lets the newcomer wait. Who connects while a gate is shut finds no socket, tries again, and says so by its deadline.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

HEADROOM = 0.25
"""The part of all descriptors that is kept: zmq accepts as fast as it can between two looks."""


class Gate:
    """Shuts and opens the way to `socket` by its name in the file system. Connections that stand go on."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.shut = False

    def look(self) -> bool:
        """Shut or open the gate as it has to be; returns whether that changed anything."""
        scarce = _lowest_free() >= (1.0 - HEADROOM) * resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if scarce == self.shut:
            return False
        away = self._socket.with_suffix(".shut")
        os.rename(*((self._socket, away) if scarce else (away, self._socket)))
        self.shut = scarce
        return True


def _lowest_free() -> float:
    """The number that the next descriptor gets."""
    try:
        free = os.dup(0)
    except OSError:
        return float("inf")
    os.close(free)
    return free
