"""supervisord's loop goes round twice for each death: once to bury, once to start anew."""

import os
import select
import signal
from types import SimpleNamespace

import pytest

from beliefd_service.wakeup import wake_for_deaths


@pytest.fixture
def supervisord():
    """What supervisord is for its plug-ins: a map of descriptors to what reads them."""
    polled = {}
    before = signal.signal(signal.SIGCHLD, lambda number, frame: None)
    yield SimpleNamespace(options=SimpleNamespace(get_socket_map=lambda: polled))
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, before)


def readable(fd):
    return bool(select.select([fd], [], [], 0)[0])


def test_a_signal_makes_two_rounds_and_then_there_is_peace(supervisord):
    wake_for_deaths(supervisord)
    ((fd, wakeup),) = supervisord.options.get_socket_map().items()
    assert (wakeup.readable(), wakeup.writable(), readable(fd)) == (True, False, False)
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGCHLD)
        for _ in range(2):
            assert readable(fd)
            wakeup.handle_read_event()
        assert not readable(fd)


def test_a_configuration_that_is_read_anew_is_woken_by_one_descriptor_alone(supervisord):
    wake_for_deaths(supervisord)
    (old,) = supervisord.options.get_socket_map()
    wake_for_deaths(supervisord)
    (new,) = supervisord.options.get_socket_map()
    os.kill(os.getpid(), signal.SIGCHLD)
    assert (old == new, readable(old), readable(new)) == (False, False, True)
