"""Messages over real sockets: whole, in order, of any size, and nobody waits."""

import pytest
import zmq

from beliefd.transport import receive, send
from beliefd_proto.framing import LARGE_BYTES


@pytest.fixture
def pair():
    context = zmq.Context()
    left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    left.bind("inproc://pair")
    right.connect("inproc://pair")
    yield left, right
    context.destroy(linger=0)


def test_messages_come_whole_and_in_order_and_then_there_is_none(pair):
    left, right = pair
    sizes = [0, 1, LARGE_BYTES - 1, LARGE_BYTES, 3 * LARGE_BYTES]
    messages = [[bytes([i]) * size for size in sizes] for i in range(3)]
    messages.append([b"one frame"])
    assert receive(right) is None
    for message in messages:
        send(left, message)
    for message in messages:
        assert right.poll(30_000)
        assert [bytes(frame) for frame in receive(right)] == message
    assert receive(right) is None


def test_what_arrives_cannot_be_written_to(pair):
    left, right = pair
    send(left, [bytes(10), bytes(LARGE_BYTES)])
    assert right.poll(30_000)
    assert all(memoryview(frame).readonly for frame in receive(right))


def test_who_takes_nothing_is_told_and_not_waited_for():
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    with pytest.raises(zmq.Again):
        send(socket, [b"head", b"array"])
    context.destroy(linger=0)
