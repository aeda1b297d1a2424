"""A client's connection to its broker over TCP."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import zmq

from beliefd import transport
from beliefd.connection import LATEST_S, SOONEST_S, Refused
from beliefd.keys import Keys


class DealerConnection:
    """A DEALER over TCP. A thread of zmq's own connects and reconnects; nobody is told of it."""

    letterbox = None

    def __init__(self, endpoint: str, keys: Keys | None, wake_fd: int) -> None:
        self._wake_fd = wake_fd
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, int(SOONEST_S * 1000))
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, int(LATEST_S * 1000))
        self._socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        if keys is not None:
            self._socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server_key.encode())
            self._socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public_key.encode())
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret_key.encode())
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._socket.close()
            raise ValueError(str(error)) from None
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
