"""What a stranger makes the broker keep is bounded: who fills the broker's memory is cut, and the others are served."""

import contextlib
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import beliefd
from beliefd_service.stack import free_port

pytestmark = pytest.mark.system

OPEN_MIB = 16
OWN_MIB = 64
BUDGET_MIB = OWN_MIB + 3 * OPEN_MIB
SLACK_MIB = 400
"""What a flood may bring before it is seen and cut: it is looked for every 20 ms."""
FLOOD_MIB = 3000

_MAIN = f"""
import beliefd_broker.scales as scales
scales.OWN_BYTES = {OWN_MIB} * 2**20
import sys
from beliefd_broker.__main__ import main
from beliefd_service.lifecycle import run
sys.exit(run("beliefd_broker", main))
"""


@pytest.fixture
def broker():
    with tempfile.TemporaryDirectory(prefix="bd-") as folder:
        port = free_port()
        environment = {
            "BELIEFD_DATA": folder,
            "BELIEFD_ENDPOINT": f"tcp://127.0.0.1:{port}",
            "BELIEFD_OPEN": str(OPEN_MIB),
        }
        process = subprocess.Popen([sys.executable, "-c", _MAIN], env={**os.environ, **environment})
        try:
            beliefd.connect(f"tcp://127.0.0.1:{port}", timeout_s=30).close()
            yield process, port, f"{folder}/run/beliefd.sock"
        finally:
            process.terminate()
            assert process.wait(30) == 0


def greeted(connection):
    """A raw ZMTP connection after its handshake."""
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    kind = b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    ready = b"\x05READY" + kind
    connection.sendall(b"\x04" + bytes([len(ready)]) + ready)
    return connection


def named(path):
    """A local connection that has said who it is."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.sendall(struct.pack("<QQ", 1, 16) + os.urandom(16))
    return connection


def resident_mib(process):
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 2**20


@contextlib.contextmanager
def weighed(process):
    """Weighs the process all the time; the list has the most that it was, in MiB."""
    most, ended = [0], threading.Event()

    def weigh():
        while not ended.wait(0.005):
            most[0] = max(most[0], resident_mib(process))

    thread = threading.Thread(target=weigh)
    thread.start()
    yield most
    ended.set()
    thread.join()


def flood_zmtp(port, path):
    """Frames of a byte, each with the promise of another: 3 bytes on the wire are 64 in memory."""
    frames = b"\x01\x01a" * 2**14
    with greeted(socket.create_connection(("127.0.0.1", port))) as connection:
        for _ in range(FLOOD_MIB * 2**20 // (64 * 2**14)):
            connection.sendall(frames)


def flood_stream(port, path):
    """A message that is longer than all that may be open."""
    with named(path) as connection:
        connection.sendall(struct.pack("<QQ", 1, OPEN_MIB * 2**20 + 1) + bytes(2**20))
        for _ in range(FLOOD_MIB):
            connection.sendall(bytes(2**20))


def flood_streams(port, path):
    """Messages that may be so long, of which the end does not come, over more and more connections."""
    length = (OPEN_MIB - 1) * 2**20
    with contextlib.ExitStack() as crowd:
        connections = []
        for _ in range(FLOOD_MIB // OPEN_MIB):
            connections.append(crowd.enter_context(named(path)))
            connections[-1].sendall(struct.pack("<QQ", 1, length) + bytes(length - 1))
        for connection in connections:
            connection.sendall(b"\0")


@pytest.mark.parametrize("flood", [flood_zmtp, flood_stream, flood_streams])
def test_a_message_that_never_ends_is_cut_off_and_the_others_are_served(broker, flood):
    process, port, path = broker
    with weighed(process) as most, beliefd.connect(f"tcp://127.0.0.1:{port}", timeout_s=30) as neighbour:
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            flood(port, path)
        assert neighbour.status(timeout_s=30).sessions >= 1
        deadline_s = time.monotonic() + 30
        while resident_mib(process) > BUDGET_MIB and time.monotonic() < deadline_s:
            neighbour.status(timeout_s=30)
        assert resident_mib(process) <= BUDGET_MIB
    assert most[0] < BUDGET_MIB + SLACK_MIB
