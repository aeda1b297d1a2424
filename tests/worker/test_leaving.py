"""A worker that is asked to end waits for its broker's word, but not for a broker that is gone."""

import os
import threading

import pytest
import structlog
import zmq

from beliefd_proto import Command, decode, encode
from beliefd_proto import messages as m
from beliefd_service.lifecycle import make_folders
from beliefd_service.settings import Settings
from beliefd_worker import loop
from beliefd_worker.loop import Worker

LONG_S = 60.0


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


def test_a_broker_that_dies_meanwhile_is_not_waited_for(settings):
    context = zmq.Context()
    broker = context.socket(zmq.ROUTER)
    broker.bind(f"ipc://{settings.worker_socket}")
    thread = leave(settings)
    while decode(broker.recv_multipart()[1:]).command is not Command.LEAVING:
        pass
    assert thread.is_alive()
    context.destroy(linger=0)
    assert ended(thread)


def test_the_word_of_its_broker_ends_it(settings):
    context = zmq.Context()
    broker = context.socket(zmq.ROUTER)
    broker.bind(f"ipc://{settings.worker_socket}")
    thread = leave(settings)
    route, *frames = broker.recv_multipart()
    while decode(frames).command is not Command.LEAVING:
        route, *frames = broker.recv_multipart()
    broker.send_multipart([route, *encode(Command.LEFT, m.Left())])
    assert ended(thread)
    context.destroy(linger=0)
