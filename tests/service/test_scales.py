"""The broker is weighed also while no descriptor is left; and who reads no answers is cut when it grows too heavy."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack

import pytest
import zmq

from beliefd.channel import Channel
from beliefd_broker.scales import Scales
from beliefd_broker.switchboard import Switchboard

ANSWER_BYTES = 2**20
ANSWERS = 60
ALLOWED_BYTES = 20 * 2**20
PATIENCE_S = 30.0


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Switchboard]:
    made = Switchboard(tmp_path / "clients")
    yield made
    made.close()


def test_without_a_descriptor_it_is_weighed_and_nobody_is_cut(local: Switchboard) -> None:
    scales = Scales("tcp://127.0.0.1:5757", local, 0)
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


def test_who_reads_no_answers_over_tcp_is_cut_and_the_others_are_not(
    made: Callable[[int], zmq.Socket[bytes]], local: Switchboard, tmp_path: Path
) -> None:
    router = made(zmq.ROUTER)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.bind("tcp://127.0.0.1:0")
    tcp = router.getsockopt_string(zmq.LAST_ENDPOINT)
    deaf, other = client(made(zmq.DEALER), tcp), client(made(zmq.DEALER), tcp)
    routes = [greeted(router, each) for each in (deaf, other)]
    neighbour = named(tmp_path / "clients", b"n" * 16, local)
    scales = Scales(tcp, local, resident_bytes() + ALLOWED_BYTES)
    assert scales.light()

    for number in range(ANSWERS):
        router.send_multipart([routes[0], bytes([number]) * ANSWER_BYTES], zmq.DONTWAIT)
    assert not scales.light()
    open_before = len(os.listdir("/proc/self/fd"))
    until(lambda: scales.look(0))  # once some of it is on its way
    assert len(os.listdir("/proc/self/fd")) <= open_before  # to look takes none for good
    until(lambda: gone(router, routes[0]))
    until(lambda: not scales.look(0) and scales.light())  # what waited for it is free
    router.send_multipart([routes[1], b"answer"])
    assert other.poll(PATIENCE_S * 1000)
    assert other.recv() == b"answer"
    assert heard(neighbour, local, b"n" * 16) == [b"answer"]
    neighbour.close()


@pytest.mark.parametrize("harm", ["reads no answers", "ends no message"])
def test_for_whom_most_is_held_on_this_machine_is_cut_and_the_others_are_not(
    local: Switchboard, tmp_path: Path, harm: str
) -> None:
    heavy = named(tmp_path / "clients", b"h" * 16, local)
    neighbour = named(tmp_path / "clients", b"n" * 16, local)
    scales = Scales("tcp://127.0.0.1:5757", local, resident_bytes() + ALLOWED_BYTES)
    assert scales.light()
    if harm == "reads no answers":
        local.send(b"h" * 16, [bytes([1]) * (ANSWERS * ANSWER_BYTES)])
    else:
        heavy.setblocking(False)
        promised = pack("<QQ", 1, 2 * ANSWERS * ANSWER_BYTES)
        assert heavy.send(promised) == len(promised)
        for _ in range(ANSWERS):
            left = memoryview(bytes([1]) * ANSWER_BYTES)
            while left:
                try:
                    left = left[heavy.send(left) :]
                except BlockingIOError:
                    assert not list(local.messages())
    assert not scales.light()
    assert scales.look(0)
    until(lambda: not scales.look(0) and scales.light())
    assert not local.send(b"h" * 16, [b"answer"])
    assert heard(neighbour, local, b"n" * 16) == [b"answer"]
    heavy.close()
    neighbour.close()


def test_as_many_are_cut_as_it_takes_and_the_heaviest_of_them(local: Switchboard, tmp_path: Path) -> None:
    names = [bytes([number]) * 16 for number in range(1, 6)]
    deaf = [named(tmp_path / "clients", name, local) for name in names]
    before_bytes = resident_bytes()
    scales = Scales("tcp://127.0.0.1:5757", local, before_bytes + ALLOWED_BYTES)
    for number, name in enumerate(names):
        local.send(name, [bytes([1]) * ((2 + 2 * number) * 4 * ANSWER_BYTES)])  # 8, 16, 24, 32 and 40 MiB
    assert scales.look(0)
    left = [name for name in names if local.send(name, [b"still here"])]
    assert names[0] in left  # the rest is no more than there may be
    assert len(left) < 3
    until(lambda: not scales.look(0) and scales.light())
    for connection in deaf:
        connection.close()


def test_nobody_on_this_machine_is_cut_for_what_another_sends_over_tcp(
    made: Callable[[int], zmq.Socket[bytes]], local: Switchboard, tmp_path: Path
) -> None:
    router = made(zmq.ROUTER)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.bind("tcp://127.0.0.1:0")
    tcp = router.getsockopt_string(zmq.LAST_ENDPOINT)
    deaf = client(made(zmq.DEALER), tcp)
    route = greeted(router, deaf)
    slow = named(tmp_path / "clients", b"s" * 16, local)
    scales = Scales(tcp, local, resident_bytes() + ALLOWED_BYTES)
    local.send(b"s" * 16, [bytes([1]) * (4 * ANSWER_BYTES)])
    for number in range(ANSWERS):
        router.send_multipart([route, bytes([number]) * ANSWER_BYTES], zmq.DONTWAIT)
    until(lambda: scales.look(0))
    until(lambda: gone(router, route))
    until(lambda: not scales.look(0) and scales.light())
    assert local.send(b"s" * 16, [b"still here"])
    slow.close()


def named(path: Path, name: bytes, local: Switchboard) -> socket.socket:
    """Somebody of this machine who has said who it is."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    connection.sendall(pack("<QQ", 1, 16) + name)
    until(lambda: not list(local.messages()) and local.send(name, [b"welcome"]))
    assert received(connection) == [b"welcome"]
    return connection


def heard(connection: socket.socket, local: Switchboard, name: bytes) -> list[bytes]:
    assert local.send(name, [b"answer"])
    return received(connection)


def received(connection: socket.socket) -> list[bytes]:
    (message,) = Channel(connection).receive()
    return [bytes(frame) for frame in message]


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
