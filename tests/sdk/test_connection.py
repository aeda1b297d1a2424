"""A client's connection over a Unix stream, against the broker's side of it: made anew, and nobody waits."""

import contextlib
import itertools
import os
import select
import socket
import threading
import time

import pytest

from beliefd import stream as module
from beliefd.endpoint import open_connection
from beliefd.letterbox import Post
from beliefd.stream import StreamConnection
from beliefd_broker.switchboard import Switchboard
from beliefd_proto import Command, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import InvalidArgument

LARGE = bytes(range(256)) * 12_000
TURNS = 10_000
LETTER = bytes(encode(Command.STEPPED_PART, m.SteppedPart(id=bytes(16), start=0, count=1))[0])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "clients"


@pytest.fixture
def board(path):
    made = Switchboard(path)
    yield made
    made.close()


@pytest.fixture
def connect(path):
    with contextlib.ExitStack() as made:

        def connection():
            wake_fd, write_fd = os.pipe2(os.O_NONBLOCK)
            made.callback(os.close, wake_fd)
            made.callback(os.close, write_fd)
            connection = open_connection(f"unix://{path}", None, wake_fd)
            made.callback(connection.close)
            return connection, write_fd

        yield connection


def readable(board, timeout_ms=0):
    """Whether it has something to do."""
    poll = select.poll()
    poll.register(board, select.POLLIN)
    return bool(poll.poll(timeout_ms))


def heard(board, count=1):
    found = []
    for _ in range(TURNS):
        readable(board, 10)
        found += [(name, [bytes(frame) for frame in frames]) for name, frames in board.messages()]
        if len(found) >= count:
            return found
    raise AssertionError(found)


def received(connection, board=None):
    for _ in range(TURNS):
        if (frames := connection.receive()) is not None:
            return [bytes(frame) for frame in frames]
        connection.wait(10)
        if board is not None:
            assert not list(board.messages())
    raise AssertionError


def reconnected(connection):
    """Wait until it stands anew, which is told once."""
    deadline_s = time.monotonic() + 30
    while not connection.wait(10):
        assert connection.receive() is None
        assert time.monotonic() < deadline_s


def test_messages_go_both_ways_in_their_order(board, connect):
    connection, _ = connect()
    assert isinstance(connection, StreamConnection)
    connection.send([b"one", b""])
    connection.send([b"two"])
    (name, first), (same, second) = heard(board, 2)
    assert (first, second, same) == ([b"one", b""], [b"two"], name)
    board.send(name, [b"three"])
    board.send(name, [b"four"])
    assert [received(connection), received(connection)] == [[b"three"], [b"four"]]
    assert connection.receive() is None


def test_what_the_socket_does_not_take_is_sent_while_it_is_waited(board, connect):
    connection, _ = connect()
    connection.send([LARGE])
    connection.send([b"after it"])
    found = []
    for _ in range(TURNS):
        connection.wait(1)
        found += [[bytes(frame) for frame in frames] for _, frames in board.messages()]
        if len(found) == 2:
            break
    assert found == [[LARGE], [b"after it"]]
    assert not connection.wait(0)


def test_large_answers_arrive_whole(board, connect):
    connection, _ = connect()
    connection.send([b"hello"])
    [(name, _)] = heard(board)
    board.send(name, [LARGE, LARGE])
    assert received(connection, board) == [LARGE, LARGE]


def test_a_wait_ends_by_a_byte_in_the_wake_fd(board, connect):
    connection, write_fd = connect()
    waker = threading.Timer(0.05, os.write, (write_fd, b"\0"))
    started_s = time.monotonic()
    waker.start()
    assert not connection.wait(30_000)
    assert time.monotonic() - started_s < 20
    waker.join()
    started_s = time.monotonic()
    connection.wait(20)  # the byte was read
    assert time.monotonic() - started_s >= 0.015


def test_the_next_broker_is_found_and_that_it_is_another_is_told_once(path, connect):
    connection, _ = connect()
    connection.send([b"nobody listens"])
    first = Switchboard(path)
    reconnected(connection)
    assert not connection.wait(0)
    connection.send([b"one"])
    [(name, frames)] = heard(first)
    assert frames == [b"one"]
    first.close()
    deadline_s = time.monotonic() + 30
    while connection.receive() is None and connection._channel is not None:
        connection.wait(10)
        assert time.monotonic() < deadline_s
    connection.send([b"lost"])
    second = Switchboard(path)
    reconnected(connection)
    connection.send([b"two"])
    [(other, frames)] = heard(second)
    assert frames == [b"two"]
    assert other != name
    second.close()


class Interrupted:
    """A socket in one of whose calls a signal's handler raises, after the system has done it."""

    def __init__(self, real, call):
        self._real = real
        self._call = call

    def __getattr__(self, name):
        method = getattr(self._real, name)
        if name != self._call:
            return method
        self._call = None

        def done_and_interrupted(*arguments):
            method(*arguments)
            raise KeyboardInterrupt

        return done_and_interrupted


@pytest.mark.parametrize("call", ["recv", "recv_into", "send", "sendmsg"])
def test_an_interrupted_call_does_not_put_what_follows_out_of_step(board, connect, call):
    connection, _ = connect()
    connection.send([b"hello"])
    [(name, _)] = heard(board)
    if call.startswith("recv"):
        board.send(name, [LARGE] if call == "recv_into" else [b"answer"])
        connection._channel._socket = Interrupted(connection._channel._socket, call)
        with pytest.raises(KeyboardInterrupt):
            received(connection)
    else:
        connection._channel._socket = Interrupted(connection._channel._socket, call)
        with pytest.raises(KeyboardInterrupt):
            connection.send([LARGE] if call == "sendmsg" else [b"asked"])
    assert connection.receive() is None
    connection.send([b"lost, or not"])
    reconnected(connection)
    connection.send([b"asked again"])
    until_heard = []
    for _ in range(TURNS):
        until_heard += heard(board)
        if until_heard[-1][1] == [b"asked again"]:
            break
    again = until_heard[-1][0]
    assert again != name
    board.send(again, [b"answer", LARGE])
    assert received(connection, board) == [b"answer", LARGE]


