"""The broker is weighed also while no descriptor is left; and who reads no answers is cut when it grows too heavy."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from beliefd_broker.scales import Scales

ANSWER_BYTES = 2**20
ANSWERS = 60
ALLOWED_BYTES = 20 * 2**20
PATIENCE_S = 30.0


def test_without_a_descriptor_it_is_weighed_and_nobody_is_cut() -> None:
    scales = Scales("tcp://127.0.0.1:5757", Path("nowhere.ipc"), 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        assert not scales.light()
        assert not scales.look(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def made() -> Iterator[Callable[[int], zmq.Socket[bytes]]]:
    """Makes sockets, and closes them in the end."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets: list[zmq.Socket[bytes]] = []

    def make(kind: int) -> zmq.Socket[bytes]:
        sockets.append(context.socket(kind))
        return sockets[-1]

    yield make
    context.destroy(linger=0)


@pytest.mark.parametrize("deaf_by", ["tcp", "ipc"])
def test_who_reads_no_answers_is_cut_and_the_others_are_not(
    made: Callable[[int], zmq.Socket[bytes]], tmp_path: Path, deaf_by: str
) -> None:
    path = tmp_path / "clients.ipc"
    router = made(zmq.ROUTER)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.bind(f"ipc://{path}")
    router.bind("tcp://127.0.0.1:0")
    tcp = router.getsockopt_string(zmq.LAST_ENDPOINT)
    endpoints = {"tcp": tcp, "ipc": f"ipc://{path}"}
    deaf = client(made(zmq.DEALER), endpoints[deaf_by])
    others = [client(made(zmq.DEALER), endpoint) for endpoint in endpoints.values()]
    routes = [greeted(router, socket) for socket in (deaf, *others)]
    scales = Scales(tcp, path, resident_bytes() + ALLOWED_BYTES)
    assert scales.light()

    for number in range(ANSWERS):
        router.send_multipart([routes[0], bytes([number]) * ANSWER_BYTES], zmq.DONTWAIT)
    assert not scales.light()
    until(lambda: scales.look(0))  # once some of it is on its way
    until(lambda: gone(router, routes[0]))
    until(lambda: not scales.look(0) and scales.light())  # what waited for it is free
    for socket, route in zip(others, routes[1:], strict=True):
        router.send_multipart([route, b"answer"])
        assert socket.poll(PATIENCE_S * 1000)
        assert socket.recv() == b"answer"


def client(socket: zmq.Socket[bytes], endpoint: str) -> zmq.Socket[bytes]:
    """One that takes little before somebody reads it."""
    socket.setsockopt(zmq.RCVHWM, 1)
    socket.setsockopt(zmq.RCVBUF, 4096)
    socket.connect(endpoint)
    return socket


def greeted(router: zmq.Socket[bytes], socket: zmq.Socket[bytes]) -> bytes:
    socket.send(b"hello")
    assert router.poll(PATIENCE_S * 1000)
    return router.recv_multipart()[0]


def gone(router: zmq.Socket[bytes], route: bytes) -> bool:
    """Whether the router has noticed, as it does while it is used."""
    router.poll(10)
    try:
        router.send_multipart([route, b""], zmq.DONTWAIT)
    except zmq.Again:
        return False
    except zmq.ZMQError as error:
        return error.errno == zmq.EHOSTUNREACH
    return False


def until(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline_s


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
