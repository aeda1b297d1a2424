"""A client's connection to a broker of its own machine."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import select
import socket
import stat
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from beliefd.channel import Channel, Closed
from beliefd.connection import LATEST_S, SOONEST_S
from beliefd.letterbox import Letterbox

_NAME_BYTES = 16
_PATH_BYTES = 107  # as many as an address has room for
_MOST_LETTERS = 16
"""Between two looks at what the broker says: strangers can keep a letterbox full."""
_SENT_AHEAD_BYTES = 2**19
"""What the system takes of messages, or twice as much where it may, before the broker has read any of it.

Room for the next chunks of a large call: where all processors are busy, a client that has more to send may wait for
milliseconds until it runs, and workers wait for it.
"""


class StreamConnection:
    """A Unix stream. Its first message names it: 16 bytes of its own.

    Raises
    ------
    OSError, ValueError
        This cannot be connected to.
    """

    def __init__(self, path: str, wake_fd: int) -> None:
        absolute = os.path.abspath(path)  # the folder we are in may be another by the time we connect again
        self._path = absolute if len(os.fsencode(absolute)) <= _PATH_BYTES else path
        self._wake_fd = wake_fd
        self._channel: Channel | None = None
        self._arrived: deque[list[Any]] = deque()
        self._poll = select.poll()
        self._poll.register(wake_fd, select.POLLIN)
        # By the last wait: whether to look at the stream, and how often into the letterbox.
        self._is_spoken_to, self._looks = False, 0
        self._pause_s = 0.0
        self._connect_s = 0.0  # when to try next
        self._underway = False
        if os.path.exists(self._path) and not stat.S_ISSOCK(os.stat(self._path).st_mode):
            raise ValueError("this is no socket")
        self._letterbox = Letterbox()
        self._poll.register(self._letterbox, select.POLLIN)
        try:
            self._connect()
        except BaseException:
            self._letterbox.close()
            raise

    @property
    def letterbox(self) -> bytes:
        return self._letterbox.name

    def wait(self, timeout_ms: int) -> bool:
        if self._arrived:
            timeout_ms = 0
        elif self._channel is None:
            timeout_ms = min(timeout_ms, math.ceil(max(self._connect_s - time.monotonic(), 0.0) * 1000))
        for source, event in self._poll.poll(timeout_ms):
            if source == self._wake_fd:
                os.read(self._wake_fd, 4096)
            elif source == self._letterbox.fileno():
                self._looks = _MOST_LETTERS
            else:
                if event & select.POLLOUT:
                    self._send(None)
                self._is_spoken_to |= event != select.POLLOUT
        try:
            return self._channel is None and self._connect()
        except OSError:  # it was not so at first, and may pass
            return False

    def receive(self) -> list[Any] | None:
        if self._looks:
            self._looks -= 1
            if (letter := self._letterbox.take()) is not None:
                return letter
            self._looks = 0  # or the next wait says so again
        if not self._arrived and self._is_spoken_to and (channel := self._begin()) is not None:
            try:
                self._arrived.extend(channel.receive())
            except Closed:
                self._lose(channel)
            self._underway = False
            self._is_spoken_to = bool(self._arrived)
        return self._arrived.popleft() if self._arrived else None

    def send(self, frames: Sequence[Any]) -> None:
        self._send(frames)

    def close(self) -> None:
        self._letterbox.close()
        if self._channel is not None:
            self._channel.end()
            self._lose(self._channel)

    def _begin(self) -> Channel | None:
        """The channel, for one operation.

        One that a signal's handler ended by an exception may have moved bytes that nobody counted: what came after them
        would be taken for something else. So the connection is lost with it.
        """
        if self._underway and self._channel is not None:
            self._lose(self._channel)
        self._underway = self._channel is not None
        return self._channel

    def _send(self, frames: Sequence[Any] | None) -> None:
        """Send these frames, or what was not taken of earlier ones."""
        channel = self._begin()
        if channel is None:
            return
        try:
            if frames is None:
                channel.flush()
            else:
                channel.send(frames)
            self._poll.modify(channel, select.POLLIN | (select.POLLOUT if channel.unsent else 0))
        except Closed:
            self._poll.modify(channel, select.POLLIN)  # what the broker said before it left is there still
        self._underway = False

    def _connect(self) -> bool:
        """Connect, if it is time to; returns whether the connection stands."""
        now_s = time.monotonic()
        if now_s < self._connect_s:
            return False
        self._pause_s = min(max(2 * self._pause_s, SOONEST_S), LATEST_S)
        self._connect_s = now_s + self._pause_s
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connection.connect(self._path)
        except (ConnectionError, FileNotFoundError, BlockingIOError):  # nobody listens, or too many knock
            connection.close()
            return False
        except BaseException:
            connection.close()
            raise
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2 * _SENT_AHEAD_BYTES:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENT_AHEAD_BYTES)
        self._underway = True
        self._channel = Channel(connection)
        self._poll.register(self._channel, select.POLLIN)
        self._underway = False
        self._pause_s = 0.0
        self._send([secrets.token_bytes(_NAME_BYTES)])
        return True

    def _lose(self, channel: Channel) -> None:
        with contextlib.suppress(KeyError, ValueError):  # it was lost already, but for the end of this
            self._poll.unregister(channel)
        channel.close()
        self._channel = None