def test_answers_that_came_before_the_broker_left_are_there_though_it_takes_nothing_more(path, connect):
    board = Switchboard(path)
    connection, _ = connect()
    connection.send([b"hello"])
    [(name, _)] = heard(board)
    for number in range(3):
        board.send(name, [bytes([number])])
    board.close()
    connection.send([b"another"])
    connection.send([b"and another"])
    assert [received(connection) for _ in range(3)] == [[b"\0"], [b"\1"], [b"\2"]]


def test_what_has_arrived_is_not_waited_for(board, connect):
    connection, _ = connect()
    connection.send([b"hello"])
    [(name, _)] = heard(board)
    for number in range(3):
        board.send(name, [bytes([number])])
    assert received(connection) == [b"\0"]
    started_s = time.monotonic()
    connection.wait(30_000)
    assert time.monotonic() - started_s < 20


def test_a_relative_path_is_that_of_the_folder_we_were_in(path, tmp_path, monkeypatch):
    first = Switchboard(path)
    monkeypatch.chdir(tmp_path)
    connection = StreamConnection(path.name, os.open("/dev/null", os.O_RDONLY))
    monkeypatch.chdir("/")
    connection.send([b"hello"])
    heard(first)
    first.close()
    for _ in range(100):
        connection.receive()
        if connection._channel is None:
            break
        connection.wait(10)
    second = Switchboard(path)
    reconnected(connection)
    connection.close()
    os.close(connection._wake_fd)
    second.close()


def test_what_is_no_socket_is_told(tmp_path):
    for path in (tmp_path, tmp_path / "file"):
        if path != tmp_path:
            path.touch()
        with pytest.raises(InvalidArgument, match="no socket"):
            open_connection(f"unix://{path}", None, 0)


def test_attempts_get_rarer_but_not_rare(connect, monkeypatch):
    connection, _ = connect()
    clock_s = [time.monotonic()]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock_s[0])
    attempts_s, due_s = [], connection._connect_s
    for _ in range(500):
        clock_s[0] += 0.01
        assert not connection.wait(0)
        if connection._connect_s != due_s:
            due_s = connection._connect_s
            attempts_s.append(clock_s[0])
    pauses_s = [round(b - a, 2) for a, b in itertools.pairwise(attempts_s)]
    assert pauses_s[0] < 0.1
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("endpoint", ["unix://", "unix:///" + 108 * "x", "ipc:///tmp/x", "tcp://", "", "://x"])
def test_what_is_no_endpoint_is_told(endpoint):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InvalidArgument, match="endpoint") as caught:
        open_connection(endpoint, None, 0)
    assert caught.value.allowed == "tcp://HOST:PORT, unix://PATH"
    assert len(os.listdir("/proc/self/fd")) <= before + 8  # zmq's own, once per process


def test_who_may_not_open_the_socket_is_told(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0)
        with as_another(), pytest.raises(InvalidArgument, match="ermission"):
            open_connection(f"unix://{path}", None, 0)


@contextlib.contextmanager
def as_another():
    """Be nobody, where we are root: whom no mode keeps out."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def test_the_next_chunk_of_a_call_is_sent_before_the_first_is_read(board, connect):
    connection, _ = connect()
    chunks = [[b"head", bytes(150_000)], [b"head", bytes(150_000)]]
    for chunk in chunks:
        connection.send(chunk)
    # What the system had not taken would be sent by nobody: the client does nothing more.
    assert [frames for _, frames in heard(board, len(chunks))] == chunks


def test_what_workers_put_into_the_letterbox_is_received_beside_what_the_broker_says(board, connect):
    connection, _ = connect()
    connection.send([b"hello"])
    [(name, _)] = heard(board)
    post = Post()
    for number in range(3):
        assert post.put(connection.letterbox, [LETTER, bytes([number])])
    board.send(name, [b"said"])
    found = [received(connection) for _ in range(4)]
    assert sorted(found) == [*([LETTER, bytes([number])] for number in range(3)), [b"said"]]
    assert connection.receive() is None
    post.close()


def test_the_letterbox_is_there_while_no_broker_is_and_no_longer_than_the_connection(path, connect):
    post = Post()
    board = Switchboard(path)
    connection, _ = connect()
    board.close()
    connection.wait(0)
    assert connection.receive() is None
    assert post.put(connection.letterbox, [LETTER])
    assert received(connection) == [LETTER]
    connection.close()
    assert not post.put(connection.letterbox, [LETTER])
    post.close()


def test_letters_without_end_do_not_hide_what_the_broker_says(board, connect):
    connection, _ = connect()
    connection.send([b"hello"])
    [(name, _)] = heard(board)
    post = Post()
    assert post.put(connection.letterbox, [LETTER])
    connection.wait(1000)
    board.send(name, [b"said"])
    for _ in range(50):  # after each that is taken out there is another
        post.put(connection.letterbox, [LETTER])
        frames = connection.receive()
        if frames is None:
            connection.wait(1000)
        elif bytes(frames[0]) == b"said":
            break
    else:
        raise AssertionError("the broker was not heard")
    post.close()
