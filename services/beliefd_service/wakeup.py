"""Has supervisord notice a death at once: it loads this into itself, see ``supervisord.conf``.

supervisord looks after its children when a descriptor that it polls has something to read, or after a second. Python
goes on polling after a signal, so the death of a child alone does not wake it, and a program that died is started again
up to two seconds later. Here the signals write into a pipe, and that pipe is polled too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Any

_ROUNDS = 2
"""How often supervisord's loop has to go round after a death: it buries in one round and starts anew in the next."""


class Wakeup:
    """A descriptor in supervisord's poll loop that is readable for two rounds after a signal."""

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._rounds = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        self._rounds += 1
        if self._rounds >= _ROUNDS:
            self._rounds = 0
            with contextlib.suppress(BlockingIOError):
                os.read(self.fd, 4096)

    def handle_error(self) -> None:
        print(f"beliefd: supervisord cannot be woken: {sys.exc_info()[1]}", file=sys.stderr)


class Nothing:
    """The calls that this adds to supervisord's interface."""


def wake_for_deaths(supervisord: Any) -> Nothing:
    """An ``rpcinterface_factory``: the one way in which supervisord loads code of others into its loop."""
    polled = supervisord.options.get_socket_map()
    # When it reads its configuration anew, supervisord has closed all descriptors before it comes here.
    for old in [other for other in polled.values() if isinstance(other, Wakeup)]:
        del polled[old.fd]
    wakeup = Wakeup()
    polled[wakeup.fd] = wakeup
    return Nothing()
