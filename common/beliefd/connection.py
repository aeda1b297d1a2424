"""A client's way to its broker: over TCP a ZeroMQ socket, to a broker of the same machine a Unix stream socket.

A message over zmq passes a thread in either process, which has to be woken. Over a stream there is none: a step of one
agent takes a fifth less.
"""

from __future__ import annotations

import math
import os
import secrets
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import zmq

from beliefd import transport
from beliefd.channel import Channel, Closed
from beliefd.keys import Keys
from beliefd_proto.errors import InvalidArgument

ENDPOINTS = "tcp://HOST:PORT, unix://PATH"
_SOONEST_S, _LATEST_S = 0.02, 0.5
"""Between two attempts to connect: longer each time."""
_NAME_BYTES = 16


class Refused(Exception):
    """What listens there let nobody in: to try again is of no use."""


class Connection(Protocol):
    """Made anew by itself where it breaks. One thread at a time may use it."""

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


def open_connection(endpoint: str, keys: Keys | None, wake_fd: int) -> Connection:
    """The connection to an endpoint, which need not listen yet.

    Raises
    ------
    InvalidArgument
        The endpoint has a form that cannot be connected to.
    """
    scheme, _, path = endpoint.partition("://")
    if scheme == "unix" and path:
        return StreamConnection(path, wake_fd)
    if scheme == "tcp":
        return DealerConnection(endpoint, keys, wake_fd)
    raise _unusable(endpoint, "no such kind of endpoint")


class DealerConnection:
    """A DEALER over TCP. A thread of zmq's own connects and reconnects; nobody is told of it."""

    def __init__(self, endpoint: str, keys: Keys | None, wake_fd: int) -> None:
        self._wake_fd = wake_fd
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, int(_SOONEST_S * 1000))
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, int(_LATEST_S * 1000))
        self._socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        if keys is not None:
            self._socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server_key.encode())
            self._socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public_key.encode())
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret_key.encode())
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._socket.close()
            raise _unusable(endpoint, str(error)) from None
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(wake_fd, zmq.POLLIN)

    def wait(self, timeout_ms: int) -> bool:
        for source, _ in self._poller.poll(timeout_ms):
            if source == self._wake_fd:
                os.read(self._wake_fd, 4096)
        return False

    def receive(self) -> list[Any] | None:
        return transport.receive(self._socket)

    def send(self, frames: Sequence[Any]) -> None:
        try:
            transport.send(self._socket, frames)
        except zmq.Again:
            # The queue is unbounded: libzmq takes nothing only where it gave the connection up, after its handshake
            # was refused.
            raise Refused from None

    def close(self) -> None:
        self._socket.close()


class StreamConnection:
    """A Unix stream. Its first message names it: 16 bytes of its own."""

    def __init__(self, path: str, wake_fd: int) -> None:
        self._path = path
        self._wake_fd = wake_fd
        self._channel: Channel | None = None
        self._arrived: deque[list[Any]] = deque()
        self._poll = select.poll()
        self._poll.register(wake_fd, select.POLLIN)
        self._pause_s = 0.0
        self._connect_s = 0.0  # when to try next
        try:
            self._connect()
        except (OSError, ValueError) as error:  # such as a path that is too long
            raise _unusable(f"unix://{path}", str(error)) from None

    def wait(self, timeout_ms: int) -> bool:
        if self._channel is None:
            timeout_ms = min(timeout_ms, math.ceil(max(self._connect_s - time.monotonic(), 0.0) * 1000))
        for source, event in self._poll.poll(timeout_ms):
            if source == self._wake_fd:
                os.read(self._wake_fd, 4096)
            elif event & select.POLLOUT and self._channel is not None:
                self._flush(self._channel)
        try:
            return self._channel is None and self._connect()
        except OSError:  # it was not so at first, and may pass
            return False

    def receive(self) -> list[Any] | None:
        if not self._arrived and self._channel is not None:
            try:
                self._arrived.extend(self._channel.receive())
            except Closed:
                self._lose(self._channel)
        return self._arrived.popleft() if self._arrived else None

    def send(self, frames: Sequence[Any]) -> None:
        if self._channel is None:
            return
        try:
            self._channel.send(frames)
        except Closed:
            self._lose(self._channel)
            return
        if self._channel.unsent:
            self._poll.modify(self._channel, select.POLLIN | select.POLLOUT)

    def close(self) -> None:
        if self._channel is not None:
            self._lose(self._channel)

    def _flush(self, channel: Channel) -> None:
        try:
            if channel.flush():
                self._poll.modify(channel, select.POLLIN)
        except Closed:
            self._lose(channel)

    def _connect(self) -> bool:
        """Connect, if it is time to; returns whether the connection stands."""
        now_s = time.monotonic()
        if now_s < self._connect_s:
            return False
        self._pause_s = min(max(2 * self._pause_s, _SOONEST_S), _LATEST_S)
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
        self._channel = Channel(connection)
        self._poll.register(self._channel, select.POLLIN)
        self._pause_s = 0.0
        self.send([secrets.token_bytes(_NAME_BYTES)])
        return self._channel is not None

    def _lose(self, channel: Channel) -> None:
        self._poll.unregister(channel)
        channel.close()
        self._channel = None
        self._arrived.clear()


def _unusable(endpoint: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"cannot connect to this: {why}", field="endpoint", value=endpoint, allowed=ENDPOINTS)
