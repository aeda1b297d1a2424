"""More connections than descriptors: newcomers wait or are told, those that are there are served."""

import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from itertools import takewhile

import pytest

import beliefd
from beliefd.endpoint import open_connection
from beliefd_proto import Command, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import Disconnected
from beliefd_service.stack import free_port

pytestmark = pytest.mark.system

SOFT, HARD, CROWD, AT_ONCE = 256, 600, 800, 20


@pytest.fixture
def broker():
    """A broker with few descriptors: its process, its local endpoint and its tcp endpoint."""
    with tempfile.TemporaryDirectory(prefix="bd-") as folder:
        tcp = f"tcp://127.0.0.1:{free_port()}"
        process = subprocess.Popen(
            [sys.executable, "-m", "beliefd_broker"],
            env={**os.environ, "BELIEFD_DATA": folder, "BELIEFD_ENDPOINT": tcp},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD)),
        )
        yield process, f"unix://{folder}/run/beliefd.sock", tcp
        process.terminate()
        assert process.wait(30) == 0


class Newcomer:
    """A connection that says HELLO as soon as it is there."""

    def __init__(self, endpoint):
        self._wake_fd = os.open("/dev/null", os.O_RDONLY)
        self._connection = open_connection(endpoint, None, self._wake_fd)
        hello = m.Hello(id=secrets.token_bytes(16), deadline_ms=1000, session=secrets.token_bytes(16), versions=(1,))
        self._connection.send(encode(Command.HELLO, hello))

    def is_welcomed(self):
        deadline_s = time.monotonic() + 2
        while (answer := self._connection.receive()) is None and time.monotonic() < deadline_s:
            self._connection.wait(10)
        return answer is not None

    def close(self):
        self._connection.close()
        os.close(self._wake_fd)


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_a_crowd_does_not_harm_who_was_there(broker, over):
    process, local, tcp = broker
    with beliefd.connect(local, timeout_s=30) as early:
        crowd, welcomed = [], 0
        while len(crowd) < CROWD and welcomed == len(crowd):
            newcomers = [Newcomer(local if over == "unix" else tcp) for _ in range(AT_ONCE)]
            crowd += newcomers
            welcomed += sum(1 for _ in takewhile(Newcomer.is_welcomed, newcomers))
        assert SOFT < welcomed < HARD
        assert early.status(timeout_s=30).sessions > welcomed
        with pytest.raises(Disconnected):
            beliefd.connect(local, timeout_s=0.5)
        assert process.poll() is None
        for newcomer in crowd:
            newcomer.close()
        with beliefd.connect(local, timeout_s=30) as late:
            assert late.status(timeout_s=30).sessions


def test_a_client_of_this_machine_that_leaves_is_not_kept(broker):
    """Its session would stand for minutes, and count among those that its keys may have."""
    _, local, tcp = broker
    with beliefd.connect(tcp, timeout_s=30) as neighbour:
        leaving = beliefd.connect(local, timeout_s=30)
        assert neighbour.status().sessions == 2
        leaving.close()
        deadline_s = time.monotonic() + 30
        while neighbour.status().sessions > 1:
            assert time.monotonic() < deadline_s


def test_an_endpoint_of_ipv6():
    with tempfile.TemporaryDirectory(prefix="bd-") as folder:
        endpoint = f"tcp://[::1]:{free_port()}"
        process = subprocess.Popen(
            [sys.executable, "-m", "beliefd_broker"],
            env={**os.environ, "BELIEFD_DATA": folder, "BELIEFD_ENDPOINT": endpoint},
        )
        try:
            with beliefd.connect(endpoint, timeout_s=30) as client:
                assert client.status(timeout_s=30).sessions == 1
        finally:
            process.terminate()
            assert process.wait(30) == 0
