"""The outbox over real sockets: an unknown peer is told, a full one is held up to a bound, nobody is waited for."""

import time
from functools import partial

import pytest
import zmq

from beliefd_broker import outbox as module
from beliefd_broker.outbox import Outbox

PAYLOAD = bytes(200_000)


@pytest.fixture
def context():
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def router(context):
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.SNDHWM, 2)
    socket.setsockopt(zmq.SNDBUF, 4096)
    socket.bind_to_random_port("tcp://127.0.0.1")
    return socket


def peer(context, router, name):
    """A peer that takes little, known to the router."""
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.ROUTING_ID, name)
    socket.setsockopt(zmq.RCVHWM, 1)
    socket.setsockopt(zmq.RCVBUF, 4096)
    socket.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
    socket.send(b"hello")
    assert router.poll(30_000)
    router.recv_multipart()
    return socket


def routed(router, route, frames):
    """Send over a ROUTER, as the broker does to clients over TCP."""
    try:
        router.send_multipart([route, *frames], zmq.DONTWAIT)
    except zmq.Again:
        return None
    except zmq.ZMQError as error:
        return False if error.errno == zmq.EHOSTUNREACH else pytest.fail(str(error))
    return True


def fill(outbox, route):
    """Send until the socket takes no more; how many were sent, the first held one included."""
    sent = 0
    while not outbox:
        sent += 1
        assert outbox.send(route, [sent.to_bytes(4, "big"), PAYLOAD])
    return sent


def received(socket, timeout_ms):
    if not socket.poll(timeout_ms):
        return None
    return int.from_bytes(socket.recv_multipart()[0], "big")


def test_a_peer_that_nobody_knows_is_told(router):
    outbox = Outbox(partial(routed, router))
    assert outbox.send(b"nobody", [b"x"]) is False
    assert not outbox
    assert list(outbox.flush()) == []


def test_a_full_peer_is_held_and_gets_everything_in_order(context, router):
    socket = peer(context, router, b"slow")
    outbox = Outbox(partial(routed, router))
    sent = fill(outbox, b"slow")
    for number in range(sent + 1, sent + 6):
        assert outbox.send(b"slow", [number.to_bytes(4, "big"), PAYLOAD])
    assert list(outbox.flush()) == []
    got, give_up_s = [], time.monotonic() + 30.0
    while len(got) < sent + 5 and time.monotonic() < give_up_s:
        # There is room some time after the peer has taken one: who holds the others tries again and again.
        number = received(socket, 5)
        got += [] if number is None else [number]
        assert list(outbox.flush()) == []
    assert got == list(range(1, sent + 6))
    assert not outbox
    socket.close()


def test_a_full_peer_does_not_hold_up_another(context, router):
    slow, quick = peer(context, router, b"slow"), peer(context, router, b"quick")
    outbox = Outbox(partial(routed, router))
    fill(outbox, b"slow")
    assert outbox.send(b"quick", [b"\0\0\0\7", b""])
    assert received(quick, 30_000) == 7
    assert outbox
    slow.close()
    quick.close()


def test_a_peer_that_takes_nothing_is_given_up_beyond_the_bound(context, router, monkeypatch):
    monkeypatch.setattr(module, "MESSAGES_PER_PEER", 3)
    socket = peer(context, router, b"dead")
    outbox = Outbox(partial(routed, router))
    fill(outbox, b"dead")
    assert outbox.send(b"dead", [b"x"])
    assert outbox.send(b"dead", [b"x"])
    assert outbox.send(b"dead", [b"x"]) is False
    assert not outbox
    socket.close()


def test_a_held_peer_that_goes_away_is_told_once(context, router):
    socket = peer(context, router, b"gone")
    outbox = Outbox(partial(routed, router))
    fill(outbox, b"gone")
    outbox.send(b"gone", [b"x"])
    socket.close(linger=0)
    gone = []
    while not gone:
        router.poll(10)
        gone += outbox.flush()
    assert gone == [b"gone"]
    assert not outbox


def test_what_is_held_is_bounded_in_bytes_too(context, router, monkeypatch):
    monkeypatch.setattr(module, "BYTES_PER_PEER", 3 * len(PAYLOAD))
    slow = peer(context, router, b"slow")
    outbox = Outbox(partial(routed, router))
    fill(outbox, b"slow")
    assert outbox.send(b"slow", [PAYLOAD])
    assert outbox.send(b"slow", [bytes(4)])
    assert not outbox.send(b"slow", [PAYLOAD])
    assert not outbox
    slow.close()


def test_what_is_held_for_all_peers_together_is_bounded_and_frees_again(context, router):
    slow, other = peer(context, router, b"slow"), peer(context, router, b"other")
    outbox = Outbox(partial(routed, router), 10 * len(PAYLOAD))
    fill(outbox, b"slow")
    fill(outbox, b"other")
    held = 1
    while outbox.send(b"slow", [PAYLOAD]):
        held += 1
    assert 2 < held <= 5  # as much as is left free
    for _ in range(2):  # what was given up is free again
        assert outbox.send(b"other", [PAYLOAD])
    slow.close()
    other.close()
