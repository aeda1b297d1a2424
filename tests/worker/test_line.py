"""A worker's line to the broker's switchboard, over real sockets: who is who, who is cut, who comes back."""

import contextlib
import os
import resource
import select
import socket
from struct import pack

import pytest

from beliefd.channel import Channel
from beliefd_broker.switchboard import Switchboard
from beliefd_proto.errors import EndpointNotUsable
from beliefd_worker import line as module
from beliefd_worker.line import Line

MINE, OTHER = b"m" * 16, b"o" * 16
LARGE = bytes(3_000_000)
TURNS = 10_000


class Broker:
    """A switchboard and who looks whether it has something to do."""

    def __init__(self, path):
        self.board = Switchboard(path)
        self.poll = select.poll()
        self.poll.register(self.board, select.POLLIN)

    def heard(self, timeout_ms=1000):
        self.poll.poll(timeout_ms)
        return [(who, [bytes(frame) for frame in frames]) for who, frames in self.board.messages()]

    def hears(self, count=1):
        found = []
        for _ in range(TURNS):
            found += self.heard()
            if len(found) >= count:
                return found
        raise AssertionError(found)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "workers"


@pytest.fixture
def broker(path):
    made = Broker(path)
    yield made
    made.board.close()


@pytest.fixture
def line(path):
    read_fd, write_fd = os.pipe()
    made = []

    def make(incarnation=MINE):
        made.append(Line(path, incarnation, read_fd))
        return made[-1]

    yield make
    for each in made:
        each.close()
    os.close(read_fd)
    os.close(write_fd)


def said(line):
    """The frames of the next message."""
    for _ in range(TURNS):
        line.wait(1000)
        if found := list(line.receive()):
            return [bytes(frame) for frame in found[0]]
    raise AssertionError


def test_each_is_known_by_its_incarnation(broker, line):
    mine, other = line(MINE), line(OTHER)
    mine.send([b"hello", b"1"])
    other.send([b"hello", b"2"])
    assert sorted(broker.hears(2)) == [(MINE, [b"hello", b"1"]), (OTHER, [b"hello", b"2"])]
    broker.board.send(OTHER, [b"to", b"other"])
    broker.board.send(MINE, [b"to", b"mine"])
    broker.board.send(b"nobody", [b"lost"])
    assert (said(mine), said(other)) == ([b"to", b"mine"], [b"to", b"other"])


def test_what_a_worker_does_not_take_waits_and_nobody_waits_for_it(broker, line):
    slow, quick = line(MINE), line(OTHER)
    slow.send([b"hello"])
    quick.send([b"hello"])
    broker.hears(2)
    broker.board.send(MINE, [LARGE])
    broker.board.send(MINE, [b"after it"])
    broker.board.send(OTHER, [b"at once"])
    assert said(quick) == [b"at once"]
    received = []
    for _ in range(TURNS):
        received += slow.receive()
        broker.heard(0)
        if len(received) == 2:
            break
    assert [len(frames[0]) for frames in received] == [len(LARGE), 8]
    assert not broker.poll.poll(0)  # nothing is left to send: that the socket would take it is not told


def test_what_a_broker_does_not_take_waits_too(broker, line):
    mine = line()
    mine.send([LARGE])
    mine.send([b"after it"])
    assert mine.clogged
    heard = []
    for _ in range(TURNS):
        heard += broker.heard(1)
        if mine.wait(0):  # there is room
            list(mine.receive())
        if len(heard) == 2:
            break
    assert [len(frames[0]) for _, frames in heard] == [len(LARGE), 8]
    assert not mine.clogged


NOISE = {
    "no number of frames": b"\xff" * 64,
    "no frame": bytes(8),
    "two frames": pack("<QQQ", 2, 0, 0),
    "a short one": pack("<QQQ", 1, 3, 0),
    "one of which much is to come": pack("<QQ", 1, 2**26),
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
def test_a_stranger_who_says_no_incarnation_is_cut(broker, line, path, noise):
    mine = line()
    mine.send([b"hello"])
    broker.hears()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(path))
        stranger.sendall(noise)
        for _ in range(3):
            broker.heard(100)
        stranger.settimeout(1)
        assert stranger.recv(1) == b""
    mine.send([b"still here"])
    assert broker.hears() == [(MINE, [b"still here"])]


def test_of_those_who_say_nothing_the_last_are_kept(broker, line, path):
    with contextlib.ExitStack() as crowd:
        strangers = [crowd.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(100)]
        for stranger in strangers:
            stranger.settimeout(1)
            stranger.connect(str(path))
            broker.heard()
        assert strangers[0].recv(1) == b""
        strangers[-1].sendall(pack("<QQ", 1, 16) + OTHER + pack("<QQ", 1, 5) + b"hello" + bytes(3))
        assert broker.hears() == [(OTHER, [b"hello"])]
        mine = line()
        mine.send([b"let in"])
        assert broker.hears() == [(MINE, [b"let in"])]


def test_a_worker_that_connects_again_is_answered_where_it_is(broker, line):
    before, after = line(), line()
    before.send([b"one"])
    broker.hears()
    after.send([b"two"])
    broker.hears()
    before.close()
    broker.heard(1000)
    broker.board.send(MINE, [b"here"])
    assert said(after) == [b"here"]


def test_the_next_broker_is_found(path, line):
    mine = line()
    mine.send([b"nobody listens"])
    assert not mine.stands
    first = Broker(path)
    mine.send([b"one"])
    assert first.hears() == [(MINE, [b"one"])]
    first.board.close()
    mine.wait(1000)
    assert list(mine.receive()) == []
    assert not mine.stands
    second = Broker(path)  # over what the first has left in the folder
    mine.send([b"two"])
    assert second.hears() == [(MINE, [b"two"])]
    second.board.close()


def test_without_a_descriptor_nobody_is_let_in_and_the_broker_is_not_kept_busy(broker, line):
    mine = line()
    mine.send([b"hello"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        assert broker.heard() == []
        assert not broker.poll.poll(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    broker.board.listen()
    assert broker.hears() == [(MINE, [b"hello"])]


def test_a_broker_that_dies_before_it_lets_in_is_not_there(path, line, monkeypatch):
    mine, first = line(), Broker(path)

    def connected(connection):
        first.board.close()
        return Channel(connection)

    with monkeypatch.context() as patch:
        patch.setattr(module, "Channel", connected)
        mine.send([b"one"])
    assert not mine.stands
    second = Broker(path)
    mine.send([b"two"])
    assert second.hears() == [(MINE, [b"two"])]
    second.board.close()


def test_where_nobody_can_listen_it_is_told(path):
    path.mkdir()
    with pytest.raises(EndpointNotUsable, match=f"BELIEFD_DATA.*{path}"):
        Broker(path)
