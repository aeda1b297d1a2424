"""The outbox over both doors: an unknown peer is told, a full one is held up to a bound, nobody is waited for."""

import secrets
import socket
import time

import pytest
import zmq

from beliefd.channel import Channel, Closed
from beliefd_broker import outbox as module
from beliefd_broker.doors import Doors, open_local
from beliefd_broker.outbox import Outbox
from beliefd_service.lifecycle import make_folders
from beliefd_service.settings import Settings
from beliefd_service.stack import free_port

PAYLOAD = bytes(200_000)


@pytest.fixture
def context():
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


class World:
    """Doors, who looks at them, and whoever has left."""

    def __init__(self, context, folder):
        environment = {"BELIEFD_DATA": str(folder), "BELIEFD_ENDPOINT": f"tcp://127.0.0.1:{free_port()}"}
        self.settings = Settings.from_environment(environment)
        make_folders(self.settings)
        self.context = context
        self.gone = []
        self.local = open_local(self.settings, self.gone.append)
        self.doors = Doors(self.settings, context, None, self.local)
        self.poller = zmq.Poller()
        self.doors.open(self.poller)

    def turn(self, timeout_ms=0, most=100):
        ready = [source for source, _ in self.poller.poll(timeout_ms)]
        return list(self.doors.messages(ready, most))


@pytest.fixture
def world(context, tmp_path):
    made = World(context, tmp_path)
    yield made
    made.local.close()


class OverTcp:
    """A client that takes little."""

    def __init__(self, world):
        self._socket = world.context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.RCVHWM, 1)
        self._socket.setsockopt(zmq.RCVBUF, 4096)
        self._socket.connect(world.doors.endpoint)

    def say(self, *frames):
        self._socket.send_multipart(frames)

    def received(self):
        if not self._socket.poll(5):
            return None
        return self._socket.recv_multipart()

    def close(self):
        self._socket.close(linger=0)


class Local:
    """The same on the broker's machine."""

    def __init__(self, world):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(str(world.settings.client_socket))
        self._channel = Channel(self._socket)
        self._channel.send([secrets.token_bytes(16)])
        self._arrived = []

    def say(self, *frames):
        self._channel.send(frames)

    def received(self):
        if not self._arrived:
            self._arrived += self._channel.receive()
        return [bytes(frame) for frame in self._arrived.pop(0)] if self._arrived else None

    def close(self):
        self._socket.close()


@pytest.fixture(params=[OverTcp, Local])
def join(request, world):
    """Connects somebody who is known; returns it and its route."""
    made = []

    def joined():
        peer = request.param(world)
        made.append(peer)
        peer.say(b"hello")
        heard = []
        until(lambda: heard.extend(world.turn(10)) or heard)
        [(route, frames)] = heard
        assert [bytes(frame) for frame in frames] == [b"hello"]
        return peer, route

    yield joined
    for peer in made:
        peer.close()


def until(done):
    deadline_s = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline_s


def number_of(frames):
    return int.from_bytes(frames[0], "big")


def fill(outbox, route):
    """Send until the peer takes no more; how many were sent, the first held one included."""
    sent = 0
    while not outbox:
        sent += 1
        assert outbox.send(route, [sent.to_bytes(4, "big"), PAYLOAD])
    return sent


def test_a_peer_that_nobody_knows_is_told(world):
    outbox = Outbox(world.doors.send)
    assert outbox.send(b"nobody", [b"x"]) is False
    assert not outbox
    assert list(outbox.flush()) == []


def test_a_full_peer_is_held_and_gets_everything_in_order(world, join):
    peer, route = join()
    outbox = Outbox(world.doors.send)
    sent = fill(outbox, route)
    for number in range(sent + 1, sent + 6):
        assert outbox.send(route, [number.to_bytes(4, "big"), PAYLOAD])
    assert list(outbox.flush()) == []
    got = []

    def all_have_come():
        # There is room some time after the peer has taken one: who holds the others tries again and again.
        frames = peer.received()
        if frames is not None:
            assert frames[1] == PAYLOAD
            got.append(number_of(frames))
        assert world.turn() == []
        assert list(outbox.flush()) == []
        return len(got) == sent + 5

    until(all_have_come)
    assert got == list(range(1, sent + 6))
    assert not outbox


