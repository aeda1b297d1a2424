"""A bare double hop of ZeroMQ: a client's socket, a forwarder with two routers, and a peer that sends everything back.

``python hop.py forward FRONT BACK`` and ``python hop.py echo BACK`` are the processes behind the socket; they decode
nothing. It takes what any broker between clients and workers takes at least.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

_PATIENCE_MS = 10_000


@contextmanager
def double_hop(front: str, back: str) -> Iterator[Callable[[Sequence[bytes]], list[bytes]]]:
    """Yields a call that sends frames and returns what comes back. The endpoints are free ones, tcp or ipc."""
    here = str(Path(__file__).resolve())
    commands = [[sys.executable, here, "forward", front, back], [sys.executable, here, "echo", back]]
    processes = [subprocess.Popen(command) for command in commands]
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.RCVTIMEO, _PATIENCE_MS)
    socket.connect(front)

    def there_and_back(frames: Sequence[bytes]) -> list[bytes]:
        socket.send_multipart(frames)
        return list(socket.recv_multipart())

    try:
        yield there_and_back
    finally:
        context.destroy(linger=0)
        for process in processes:
            process.terminate()
            process.wait()


def forward(front_endpoint: str, back_endpoint: str) -> None:
    """Hand on every message, to whoever announced itself at the back, and the answer to its sender."""
    context: zmq.Context[Any] = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
    back.bind(back_endpoint)
    echo = back.recv_multipart()[0]
    front.bind(front_endpoint)
    poller = zmq.Poller()
    poller.register(front, zmq.POLLIN)
    poller.register(back, zmq.POLLIN)
    while True:
        for socket, _ in poller.poll():
            frames = socket.recv_multipart()
            if socket is front:
                back.send_multipart([echo, *frames])
            else:
                front.send_multipart(frames[1:])


def echo(back_endpoint: str) -> None:
    """Send everything back."""
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.connect(back_endpoint)
    socket.send_multipart([b"here"])
    while True:
        socket.send_multipart(socket.recv_multipart())


if __name__ == "__main__":
    if sys.argv[1] == "forward":
        forward(*sys.argv[2:])
    else:
        echo(*sys.argv[2:])
