"""A real broker that wants keys: who is let in, with what role, and what is refused at the start."""

import contextlib
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

import beliefd
from beliefd.keys import Keys
from beliefd_proto import Command, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import Disconnected, NotPermitted, Unauthenticated
from beliefd_service.access import Access
from beliefd_service.keys import add_client
from beliefd_service.stack import Stack, free_port

pytestmark = pytest.mark.system


def start(module, folder, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", module],
        env={**os.environ, "BELIEFD_DATA": str(folder), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def broker_with_keys(address="127.0.0.1"):
    """A broker without workers that wants keys: its folder, its TCP port, and keys of each role."""
    with tempfile.TemporaryDirectory(prefix="bd-") as name:
        folder, port = Path(name), free_port()
        keys = {
            role: add_client(folder / "keys", folder / f"{role}.key", name=f"a-{role}", role=role)
            for role in ("read", "step", "admin")
        }
        environment = {"BELIEFD_KEYS": str(folder / "keys"), "BELIEFD_ENDPOINT": f"tcp://{address}:{port}"}
        process = start("beliefd_broker", folder / "var", **environment)
        try:
            with beliefd.connect(f"tcp://127.0.0.1:{port}", 30, keys["read"]):
                pass
            yield folder, f"tcp://127.0.0.1:{port}", keys
            assert process.poll() is None
        finally:
            process.terminate()
            code = process.wait(30)
            process.stderr.close()
        assert code == 0


@pytest.fixture(scope="module")
def guarded():
    with broker_with_keys("0.0.0.0") as running:
        yield running


def test_a_client_with_keys_is_served_and_one_without_is_not(guarded):
    folder, endpoint, keys = guarded
    with beliefd.connect(endpoint, 30, folder / "step.key") as client:
        assert client.status().sessions >= 1
    with pytest.raises(Unauthenticated, match="wants keys"):
        beliefd.connect(endpoint, 30)
    public, secret = (key.decode() for key in zmq.curve_keypair())
    stranger = Keys(
        name="stranger",
        server_key=keys["admin"].server_key,
        public_key=public,
        secret_key=secret,
        token=keys["admin"].token,
    )
    with pytest.raises(Unauthenticated, match="does not know these"):
        beliefd.connect(endpoint, 30, stranger)


def test_whoever_passes_for_the_broker_is_not_talked_to(guarded):
    _, endpoint, keys = guarded
    other, _ = zmq.curve_keypair()
    fields = {name: getattr(keys["step"], name) for name in ("name", "public_key", "secret_key", "token")}
    with pytest.raises(Disconnected):
        beliefd.connect(endpoint, 0.5, Keys(server_key=other.decode(), **fields))


def test_the_unix_socket_wants_a_token_too(guarded):
    folder, _, keys = guarded
    local = f"unix://{folder}/var/run/beliefd.sock"
    with pytest.raises(Unauthenticated):
        beliefd.connect(local, 30)
    with beliefd.connect(local, 30, keys["read"]) as client:
        assert client.populations() == []
    with beliefd.connect(local, 30, Access.read(folder / "keys").server.local_keys) as client:
        assert client.populations() == []


def test_a_role_that_is_too_low_is_named(guarded):
    _, endpoint, keys = guarded
    model = beliefd.Model(A=[np.eye(2)], B=[np.stack([np.eye(2)] * 2, axis=-1)])
    for role in ("read", "step"):
        with beliefd.connect(endpoint, 30, keys[role]) as client, pytest.raises(NotPermitted, match=r"CREATE.*admin"):
            client.create_population("mice", model, agents=1)


def test_a_key_that_was_taken_back_ends_its_session(guarded):
    folder, endpoint, _ = guarded
    keys = add_client(folder / "keys", folder / "brief.key", name="brief", role="read")
    with connected_soon(endpoint, keys) as client:
        command = [str(Path(sys.executable).with_name("beliefd-keys")), "revoke", "brief"]
        subprocess.run([*command, "--folder", str(folder / "keys")], check=True, capture_output=True)
        with pytest.raises(Unauthenticated):
            ask_until_refused(client)
    with pytest.raises(Unauthenticated):
        beliefd.connect(endpoint, 30, keys)


def ask_until_refused(client):
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        client.status()


def connected_soon(endpoint, keys):
    """A client whose keys the broker reads within a second."""
    for _ in range(20):
        with contextlib.suppress(Disconnected, Unauthenticated):
            return beliefd.connect(endpoint, 1.0, keys)
    raise AssertionError("the new keys were not taken")


def test_plain_messages_over_tcp_reach_nobody(guarded):
    """Not even a HELLO of the admin's token passes without the handshake."""
    _, endpoint, keys = guarded
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        hello = m.Hello(id=b"x" * 16, deadline_ms=1000, session=b"y" * 16, versions=(1,), token=keys["admin"].token)
        socket.send_multipart(encode(Command.HELLO, hello))
        assert not socket.poll(500)


@pytest.mark.parametrize("module", ["beliefd_broker", "beliefd_gateway"])
@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"BELIEFD_ENDPOINT": "tcp://0.0.0.0:5757"}, "BELIEFD_ENDPOINT"),
        ({"BELIEFD_HTTP": "0.0.0.0:8757"}, "BELIEFD_HTTP"),
        ({"BELIEFD_HTTP": "[::]:8757"}, "BELIEFD_HTTP"),
        ({"BELIEFD_HTTP": "0.0.0.0:0", "BELIEFD_KEYS": "/nowhere"}, "BELIEFD_KEYS"),
    ],
)
def test_nothing_listens_beyond_loopback_without_keys(tmp_path, module, environment, word):
    process = start(module, tmp_path, **environment)
    said = process.communicate(timeout=60)[1].strip().splitlines()
    assert process.returncode == 78
    assert len(said) == 1, said
    assert word in said[0]


def test_a_whole_stack_with_keys_serves_and_what_it_makes_is_its_owners():
    with tempfile.TemporaryDirectory(prefix="bd-") as name:
        folder = Path(name)
        admin = add_client(folder / "keys", folder / "admin.key", name="boss", role="admin")
        robot = add_client(folder / "keys", folder / "robot.key", name="robot", role="step")
        model = beliefd.Model(A=[np.eye(2)], B=[np.stack([np.eye(2)] * 2, axis=-1)], C=[[0.0, 1.0]])
        environment = {"BELIEFD_KEYS": str(folder / "keys")}
        with Stack(folder / "stack", workers=1, environment=environment) as stack:
            with beliefd.connect(stack.endpoint, 30, admin) as client:
                client.create_population("mice", model, agents=10)
            with beliefd.connect(stack.endpoint, 30, robot) as client:
                mice = client.population("mice")
                assert mice.step(np.zeros(10, int)).tick.tolist() == [1] * 10
                with pytest.raises(NotPermitted, match="admin"):
                    mice.drop()
            assert stat.S_IMODE(stack.data.stat().st_mode) == 0o700
            open_to_others = [
                str(path.relative_to(stack.data))
                for path in stack.data.rglob("*")
                if stat.S_IMODE(path.stat().st_mode) & 0o077
                and path.parent.name not in ("log", "supervisor")
                and path.name != "supervisord.pid"
            ]
            assert open_to_others == []
            log = (stack.data / "log" / "broker.log").read_text()
            assert json.loads(next(line for line in log.splitlines() if '"listening"' in line))["keys"] is True
            assert admin.token not in log
