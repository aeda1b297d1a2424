"""More connections than descriptors: newcomers wait or are told, those that are there are served."""

import os
import resource
import secrets
import subprocess
import sys
import tempfile
from itertools import takewhile

import pytest
import zmq

import beliefd
from beliefd_proto import Command, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import Disconnected
from beliefd_service.stack import free_port

pytestmark = pytest.mark.system

SOFT, HARD, CROWD, AT_ONCE = 256, 600, 800, 20


@pytest.fixture
def broker():
    """A broker with few descriptors: its process, its ipc endpoint and its tcp endpoint."""
    with tempfile.TemporaryDirectory(prefix="bd-") as folder:
        tcp = f"tcp://127.0.0.1:{free_port()}"
        process = subprocess.Popen(
            [sys.executable, "-m", "beliefd_broker"],
            env={**os.environ, "BELIEFD_DATA": folder, "BELIEFD_ENDPOINT": tcp},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD)),
        )
        yield process, f"ipc://{folder}/run/beliefd.ipc", tcp
        process.terminate()
        assert process.wait(30) == 0


def greeting(context, endpoint):
    """A socket that says HELLO as soon as it is connected."""
    socket = context.socket(zmq.DEALER)
    socket.connect(endpoint)
    hello = m.Hello(id=secrets.token_bytes(16), deadline_ms=1000, session=secrets.token_bytes(16), versions=(1,))
    socket.send_multipart(encode(Command.HELLO, hello))
    return socket


@pytest.mark.parametrize("over", ["ipc", "tcp"])
def test_a_crowd_does_not_harm_who_was_there(broker, over):
    process, ipc, tcp = broker
    with beliefd.connect(ipc, timeout_s=30) as early:
        crowd = zmq.Context()
        sockets, welcomed = [], 0
        while len(sockets) < CROWD and welcomed == len(sockets):
            newcomers = [greeting(crowd, ipc if over == "ipc" else tcp) for _ in range(AT_ONCE)]
            sockets += newcomers
            welcomed += sum(1 for _ in takewhile(lambda socket: socket.poll(2000), newcomers))
        assert SOFT < welcomed < HARD
        assert early.status(timeout_s=30).sessions > welcomed
        with pytest.raises(Disconnected):
            beliefd.connect(ipc, timeout_s=0.5)
        assert process.poll() is None
        crowd.destroy(linger=0)
        with beliefd.connect(ipc, timeout_s=30) as late:
            assert late.status(timeout_s=30).sessions


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
