"""Keeps what is held for strangers from filling the memory of the machine.

libzmq bounds a frame, and how many whole messages wait; not how many frames of a message that has not ended it keeps,
nor the bytes of what waits for a peer that reads nothing; and of a local client a message is held that has not all
arrived, or is not all taken. So the process is weighed at every tick. Where it is heavier than all that the broker lets
in, the TCP connection that moves most is cut, or the local one for which most is held: who meant no harm connects
again, and asks again, and loses nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import socket
import stat
import struct
import termios
from collections.abc import Iterator

from beliefd_broker.switchboard import Switchboard

OWN_BYTES = 256 * 2**20
"""What a broker without populations and requests may take: Python, its libraries, and what the allocator keeps back."""
_LEAST_MOVED_BYTES = 4096
_TCP_BYTES_RECEIVED = 128  # where `tcpi_bytes_received` stands in `struct tcp_info`
_TCP_INFO_BYTES = 192
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


class Scales:
    """Cuts connections to a TCP endpoint, and `local` ones, while the process takes more than `most_bytes`."""

    def __init__(self, endpoint: str, local: Switchboard, most_bytes: int) -> None:
        self._port = int(endpoint.rpartition(":")[2])
        self._local = local
        self._most_bytes = most_bytes
        self._received: dict[int, int] = {}
        # Opened once: in a crowd of connections there may be no descriptor left.
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)

    def light(self) -> bool:
        """Whether there is nothing to do, whatever the broker holds: a few microseconds."""
        return self._resident_bytes() <= self._most_bytes

    def look(self, known_bytes: int) -> bool:
        """Cut connections where the process is heavier than that and `known_bytes`; returns whether it did.

        The first look at a flood counts what arrives, the second knows from where.
        """
        most_bytes = self._most_bytes + known_bytes
        if self._resident_bytes() > most_bytes and _trim is not None:
            _trim(0)  # what was freed may be there still
        if self._resident_bytes() <= most_bytes:
            self._received.clear()
            return False
        if self._cut_local(self._resident_bytes() - most_bytes):
            return True
        before, self._received = self._received, {}
        most, heaviest = _LEAST_MOVED_BYTES, None
        for number, connection in self._connections():
            moved = _queued(connection, termios.FIONREAD) + _queued(connection, termios.TIOCOUTQ)
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            received = self._received[number] = struct.unpack_from("=Q", info, _TCP_BYTES_RECEIVED)[0]
            moved += max(received - before.get(number, received), 0)
            if moved > most:
                most, heaviest = moved, number
        if heaviest is None:
            return False
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(heaviest)) as connection:
            # Without the first, a sender may wait for ever for what nobody reads any more.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)
        return True

    def _cut_local(self, excess: int) -> bool:
        """Cut local connections until no more is held for them than is to be; not where it is not theirs.

        More than one: many may come and stay, each with a message that it does not end.
        """
        held = self._local.held()
        if excess <= 0 or sum([size for size, _ in held]) < excess:
            return False
        for size, channel in held:
            if excess > 0:
                self._local.drop(channel)
                excess -= size
        return True

    def _resident_bytes(self) -> int:
        return int(os.pread(self._statm, 128, 0).split()[1]) * resource.getpagesize()

    def _connections(self) -> Iterator[tuple[int, socket.socket]]:
        """The TCP connections of clients, by their descriptors; libzmq's own, so none of them is closed here."""
        try:
            names = os.listdir("/proc/self/fd")
        except OSError:  # no descriptor is left to look with; the next look may find one
            return
        for name in names:
            with contextlib.suppress(OSError):  # what listens, or has been closed meanwhile
                if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    continue
                with socket.socket(fileno=os.dup(int(name))) as connection:
                    connection.getpeername()
                    if connection.family != socket.AF_UNIX and connection.getsockname()[1] == self._port:
                        yield int(name), connection


def _queued(connection: socket.socket, question: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(connection, question, bytes(4)))[0])