def test_what_is_held_goes_out_while_nobody_is_heard_any_more(world, join):
    """As when the broker leaves: what a client sends then it sends to the next one."""
    peer, route = join()
    outbox = Outbox(world.doors.send)
    sent = fill(outbox, route)
    world.doors.shut(world.poller)
    peer.say(b"not heard")
    got = []

    def all_have_come():
        frames = peer.received()
        got.extend([] if frames is None else [number_of(frames)])
        assert world.turn() == []
        assert list(outbox.flush()) == []
        return len(got) == sent

    until(all_have_come)
    assert not outbox
    assert not world.local.unsent


def test_a_full_peer_does_not_hold_up_another(world, join):
    (_, slow), (quick, route) = join(), join()
    outbox = Outbox(world.doors.send)
    fill(outbox, slow)
    assert outbox.send(route, [b"\0\0\0\7", b""])
    until(lambda: (frames := quick.received()) is not None and number_of(frames) == 7)
    assert outbox


def test_a_peer_that_takes_nothing_is_given_up_beyond_the_bound(world, join, monkeypatch):
    monkeypatch.setattr(module, "MESSAGES_PER_PEER", 3)
    _, route = join()
    outbox = Outbox(world.doors.send)
    fill(outbox, route)
    assert outbox.send(route, [b"x"])
    assert outbox.send(route, [b"x"])
    assert outbox.send(route, [b"x"]) is False
    assert not outbox


def test_a_held_peer_that_goes_away_is_told_once(world, join):
    peer, route = join()
    outbox = Outbox(world.doors.send)
    fill(outbox, route)
    outbox.send(route, [b"x"])
    peer.close()
    gone = []
    until(lambda: world.turn(10) or gone.extend(outbox.flush()) or gone)
    assert gone == [route]
    assert list(outbox.flush()) == []


def test_what_is_held_for_all_peers_together_is_bounded_and_frees_again(world, join):
    (_, slow), (_, other) = join(), join()
    outbox = Outbox(world.doors.send, 10 * len(PAYLOAD))
    fill(outbox, slow)
    sent = 0
    while len(outbox._held) < 2:
        assert outbox.send(other, [sent.to_bytes(4, "big"), PAYLOAD])
        sent += 1
    held = 1
    while outbox.send(slow, [PAYLOAD]):
        held += 1
    assert 2 < held <= 5  # as much as is left free
    for _ in range(2):  # what was given up is free again
        assert outbox.send(other, [PAYLOAD])


def test_what_is_said_is_heard_in_its_order_and_over_tcp_no_more_at_once_than_was_asked_for(world, join):
    peer, route = join()
    for number in range(20):
        peer.say(bytes([number]))
    heard, at_once = [], []

    def all_are_heard():
        found = world.turn(10, most=4)
        at_once.append(len(found))
        heard.extend(bytes(frames[0]) for who, frames in found if who == route)
        return len(heard) == 20

    until(all_are_heard)
    assert heard == [bytes([number]) for number in range(20)]
    assert isinstance(peer, Local) or max(at_once) <= 4


def test_who_says_a_lot_of_nothing_at_once_is_heard_a_little_at_a_time(world):
    local = Local(world)
    local._socket.sendall((b"\1" + bytes(15)) * 8000)
    found = []
    until(lambda: found.append(len(world.turn(10))) or sum(found) == 8000)
    assert max(found) <= 300
    local.close()


def test_who_was_cut_is_gone(world):
    local = Local(world)
    until(lambda: world.turn(10) or world.local._known)
    [route] = world.local._known
    world.local.disconnect(route)
    world.local.disconnect(route)
    assert world.gone == [route]
    assert world.doors.send(route, [b"x"]) is False
    with pytest.raises(Closed):
        local.received()
    local.close()
