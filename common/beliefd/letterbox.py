"""Where a client of the broker's machine is told of its steps by the workers that made them.

A letterbox is a Unix datagram socket of the abstract namespace, and a datagram is a message in the form of
`beliefd.channel`. Whoever runs on this machine may put something in; but only a worker knows the id of the request that
it answers. Nobody relies on a letterbox: what does not get into one the broker tells.
"""

from __future__ import annotations

import errno
import secrets
import socket
from collections.abc import Sequence
from typing import Any

from beliefd.channel import Closed, packed, unpacked

NAME_BYTES = 16
MOST_BYTES = 2**17
"""Of a message. The system's own bound is not much higher, and of what is larger the way is the least part."""
_MOST_ABSENT = 1024


class Letterbox:
    """A client's, from which it takes out what was put in.

    Raises
    ------
    OSError
    """

    def __init__(self) -> None:
        self.name = secrets.token_bytes(NAME_BYTES)
        self._socket = _socket()
        try:
            self._socket.bind(_address(self.name))
        except BaseException:
            self._socket.close()
            raise
        self._buffer = memoryview(bytearray(MOST_BYTES))

    def fileno(self) -> int:
        return self._socket.fileno()

    def take(self) -> list[Any] | None:
        """The frames of the next message, bytes-like; None where none is there."""
        while True:
            try:
                length = self._socket.recv_into(self._buffer)
            except OSError:
                return None
            try:
                return unpacked(bytes(self._buffer[:length]))
            except Closed:  # it is not from a worker
                continue

    def close(self) -> None:
        self._socket.close()


class Post:
    """A worker's way to letterboxes. Where one was not found it is not looked for again: names are not used twice."""

    def __init__(self) -> None:
        self._socket = _socket()
        self._absent: set[bytes] = set()

    def put(self, name: bytes, frames: Sequence[Any]) -> bool:
        """Put a message into the letterbox of this name; returns whether it is in there."""
        if name in self._absent:
            return False
        parts = packed(frames)
        if sum([len(part) for part in parts]) > MOST_BYTES:
            return False
        try:
            self._socket.sendmsg(parts, (), 0, _address(name))
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                if len(self._absent) == _MOST_ABSENT:
                    self._absent.clear()
                self._absent.add(name)
            return False
        return True

    def close(self) -> None:
        self._socket.close()


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


def _address(name: bytes) -> bytes:
    return b"\0beliefd-" + name.hex().encode()
