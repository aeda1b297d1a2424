"""What a broker lets in over a Unix socket from strangers of its machine: so much, so many, and each in its turn.

Who is who, and who comes back, is in tests/worker/test_line.py, whose other side is a worker's.
"""

import os
import resource
import select
import socket
import time
from struct import pack

import pytest

from beliefd.channel import Bounds, Channel
from beliefd_broker.switchboard import Switchboard

NAMES = [bytes([number]) * 16 for number in range(1, 40)]
FRAME_BYTES, MOST_BYTES = 100, 250


@pytest.fixture
def path(tmp_path):
    return tmp_path / "clients"


@pytest.fixture
def gone():
    return []


@pytest.fixture
def board(path, gone):
    made = Switchboard(path, Bounds(FRAME_BYTES, MOST_BYTES), crowded=0.75, gone=gone.append)
    yield made
    made.close()


@pytest.fixture
def join(path, board):
    """Connects somebody under a name, who is known then."""
    made = []

    def joined(name):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        made.append(connection)
        connection.sendall(pack("<QQ", 1, 16) + name)
        until(lambda: heard(board) == [] and name in board._known)
        return connection

    yield joined
    for connection in made:
        connection.close()


def until(done):
    deadline_s = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline_s


def readable(board):
    """Whether it has something to do."""
    poll = select.poll()
    poll.register(board, select.POLLIN)
    return bool(poll.poll(0))


def heard(board, most=-1):
    return [(name, [bytes(frame) for frame in frames]) for name, frames in board.messages(most)]


def message(*frames):
    return pack(f"<{1 + len(frames)}Q", len(frames), *map(len, frames)) + b"".join(
        frame + bytes(-len(frame) % 8) for frame in frames
    )


@pytest.mark.parametrize("frames", [[bytes(100)], [bytes(96), bytes(96)], [b""] * 8])
def test_what_is_as_long_as_it_may_be_is_heard(board, join, frames):
    join(NAMES[0]).sendall(message(*frames) * 2)
    assert heard(board) == [(NAMES[0], frames)] * 2


@pytest.mark.parametrize(
    "beginning", [message(bytes(101)), pack("<QQ", 1, 101), message(bytes(96), bytes(96), bytes(50)), pack("<Q", 1025)]
)
def test_who_says_more_than_that_is_cut_and_the_others_are_not(board, join, gone, beginning):
    loud, other = join(NAMES[0]), join(NAMES[1])
    loud.sendall(message(b"before") + beginning)
    other.sendall(message(b"mine"))
    assert (NAMES[1], [b"mine"]) in heard(board)
    assert gone == [NAMES[0]]
    assert not board.send(NAMES[0], [b"answer"])
    assert board.send(NAMES[1], [b"answer"])


def test_who_leaves_is_told_of(board, join, gone):
    leaving, staying = join(NAMES[0]), join(NAMES[1])
    leaving.close()
    until(lambda: heard(board) == [] and gone == [NAMES[0]])
    staying.sendall(message(b"here"))
    assert heard(board) == [(NAMES[1], [b"here"])]
    assert gone == [NAMES[0]]


def test_who_is_dropped_while_it_is_heard_harms_nobody(board, join, gone):
    first, second = join(NAMES[0]), join(NAMES[1])
    first.sendall(message(b"1") + message(b"2"))
    second.sendall(message(b"3"))
    found = []
    for name, frames in board.messages():
        if not found:
            board.disconnect(name)
        found.append((name, bytes(frames[0])))
    assert len(found) == 3
    assert len(gone) == 1


def test_all_take_turns(board, join):
    for connection in [join(name) for name in NAMES]:
        connection.sendall(message(b"again"))
    turns = [{name for name, _ in heard(board, 10)} for _ in range(4)]
    assert [len(turn) for turn in turns] == [10, 10, 10, 9]
    assert set.union(*turns) == set(NAMES)


