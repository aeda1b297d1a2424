"""Messages over a stream: whole and in order however the stream is cut, and no harm from what is no message."""

import errno
import gc
import socket
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beliefd.channel import Bounds, Channel, Closed

FRAMES = st.lists(st.binary(max_size=40) | st.integers(0, 300_000).map(bytes), min_size=1, max_size=6)


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
    with ours, theirs:
        sender, receiver = Channel(ours), Channel(theirs, Bounds(read_bytes=read_bytes))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        assert carried(sender, receiver, messages) == messages


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


def test_of_a_message_that_is_sent_but_for_its_end_all_that_is_kept_counts(pair):
    ours, theirs = pair
    ours.send([bytes(3_000_000)])
    kept = ours.held_bytes
    assert kept > 2_000_000
    for _ in range(10_000):
        if not ours.unsent:
            break
        assert ours.held_bytes >= kept
        theirs.receive()
        ours.flush()
    assert ours.held_bytes == 0


def test_nothing_passes_by_what_waits_though_there_is_room_again(pair):
    sender, receiver = pair
    first, second = bytes(2**22), b"second"
    sender.send([first])
    assert sender.unsent
    received = receiver.receive()
    sender.send([second])
    while sender.unsent or len(received) < 2:
        sender.flush()
        received += receiver.receive()
    assert [bytes(frame) for [frame] in received] == [first, second]


def test_what_was_given_to_be_sent_may_change_afterwards(pair):
    ours, theirs = pair
    array = np.zeros(3_000_000, np.uint8)
    ours.send([array.data])
    assert ours.unsent
    array += 1
    [[found]] = sent_on(ours, theirs)
    assert not any(found)


def sent_on(ours, theirs):
    received = []
    while not received:
        ours.flush()
        received = theirs.receive()
    return [[bytes(frame) for frame in frames] for frames in received]


@pytest.mark.parametrize("frames", [511, 512, 1024])
def test_large_messages_of_many_frames_are_sent_too(pair, frames):
    ours, theirs = pair
    message = [bytes([number % 256]) * 131 for number in range(frames)]
    ours.send(message)
    assert sent_on(ours, theirs) == [message]


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

    def setsockopt(self, *option):
        self._connection.setsockopt(*option)

    def send(self, data):
        if self._numbers:
            raise OSError(self._numbers.pop(), "")
        return self._connection.send(data)

    def sendmsg(self, parts):
        return self.send(b"".join(parts))


@pytest.mark.parametrize("size", [5, 100_000])
@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
def test_a_system_short_of_memory_is_waited_for(number, size):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel, other = Channel(Short(ours, number)), Channel(theirs)
        channel.send([bytes(size)])
        assert channel.unsent
        assert sent_on(channel, other) == [[bytes(size)]]


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


def test_what_came_whole_before_the_end_is_heard(pair):
    ours, theirs = pair
    ours.send([b"whole"])
    ours.send([bytes(3_000_000)])
    ours.close()
    assert theirs.receive() == [[b"whole"]]
    with pytest.raises(Closed):
        to_the_end(theirs)


def test_no_message_stays_that_was_let_go(pair):
    """Of a connection on which nothing more comes: it would hold the memory of its longest message."""
    ours, theirs = pair
    ours.send([bytes(1_000_000)])
    received = []
    while not received:
        ours.flush()
        received = theirs.receive()
    gone = []
    weakref.finalize(received[0][0].obj, gone.append, True)
    received.clear()
    gc.collect()
    assert gone
    assert theirs.held_bytes == 0


def test_a_message_of_no_frames_is_none(pair):
    ours, theirs = pair
    ours.send([])
    with pytest.raises(Closed):
        theirs.receive()


def test_where_there_is_no_memory_for_a_message_its_sender_is_cut(pair, monkeypatch):
    ours, theirs = pair
    ours.send([bytes(100_000)])
    monkeypatch.setattr(np, "empty", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(Closed):
        theirs.receive()


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
    with ours, theirs:
        ours.sendall(noise if isinstance(noise, bytes) else np.array(noise, np.uint64).tobytes())
        ours.close()
        with pytest.raises(Closed):
            to_the_end(Channel(theirs, Bounds(2**24, 2**24, 2**24)))


@pytest.mark.parametrize("lengths", [[17], [2**32], [8, 8], [0] * 4])
def test_a_first_message_that_is_too_long_is_not_waited_for(lengths):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(np.array([len(lengths), *lengths], np.uint64).tobytes())
        with pytest.raises(Closed):
            Channel(theirs, Bounds(first_bytes=32)).receive()


def test_what_follows_the_first_message_may_be_long():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert carried(Channel(ours), Channel(theirs, Bounds(first_bytes=32)), [[b"f" * 16], [b"l" * 300_000]])[1] == [
            b"l" * 300_000
        ]
