"""Messages over a Unix stream socket: between processes of one machine, with no thread between them and their socket.

::

    number of frames, length of each    8 bytes each, little-endian
    frames                              each followed by zeros up to a multiple of 8 bytes

A message over zmq passes a thread on either side, which has to be woken: that takes longer than all else that is done
to a small message. Frames begin at multiples of 8 bytes, so that arrays can be read where they arrived.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

import numpy as np

_READ_BYTES = 65_536
_MOST_AT_ONCE = 2**22
_MOST_FRAMES = 1024
_MOST_BYTES = 2**33
_NOT_NOW = (errno.ENOBUFS, errno.ENOMEM)  # the system is short of memory, and may not be for long
_count = Struct("<Q")
_padding = [bytes(-length % 8) for length in range(8)]


class Closed(Exception):
    """The other side is gone, or does not speak this."""


class Channel:
    """One side of a connection. It never waits: what the socket does not take now is sent by `flush`.

    Whoever sends a frame of more than `frame_bytes`, a message of more than `most_bytes`, or a first one of more than
    `first_bytes` is disconnected: memory is set aside for no stranger.
    """

    def __init__(
        self,
        connection: socket.socket,
        first_bytes: int = _MOST_BYTES,
        frame_bytes: int = _MOST_BYTES,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._unsent: deque[memoryview] = deque()
        self._next_bytes = first_bytes
        self._frame_bytes = frame_bytes
        self._most_bytes = most_bytes
        self._begun: bytes | memoryview = b""
        self._arrived = 0  # bytes of `_begun`, where that has the length of a message longer than what was read

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    @property
    def unsent(self) -> bool:
        """Whether something waits until the socket takes it."""
        return bool(self._unsent)

    @property
    def held_bytes(self) -> int:
        """What is kept here of messages that are not all sent, or have not all arrived."""
        return sum([len(message) for message in self._unsent]) + (self._arrived or len(self._begun))

    def send(self, frames: Sequence[Any]) -> None:
        """Send a message, now or with the next `flush`.

        Raises
        ------
        Closed
        """
        lengths = [len(frame) for frame in frames]
        parts = [_head(len(lengths)).pack(len(lengths), *lengths)]
        for frame in frames:
            parts += (frame, _padding[len(frame) & 7])
        self._unsent.append(memoryview(b"".join(parts)))
        if len(self._unsent) == 1:
            self.flush()

    def flush(self) -> bool:
        """Send what waits, as far as the socket takes it; returns whether that was all.

        Raises
        ------
        Closed
        """
        while self._unsent:
            message = self._unsent[0]
            try:
                sent = self._socket.send(message)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _NOT_NOW:
                    return False
                raise Closed from error
            if sent < len(message):
                self._unsent[0] = message[sent:]
            else:
                self._unsent.popleft()
        return True

    def receive(self) -> list[list[Any]]:
        """Read; returns the messages that are whole now, each as its frames, bytes-like and read-only.

        Not all that is there needs to be read: whoever polls the socket is told again.

        Raises
        ------
        Closed
        """
        try:
            data = self._read_on() if self._arrived else self._read()
        except BlockingIOError:
            return []
        except OSError as error:
            raise Closed from error
        view, end, at = memoryview(data), len(data), 0
        messages: list[list[Any]] = []
        while end - at >= _count.size:
            (count,) = _count.unpack_from(data, at)
            if count > _MOST_FRAMES:
                raise Closed
            head = _head(count)
            if head.size > end - at:
                break
            frames, begin = [], at + head.size
            for length in head.unpack_from(data, at)[1:]:
                if length > self._frame_bytes:
                    raise Closed
                frames.append(view[begin : begin + length])
                begin += length + 7 & -8
            if begin - at > self._next_bytes:
                raise Closed
            if begin > end:
                self._await(view[at:], begin - at)
                return messages + self.receive()
            messages.append(frames)
            self._next_bytes = self._most_bytes
            at = begin
        self._begun = data[at:]
        return messages

    def _read(self) -> bytes:
        read = self._socket.recv(_READ_BYTES)
        if not read:
            raise Closed
        return b"".join((self._begun, read)) if self._begun else read

    def _read_on(self) -> memoryview:
        """Read the rest of the message that has begun; raises BlockingIOError where it is not all there.

        Nor longer than it takes to read much: whoever sends as fast as it is read would have all others wait.
        """
        view = memoryview(self._begun)
        stop = self._arrived + _MOST_AT_ONCE
        while self._arrived < len(view):
            if self._arrived >= stop:
                raise BlockingIOError
            read = self._socket.recv_into(view[self._arrived : stop])
            if not read:
                raise Closed
            self._arrived += read
        self._begun, self._arrived = b"", 0
        return view.toreadonly()

    def _await(self, part: memoryview, length: int) -> None:
        """Expect the rest of a message of `length` bytes."""
        whole = np.empty(length, np.uint8).data  # costs nothing before something arrives
        whole[: len(part)] = part
        self._begun, self._arrived = whole, len(part)


@lru_cache(maxsize=256)
def _head(frames: int) -> Struct:
    """The number of frames and their lengths."""
    return Struct(f"<{1 + frames}Q")
