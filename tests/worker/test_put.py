"""A worker that tells a client itself of what it did, and its broker that it has."""

import os
import select
import threading
import time

import numpy as np
import pytest
import structlog

from beliefd.letterbox import MOST_BYTES, Letterbox
from beliefd_broker.switchboard import Switchboard
from beliefd_proto import Command, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import InvalidArgument
from beliefd_service.lifecycle import make_folders
from beliefd_service.settings import Settings
from beliefd_worker import loop
from beliefd_worker.execution import Outcome
from beliefd_worker.loop import Worker

LONG_S = 20.0
AGENTS = 10
ID = b"r" * 16
ACTIONS = np.arange(AGENTS, dtype=np.int8)[:, None]


class Never:
    """Nobody asks it to end."""

    requested = False

    def __init__(self, fd):
        self.fd = fd


@pytest.fixture
def letterbox():
    made = Letterbox()
    yield made
    made.close()


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Give a worker, whose work comes to `outcome`, some; returns its result."""
    settings = Settings.from_environment({"BELIEFD_DATA": str(tmp_path)})
    make_folders(settings)
    board = Switchboard(settings.worker_socket)
    poll = select.poll()
    poll.register(board, select.POLLIN)
    fd, write_fd = os.pipe2(os.O_CLOEXEC)
    worker = Worker("worker_00", settings, structlog.get_logger(), Never(fd))
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()

    def heard(kind):
        deadline_s = time.monotonic() + LONG_S
        while time.monotonic() < deadline_s:
            poll.poll(100)
            for incarnation, frames in board.messages():
                message = decode(frames)
                if isinstance(message.header, kind):
                    return incarnation, message
        raise TimeoutError(kind)

    incarnation, _ = heard(m.WorkerHello)

    def asked(outcome, **change):
        def execute(*_):
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(loop, "execute", execute)
        work = m.Work(epoch=1, batch=1, kind=Command.STEP, parts=((ID, AGENTS),), **change)
        board.send(incarnation, encode(Command.WORK, work))
        return heard(m.Result)[1]

    yield asked
    board.send(incarnation, encode(Command.LEFT, m.Left()))
    thread.join(LONG_S)
    assert not thread.is_alive()
    worker.close()
    board.close()
    os.close(fd)
    os.close(write_fd)


@pytest.mark.parametrize(("from_end", "count", "start"), [(False, 10, 0), (False, 4, 0), (True, 4, 6), (True, 10, 0)])
@pytest.mark.parametrize("piece", [0, 100])
def test_the_client_is_told_which_agents_did_what(ask, letterbox, from_end, count, start, piece):
    outcome = Outcome(arrays={"actions": ACTIONS[start : start + count]}, count=count)
    result = ask(outcome, letterbox=letterbox.name, from_end=from_end, start=piece)
    assert result.header.told
    np.testing.assert_array_equal(result.arrays["actions"], ACTIONS[start : start + count])
    letter = decode(letterbox.take())
    assert (letter.header.id, letter.header.start, letter.header.count) == (ID, piece + start, count)
    np.testing.assert_array_equal(letter.arrays["actions"], ACTIONS[start : start + count])
    assert letterbox.take() is None


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(arrays={"actions": ACTIONS, "status": np.eye(1, AGENTS, dtype=np.uint8)[0]}, count=AGENTS),
        Outcome(),
        InvalidArgument("no", field="x"),
        RuntimeError("oops"),
        Outcome(arrays={"actions": ACTIONS, "beliefs": np.zeros((AGENTS, MOST_BYTES // 8))}, count=AGENTS),
    ],
    ids=["not all went well", "nothing was left", "refused", "failed", "too large"],
)
def test_what_the_broker_has_to_tell_the_worker_does_not(ask, letterbox, outcome):
    assert not ask(outcome, letterbox=letterbox.name).header.told
    assert letterbox.take() is None


def test_who_is_not_there_or_did_not_ask_is_not_told(ask, letterbox):
    outcome = Outcome(arrays={"actions": ACTIONS}, count=AGENTS)
    assert not ask(outcome).header.told
    gone = Letterbox()
    gone.close()
    assert not ask(outcome, letterbox=gone.name).header.told
    assert letterbox.take() is None