def test_who_sends_without_end_does_not_keep_the_others_waiting(path):
    board = Switchboard(path)
    with socket.socket(socket.AF_UNIX) as sender:
        sender.connect(str(path))
        sender.sendall(pack("<QQ", 1, 16) + NAMES[0])
        until(lambda: heard(board) == [] and NAMES[0] in board._known)
        channel = next(iter(board._channels.values()))
        sent = [0]

        class Fast:
            """Gives as much as is asked for, at once."""

            def recv(self, most):
                return (pack("<QQ", 1, 2**30) + bytes(most))[:most]

            def recv_into(self, view):
                sent[0] += len(view)
                return len(view)

            def fileno(self):
                return sender.fileno()

            def close(self):
                pass

        kept, channel._socket = channel._socket, Fast()
        assert channel.receive() == []
        assert 0 < sent[0] < 2**23
        channel._socket = kept
    board.close()


def test_nobody_is_let_in_while_it_is_crowded(board, join, path):
    early = join(NAMES[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (int((lowest + 24) / 0.75), hard))
    try:
        crowd = []
        for name in NAMES[1:20]:
            crowd.append(socket.socket(socket.AF_UNIX))
            crowd[-1].connect(str(path))
            crowd[-1].sendall(pack("<QQ", 1, 16) + name)
            for _ in range(3):
                heard(board)
            if not board.listening:
                break
        assert not board.listening
        board.listen()
        assert not board.listening
        assert not readable(board)
        early.sendall(message(b"still here"))
        assert heard(board) == [(NAMES[0], [b"still here"])]
        assert board.send(NAMES[0], [b"answer"])
        assert [bytes(f) for f in Channel(early).receive()[0]] == [b"answer"]
        for connection in crowd:
            connection.close()
        heard(board)
        board.listen()
        assert board.listening
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_held_for_each(board, join):
    assert board.held() == []
    quiet, deaf, other = (join(name) for name in NAMES[:3])
    quiet.sendall(message(bytes(50))[:-8])
    assert heard(board) == []
    for _ in range(100):
        board.send(NAMES[1], [bytes(10_000)])
    assert board.clogged(NAMES[1])
    assert not board.clogged(NAMES[0])
    assert board.unsent
    (most, first), (some, second), (nothing, _) = board.held()
    assert (first, second, nothing) == (board._known[NAMES[1]], board._known[NAMES[0]], 0)
    assert 100_000 < most < 1_010_000
    assert 0 < some < 200
    answers, received = Channel(deaf), []
    while len(received) < 100:
        heard(board)
        received += answers.receive()
    assert not board.unsent
    assert not readable(board)  # that the socket would take more is not told
    other.close()


def test_what_is_held_for_those_of_one_name_is_held_for_each(board, join):
    first = join(NAMES[0])
    before = board._known[NAMES[0]]
    first.sendall(message(bytes(50))[:-8])
    second = join(NAMES[0])
    until(lambda: heard(board) == [] and board._known[NAMES[0]] is not before)
    (held, channel), _ = board.held()
    assert (held > 0, channel) == (True, before)
    board.drop(channel)
    assert board.send(NAMES[0], [b"answer"])
    assert [bytes(f) for f in Channel(second).receive()[0]] == [b"answer"]


def test_who_hears_nobody_any_more_sends_what_it_has_and_is_not_kept_busy(board, join, gone, path):
    slow, other, leaving = (join(name) for name in NAMES[:3])
    for name in NAMES[:2]:
        for _ in range(100):
            board.send(name, [bytes(10_000)])
    board.shut()
    other.sendall(message(b"not heard"))
    with socket.socket(socket.AF_UNIX) as late:
        late.connect(str(path))
        board.listen()
        assert not readable(board)
        leaving.close()
        until(lambda: heard(board) == [] and gone == [NAMES[2]])
        assert not readable(board)
    for connection in (slow, other):
        answers, received = Channel(connection), []
        while len(received) < 100:
            assert heard(board) == []
            received += answers.receive()
    assert not board.unsent
    assert not readable(board)
