"""More connections than descriptors: newcomers wait or are told, those that are there are served."""

import os
import resource
import secrets
import subprocess
import sys
import tempfile

import pytest
import zmq

import beliefd
from beliefd_proto import Command, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import Disconnected
from beliefd_service.stack import free_port

pytestmark = pytest.mark.system

SOFT, HARD, CROWD = 256, 400, 800


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


@pytest.mark.parametrize("over", ["ipc", "tcp"])
def test_a_crowd_does_not_harm_who_was_there(broker, over):
    process, ipc, tcp = broker
    with beliefd.connect(ipc, timeout_s=30) as early:
        crowd = zmq.Context()
        welcomed = []
        poller = zmq.Poller()
        for _ in range(CROWD):
            socket = crowd.socket(zmq.DEALER)
            socket.connect(ipc if over == "ipc" else tcp)
            hello = m.Hello(
                id=secrets.token_bytes(16), deadline_ms=1000, session=secrets.token_bytes(16), versions=(1,)
            )
            socket.send_multipart(encode(Command.HELLO, hello))
            poller.register(socket, zmq.POLLIN)
        while found := poller.poll(1000):
            for socket, _ in found:
                poller.unregister(socket)
                welcomed.append(socket)
        assert SOFT < len(welcomed) < HARD
        assert early.status(timeout_s=30).sessions == len(welcomed) + 1
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
