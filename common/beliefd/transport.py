"""Messages over a zmq socket, without ever waiting for one. Client and broker share these few lines.

They are run for every message that anybody sends: the members of zmq's enums, whose operators cost more than the calls
themselves, are plain integers here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import zmq

from beliefd_proto.framing import LARGE_BYTES

DONTWAIT = int(zmq.DONTWAIT)
_MORE_DONTWAIT = int(zmq.SNDMORE) | DONTWAIT


def receive(socket: zmq.Socket[bytes]) -> list[Any] | None:
    """The frames of the next message, bytes-like; None where there is none."""
    try:
        frame = socket.recv(DONTWAIT, copy=False)
    except zmq.Again:  # as dear as to ask twice beforehand; but it comes after the last message alone
        return None
    frames: list[Any] = []
    while True:
        frames.append(frame.bytes if len(frame) < LARGE_BYTES else frame.buffer.toreadonly())
        if not frame.more:
            return frames
        frame = socket.recv(DONTWAIT, copy=False)


def send(socket: zmq.Socket[bytes], frames: Sequence[Any]) -> None:
    """Send a message.

    Raises
    ------
    zmq.Again
        The socket, or the peer, takes nothing now. Nothing of the message was sent.
    zmq.ZMQError
        Such as EHOSTUNREACH, of a ROUTER that does not know the peer.
    """
    last = len(frames) - 1
    for i, frame in enumerate(frames):
        socket.send(frame, DONTWAIT if i == last else _MORE_DONTWAIT)
