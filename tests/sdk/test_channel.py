"""Messages over a stream: whole and in order however the stream is cut, and no harm from what is no message."""

import errno
import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beliefd import channel as module
from beliefd.channel import Channel, Closed

FRAMES = st.lists(st.binary(max_size=40) | st.integers(0, 300_000).map(bytes), max_size=6)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    yield Channel(ours), Channel(theirs)
    ours.close()
    theirs.close()


def carried(sender, receiver, messages):
    """Send, and receive until all is there; the number of turns is bounded by what a socket takes at once."""
    for frames in messages:
        sender.send(frames)
    received = []
    for _ in range(100_000):
        done = sender.flush()
        received += receiver.receive()
        if done and len(received) == len(messages):
            break
    return [[bytes(frame) for frame in frames] for frames in received]


def to_the_end(receiver):
    for _ in range(10_000):
        receiver.receive()


@given(messages=st.lists(FRAMES, min_size=1, max_size=5), read_bytes=st.integers(1, 100))
def test_messages_arrive_as_they_were_sent(messages, read_bytes):
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with ours, theirs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_READ_BYTES", read_bytes)
        assert carried(Channel(ours), Channel(theirs), messages) == messages


def test_what_the_socket_does_not_take_is_not_waited_for(pair):
    ours, theirs = pair
    large = bytes(3_000_000)
    ours.send([b"first", large])
    ours.send([b"second"])
    assert ours.unsent
    received = []
    while ours.unsent:
        ours.flush()
        received += theirs.receive()
    received += theirs.receive()
    assert [[len(frame) for frame in frames] for frames in received] == [[5, len(large)], [6]]


@pytest.mark.parametrize("size", [5, 100_001])
def test_arrays_are_aligned_and_read_only_where_they_arrive(pair, size):
    ours, theirs = pair
    array = np.arange(7)
    ours.send([b"x" * size, array.tobytes()])
    received = []
    while not received:
        ours.flush()
        received = theirs.receive()
    found = np.frombuffer(received[0][1], np.int64)
    assert found.flags.aligned
    assert not found.flags.writeable
    np.testing.assert_array_equal(found, array)


class Short:
    """A socket of a system that has no memory for the first message."""

    def __init__(self, connection, number):
        self._connection = connection
        self._numbers = [number]

    def setblocking(self, flag):
        self._connection.setblocking(flag)

    def send(self, data):
        if self._numbers:
            raise OSError(self._numbers.pop(), "")
        return self._connection.send(data)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
def test_a_system_short_of_memory_is_waited_for(number):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(Short(ours, number))
        channel.send([b"hello"])
        assert channel.unsent
        assert channel.flush()
        assert Channel(theirs).receive() == [[b"hello"]]


def test_nothing_has_arrived(pair):
    assert pair[0].receive() == []


def test_who_is_gone_is_told(pair):
    ours, theirs = pair
    ours.send([b"last words"])
    ours.close()
    assert theirs.receive() == [[b"last words"]]
    with pytest.raises(Closed):
        theirs.receive()
    with pytest.raises(Closed):
        theirs.send([b"hello?"])


def test_who_goes_in_the_middle_of_a_message_is_told(pair):
    ours, theirs = pair
    ours.send([bytes(3_000_000)])
    assert theirs.receive() == []
    ours.close()
    with pytest.raises(Closed):
        to_the_end(theirs)


@given(noise=st.binary(min_size=1, max_size=200) | st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=9))
def test_noise_is_no_message_or_ends_the_connection(noise):
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_BYTES", 2**24)
        ours.sendall(noise if isinstance(noise, bytes) else np.array(noise, np.uint64).tobytes())
        ours.close()
        with pytest.raises(Closed):
            to_the_end(Channel(theirs, 2**24))


@pytest.mark.parametrize("lengths", [[17], [2**32], [8, 8], [0] * 4])
def test_a_first_message_that_is_too_long_is_not_waited_for(lengths):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(np.array([len(lengths), *lengths], np.uint64).tobytes())
        with pytest.raises(Closed):
            Channel(theirs, 32).receive()


def test_what_follows_the_first_message_may_be_long():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert carried(Channel(ours), Channel(theirs, 32), [[b"f" * 16], [b"l" * 300_000]])[1] == [b"l" * 300_000]
