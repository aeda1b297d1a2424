"""Messages over a Unix stream socket: between processes of one machine, with no thread between them and their socket.

::

    number of frames, length of each    8 bytes each, little-endian
    frames                              each followed by zeros up to a multiple of 8 bytes

A message over zmq passes a thread on either side, which has to be woken: that takes longer than all else that is done
to a small message. Frames begin at multiples of 8 bytes, so that arrays can be read where they arrived.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from beliefd_proto.framing import LARGE_BYTES

_MOST_AT_ONCE = 2**22
_MOST_FRAMES = 1024
_MOST_PARTS = os.sysconf("SC_IOV_MAX")
_NOT_NOW = (errno.ENOBUFS, errno.ENOMEM)  # the system is short of memory, and may not be for long
_count = Struct("<Q")
_padding = [bytes(-length % 8) for length in range(8)]


class Closed(Exception):
    """The other side is gone, or does not speak this."""


class Bounds(NamedTuple):
    """What a channel takes from its other side.

    Of a frame, of a message, and of the first one: memory is set aside for no stranger. `read_bytes` are read at once,
    of which the smallest message takes 16.
    """

    frame_bytes: int = 2**33
    message_bytes: int = 2**33
    first_bytes: int = 2**33
    read_bytes: int = 65_536


class Channel:
    """One side of a connection. It never waits: what the socket does not take now is sent by `flush`.

    Whoever sends more than the bounds allow is disconnected.
    """

    def __init__(self, connection: socket.socket, bounds: Bounds | None = None) -> None:
        bounds = bounds or Bounds()
        connection.setblocking(False)
        self._socket = connection
        self._unsent: deque[memoryview] = deque()
        self._bounds = bounds
        self._next_bytes = bounds.first_bytes
        # Of a message that is not whole: what was read of it; or its memory, of which so many bytes have arrived.
        self._begun = b""
        self._begun_long: memoryview | None = None
        self._arrived = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def end(self) -> None:
        """Have the other side see the end, also where a process that was forked has the socket open."""
        with contextlib.suppress(OSError):  # it has ended
            self._socket.shutdown(socket.SHUT_RDWR)

    @property
    def unsent(self) -> bool:
        """Whether something waits until the socket takes it."""
        return bool(self._unsent)

    @property
    def held_bytes(self) -> int:
        """What is kept here of messages that are not all sent, or have not all arrived."""
        # All of a message that is partly sent: its memory is kept until its last byte is taken.
        return sum([memoryview(message.obj).nbytes for message in self._unsent]) + self._arrived + len(self._begun)

    def send(self, frames: Sequence[Any]) -> None:
        """Send a message, now or with the next `flush`.

        Raises
        ------
        Closed
        """
        parts = packed(frames)
        length = sum([len(part) for part in parts])
        sent = 0
        if not self._unsent:
            if length >= LARGE_BYTES and len(parts) <= _MOST_PARTS:
                sent = self._try(self._socket.sendmsg, parts)
            else:
                parts = [b"".join(parts)]
                sent = self._try(self._socket.send, parts[0])
        if sent < length:
            self._unsent.append(memoryview(b"".join(parts))[sent:])

    def flush(self) -> bool:
        """Send what waits, as far as the socket takes it; returns whether that was all.

        Raises
        ------
        Closed
        """
        while self._unsent:
            message = self._unsent[0]
            sent = self._try(self._socket.send, message)
            if not sent:
                return False
            if sent < len(message):
                self._unsent[0] = message[sent:]
            else:
                self._unsent.popleft()
        return True

    def _try(self, send: Callable[[Any], int], message: Any) -> int:
        """How many bytes the socket takes now."""
        try:
            return send(message)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in _NOT_NOW:
                return 0
            raise Closed from error

    def receive(self) -> list[list[Any]]:
        """Read; returns the messages that are whole now, each as its frames, bytes-like and read-only.

        Not all that is there needs to be read: whoever polls the socket is told again.

        Raises
        ------
        Closed
        """
        data = self._read()
        messages = [] if data is None else self._parse(data)
        if self._begun_long is not None and data is not None:  # the rest may be there
            rest = self._read_on(self._begun_long, patient=bool(messages))
            if rest is not None:
                messages += self._parse(rest)
        return messages

    def _parse(self, data: bytes | memoryview) -> list[list[Any]]:
        """The messages that begin in `data`; what is not whole is kept."""
        view, end, at = memoryview(data), len(data), 0
        messages: list[list[Any]] = []
        while end - at >= _count.size:
            (count,) = _count.unpack_from(data, at)
            if not 0 < count <= _MOST_FRAMES:
                raise Closed
            head = _head(count)
            if head.size > end - at:
                break
            frames, begin = [], at + head.size
            for length in head.unpack_from(data, at)[1:]:
                if length > self._bounds.frame_bytes:
                    raise Closed
                frames.append(view[begin : begin + length])
                begin += length + 7 & -8
            if begin - at > self._next_bytes:
                raise Closed
            if begin > end:
                self._await(view[at:], begin - at)
                return messages
            messages.append(frames)
            self._next_bytes = self._bounds.message_bytes
            at = begin
        self._begun = bytes(view[at:])  # not a view: the whole of what was read would stay with it
        return messages

    def _read(self) -> bytes | memoryview | None:
        """What has arrived; None where that is nothing, or not yet all of a long message."""
        if self._begun_long is not None:
            return self._read_on(self._begun_long)
        try:
            read = self._socket.recv(self._bounds.read_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Closed from error
        if not read:
            raise Closed
        return b"".join((self._begun, read)) if self._begun else read

    def _read_on(self, whole: memoryview, patient: bool = False) -> memoryview | None:
        """The long message that has begun, once it is all there.

        Not more of it at once than takes little time to read: whoever sends as fast as it is read would have all others
        wait. That the connection has ended is told next time where `patient` is set: what came before counts.
        """
        stop = self._arrived + _MOST_AT_ONCE
        while self._arrived < len(whole):
            if self._arrived >= stop:
                return None
            try:
                read = self._socket.recv_into(whole[self._arrived : stop])
            except BlockingIOError:
                return None
            except OSError:  # an end too
                read = 0
            if not read:
                if patient:
                    return None
                raise Closed
            self._arrived += read
        self._begun_long, self._arrived = None, 0
        return whole.toreadonly()

    def _await(self, part: memoryview, length: int) -> None:
        """Expect the rest of a message of `length` bytes."""
        try:
            whole = np.empty(length, np.uint8).data  # costs nothing before something arrives
        except MemoryError as error:
            raise Closed from error
        whole[: len(part)] = part
        self._begun, self._begun_long, self._arrived = b"", whole, len(part)


def packed(frames: Sequence[Any]) -> list[Any]:
    """A message as parts, which follow each other."""
    lengths = [len(frame) for frame in frames]
    parts = [_head(len(lengths)).pack(len(lengths), *lengths)]
    for frame in frames:
        parts += (frame, _padding[len(frame) & 7])
    return parts


def unpacked(data: bytes) -> list[Any]:
    """The frames of the one message that `data` is.

    Raises
    ------
    Closed
        It is none, or not one alone.
    """
    count = _count.unpack_from(data)[0] if len(data) >= _count.size else 0
    if not 0 < count <= _MOST_FRAMES or len(data) < _head(count).size:
        raise Closed
    head, view = _head(count), memoryview(data)
    frames, at = [], head.size
    for length in head.unpack_from(data)[1:]:
        frames.append(view[at : at + length])
        at += length + 7 & -8
    if at != len(data):
        raise Closed
    return frames


@lru_cache(maxsize=256)
def _head(frames: int) -> Struct:
    """The number of frames and their lengths."""
    return Struct(f"<{1 + frames}Q")
