"""A worker's connection to its broker."""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from beliefd.channel import Channel, Closed

_RECONNECT_MS = 20


class Line:
    """Stands whenever a broker listens at `path`: it is made anew by whatever is to be sent.

    What is said while there is no broker is not kept: one that comes back drops what is out of date. Nothing is taken
    from a broker that has not taken all it was told: a result would wait for as long as the work after it takes.
    """

    def __init__(self, path: Path, incarnation: bytes, stop_fd: int) -> None:
        self._path = str(path)
        self._incarnation = incarnation
        self._channel: Channel | None = None
        self._arrived: deque[list[Any]] = deque()
        self._poll = select.poll()
        self._poll.register(stop_fd, select.POLLIN)

    @property
    def stands(self) -> bool:
        return self._channel is not None

    @property
    def clogged(self) -> bool:
        """Whether the broker does not take what it was told."""
        return self._channel is not None and self._channel.unsent

    def wait(self, timeout_ms: int) -> bool:
        """Wait for a message or a signal; False where none came. Not so long while no broker listens."""
        if self._arrived and not self.clogged:
            return True
        return bool(self._poll.poll(timeout_ms if self.stands else _RECONNECT_MS))

    def send(self, frames: Sequence[Any]) -> None:
        try:
            if self._channel is None:
                self._connect()
            if self._channel is not None:
                self._channel.send(frames)
                if self._channel.unsent:
                    self._watch(self._channel)
        except Closed:
            self.close()

    def receive(self) -> Iterator[list[Any]]:
        """The messages that have arrived, each as its frames."""
        if self._channel is None:
            return
        try:
            if self._channel.unsent:
                self._channel.flush()
                self._watch(self._channel)
            if not self.clogged and not self._arrived:
                self._arrived.extend(self._channel.receive())
        except Closed:
            self.close()
        while self._arrived and not self.clogged:
            yield self._arrived.popleft()

    def close(self) -> None:
        if self._channel is not None:
            self._poll.unregister(self._channel)
            self._channel.close()
            self._channel = None
            self._arrived.clear()

    def _connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connection.connect(self._path)
        except OSError:  # nobody listens, or too many wait to be let in
            connection.close()
            return
        self._channel = Channel(connection)
        self._watch(self._channel)
        self._channel.send([self._incarnation])

    def _watch(self, channel: Channel) -> None:
        self._poll.register(channel, select.POLLOUT if channel.unsent else select.POLLIN)
