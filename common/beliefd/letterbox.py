"""Where a client of the broker's machine is told of its steps by the workers that made them.

A letterbox is a Unix datagram socket of the abstract namespace, and a datagram is a message in the form of
`beliefd.channel`. Whoever runs on this machine finds it and may put something in. So nothing is taken out but parts of
answers, and only a worker knows the id of the request that one answers. Nobody relies on a letterbox: what does not get
into one the broker tells.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from typing import Any

from beliefd.channel import Closed, packed, unpacked
from beliefd_proto import Command
from beliefd_proto.framing import says

_NAME_BYTES = 16
MOST_BYTES = 2**17
"""Of a message. The system's own bound is not much higher, and of what is larger the way is the least part."""
_MOST_WAYS, _MOST_ABSENT = 64, 1024


class Letterbox:
    """A client's, from which it takes out what was put in.

    Raises
    ------
    OSError
    """

    def __init__(self) -> None:
        self.name = secrets.token_bytes(_NAME_BYTES)
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
        """The frames of the next part of an answer, bytes-like; None where none is there, or something else was.

        Where something else was, more may be there: whoever polls is told again.
        """
        try:
            frames = unpacked(bytes(self._buffer[: self._socket.recv_into(self._buffer)]))
        except (OSError, Closed):
            return None
        return frames if says(Command.STEPPED_PART, frames) else None

    def close(self) -> None:
        self._socket.close()


class Post:
    """A worker's way to letterboxes, to each by a socket of its own: what one does not take keeps nothing from others.

    Where a letterbox was not found it is not looked for again: names are not used twice.
    """

    def __init__(self) -> None:
        self._ways: dict[bytes, socket.socket] = {}
        self._absent: set[bytes] = set()

    def put(self, name: bytes, frames: Sequence[Any]) -> bool:
        """Put a message into the letterbox of this name; returns whether it is in there."""
        if name in self._absent:
            return False
        parts = packed(frames)
        if sum([len(part) for part in parts]) > MOST_BYTES:
            return False
        try:
            (self._ways.get(name) or self._way(name)).sendmsg(parts)
        except ConnectionError:
            self._forget(name)
            return False
        except OSError:  # such as that it is full
            return False
        return True

    def close(self) -> None:
        for way in self._ways.values():
            way.close()

    def _way(self, name: bytes) -> socket.socket:
        if len(self._ways) == _MOST_WAYS:
            self._ways.pop(next(iter(self._ways))).close()  # the oldest: it is found again
        way = _socket()
        try:
            way.connect(_address(name))
        except BaseException:
            way.close()
            raise
        self._ways[name] = way
        return way

    def _forget(self, name: bytes) -> None:
        if (way := self._ways.pop(name, None)) is not None:
            way.close()
        if len(self._absent) == _MOST_ABSENT:
            self._absent.clear()
        self._absent.add(name)


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


def _address(name: bytes) -> bytes:
    return b"\0beliefd-" + name.hex().encode()
