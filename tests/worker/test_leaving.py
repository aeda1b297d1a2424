"""A worker that is asked to end waits for its broker's word, but not for a broker that is gone."""

import os
import select
import threading
import time

import numpy as np
import pytest
import structlog

from beliefd_broker.switchboard import Switchboard
from beliefd_proto import Command, decode, encode
from beliefd_proto import messages as m
from beliefd_service.lifecycle import make_folders
from beliefd_service.settings import Settings
from beliefd_worker import loop
from beliefd_worker.execution import Outcome
from beliefd_worker.loop import Worker

LONG_S = 20.0
LARGE = {"beliefs": np.zeros(3_000_000, np.float32)}


class Stop:
    """A request to end that has arrived."""

    def __init__(self):
        self.fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(write_fd, b"\0")
        os.close(write_fd)
        self._arrived = True

    @property
    def requested(self):
        arrived, self._arrived = self._arrived, False
        return arrived


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_LEAVE_S", 1e6)
    made = Settings.from_environment({"BELIEFD_DATA": str(tmp_path)})
    make_folders(made)
    return made


def leave(settings):
    """A worker that has been asked to end, on a thread."""

    def run():
        worker = Worker("worker_00", settings, structlog.get_logger(), Stop())
        worker.run()
        worker.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def ended(thread):
    thread.join(LONG_S)
    return not thread.is_alive()


def test_without_a_broker_it_ends(settings):
    assert ended(leave(settings))


def work(batch):
    """The frames of a message that gives work."""
    header = m.Work(epoch=1, batch=batch, kind=Command.READ, population="", rows=1, parts=((bytes(16), 1),))
    return encode(Command.WORK, header)


class Broker:
    """What listens to the worker."""

    def __init__(self, settings):
        self._board = Switchboard(settings.worker_socket)
        self._poll = select.poll()
        self._poll.register(self._board, select.POLLIN)

    def hears(self, command):
        """Wait for this command; returns who said it."""
        deadline_s = time.monotonic() + LONG_S
        while time.monotonic() < deadline_s:
            self._poll.poll(100)
            for incarnation, frames in self._board.messages():
                if decode(frames).command is command:
                    return incarnation
        raise TimeoutError(command)

    def tells(self, incarnation, frames):
        self._board.send(incarnation, frames)

    def dies(self):
        self._board.close()


def test_a_broker_that_dies_meanwhile_is_not_waited_for(settings):
    broker = Broker(settings)
    thread = leave(settings)
    broker.hears(Command.LEAVING)
    assert thread.is_alive()
    broker.dies()
    assert ended(thread)


def test_the_word_of_its_broker_ends_it(settings):
    broker = Broker(settings)
    thread = leave(settings)
    broker.tells(broker.hears(Command.LEAVING), encode(Command.LEFT, m.Left()))
    assert ended(thread)
    broker.dies()


def test_what_it_was_given_after_it_asked_is_told(settings, monkeypatch):
    monkeypatch.setattr(loop, "execute", lambda *_: Outcome(arrays=LARGE))
    broker = Broker(settings)
    thread = leave(settings)
    worker = broker.hears(Command.LEAVING)
    broker.tells(worker, work(1))
    broker.tells(worker, encode(Command.LEFT, m.Left()))
    broker.hears(Command.RESULT)
    assert ended(thread)
    broker.dies()


def test_a_large_result_does_not_wait_for_the_work_after_it(settings, monkeypatch):
    heard = threading.Event()

    def execute(work, *_):
        return Outcome(arrays=LARGE) if work.batch == 1 else Outcome(count=int(heard.wait(LONG_S)))

    monkeypatch.setattr(loop, "execute", execute)
    broker = Broker(settings)
    thread = leave(settings)
    worker = broker.hears(Command.LEAVING)
    broker.tells(worker, work(1))
    broker.tells(worker, work(2))
    broker.hears(Command.RESULT)
    heard.set()
    broker.hears(Command.RESULT)
    broker.tells(worker, encode(Command.LEFT, m.Left()))
    assert ended(thread)
    broker.dies()
