"""The system itself says whether it has been asked to keep processors awake."""

import os
import signal
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import beliefd
from beliefd.worlds import tmaze
from beliefd_broker.vigil import DEVICE
from beliefd_service.stack import Stack

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not os.access(DEVICE, os.R_OK | os.W_OK), reason=f"{DEVICE} may not be written here"),
]


@pytest.fixture
def asked_us():
    """What of all that is asked for holds now, in microseconds."""
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    yield lambda: struct.unpack("=i", os.pread(device, 4, 0))[0]
    os.close(device)


def until(condition, meanwhile=lambda: time.sleep(0.001)):
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        meanwhile()


def test_processors_are_kept_awake_while_agents_step_and_sleep_afterwards(client, name, asked_us):
    population = client.create_population(name, tmaze(), agents=1)
    until(lambda: asked_us() == 0, lambda: population.step(np.zeros((1, 3), np.int64)))
    until(lambda: asked_us() != 0)
    population.drop()


def test_a_broker_that_dies_keeps_nobody_awake(asked_us):
    environment = {"BELIEFD_AWAKE": "60000"}
    with (
        tempfile.TemporaryDirectory(prefix="bd-") as folder,
        Stack(Path(folder), workers=1, environment=environment) as stack,
    ):
        with beliefd.connect(stack.endpoint) as client:
            population = client.create_population("mice", tmaze(), agents=1)
            population.step(np.zeros((1, 3), np.int64))
        assert asked_us() == 0
        broker = stack.pid("broker")
        # supervisord does not start it again: the gateway would greet the next one.
        os.kill(stack.supervisord_pid, signal.SIGSTOP)
        try:
            os.kill(broker, signal.SIGKILL)
            until(lambda: asked_us() != 0)
        finally:
            os.kill(stack.supervisord_pid, signal.SIGCONT)


def test_processors_may_be_left_alone():
    with (
        tempfile.TemporaryDirectory(prefix="bd-") as folder,
        Stack(Path(folder), workers=1, environment={"BELIEFD_AWAKE": "0"}) as stack,
    ):
        descriptors = Path(f"/proc/{stack.pid('broker')}/fd")
        assert str(DEVICE) not in {os.readlink(descriptor) for descriptor in descriptors.iterdir()}
