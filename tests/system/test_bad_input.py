"""Bad input changes nothing: a clear error names what is wrong, and the next good step works as if nothing had been."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

import beliefd
from beliefd.engine import Engine
from beliefd.worlds import tmaze
from beliefd_proto import Command, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import (
    BeliefdError,
    Disconnected,
    InvalidArgument,
    InvalidModel,
    InvalidObservation,
    PopulationExists,
    TooLarge,
    UnknownAgent,
    UnknownPopulation,
)
from beliefd_service.lifecycle import EXIT_CANNOT_START
from beliefd_service.stack import Stack, free_port

pytestmark = pytest.mark.system

AGENTS = 8
NAN = float("nan")
GOOD_A, GOOD_B = np.full((2, 3), 0.5), np.full((3, 3, 2), 1 / 3)


class Twin:
    """A population of the stack, and an engine that sees its good input alone."""

    def __init__(self, client):
        self.client = client
        self.model = tmaze()
        self.rng = np.random.default_rng(0)
        self.mice = client.create_population(f"twin.{secrets.token_hex(4)}", self.model, agents=AGENTS, seed=1)
        self.local = Engine(self.model, agents=AGENTS, seed=1)

    def observations(self):
        return np.stack([self.rng.integers(0, n, AGENTS) for n in self.model.num_obs], axis=1)

    def step(self):
        """The next good step, on both sides."""
        observations = self.observations()
        served = self.mice.step(observations, want=("beliefs", "vfe"), timeout_s=60.0)
        local = self.local.step(observations, want=("beliefs", "vfe"))
        np.testing.assert_array_equal(served.actions, local.actions)
        np.testing.assert_array_equal(served.tick, local.tick)
        np.testing.assert_array_equal(served.vfe, local.vfe)
        for served_beliefs, local_beliefs in zip(served.beliefs, local.beliefs, strict=True):
            np.testing.assert_array_equal(served_beliefs, local_beliefs)


@pytest.fixture(scope="module")
def twin(stack):
    with beliefd.connect(stack.endpoint) as client:
        yield Twin(client)


def refused(twin, call, kind, field):
    """`call` raises exactly this, and leaves no trace."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert caught.value.field == field
    twin.step()


def model_of(A=None, B=None, **options):
    return lambda: beliefd.Model(A=[GOOD_A] if A is None else A, B=[GOOD_B] if B is None else B, **options)


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


MODELS = {
    "NaN in A": (model_of(A=[changed(GOOD_A, (1, 2), NAN)]), "A[0]"),
    "infinity in C": (model_of(C=[[0.0, float("inf")]]), "C[0]"),
    "negative probability": (model_of(A=[changed(GOOD_A, (0, 1), -0.5)]), "A[0]"),
    "column that does not sum to 1": (model_of(B=[changed(GOOD_B, (0, 0, 1), 0.5)]), "B[0]"),
    "column of zeros": (model_of(A=[changed(GOOD_A, (slice(None), 0), 0.0)]), "A[0]"),
    "wrong rank": (model_of(A=[GOOD_A[:, 0]]), "A[0]"),
    "wrong shape": (model_of(A=[np.full((2, 4), 0.5)]), "A[0]"),
    "not a list": (model_of(B=5), "B"),
    "text": (model_of(A=[[["a"]]]), "A[0]"),
    "no modality": (model_of(A=[]), "A"),
    "dependency on no factor": (model_of(A_dependencies=[[1]]), "A_dependencies[0][0]"),
    "dependency twice": (model_of(B_dependencies=[[0, 0]]), "B_dependencies[0]"),
    "policy with no such action": (model_of(policies=[[0], [2]]), "policies"),
    "too many policies": (model_of(policy_len=40), "policies"),
    "policy_len of 0": (model_of(policy_len=0), "policy_len"),
    "D of another length": (model_of(D=[[0.5, 0.5]]), "D[0]"),
    "E that is no distribution": (model_of(E=[0.5, 0.6]), "E"),
    "gamma of 0": (model_of(gamma=0.0), "gamma"),
    "alpha NaN": (model_of(alpha=NAN), "alpha"),
    "unknown option": (model_of(action_selection="best"), "action_selection"),
    "unknown dtype": (model_of(dtype="float16"), "dtype"),
    "num_controls that contradict B": (model_of(num_controls=[3]), "num_controls[0]"),
    "exact inference over two factors": (
        model_of(A=[np.full((2, 3, 3), 0.5)], B=[GOOD_B, GOOD_B], inference_algo="exact"),
        "inference_algo",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_models(twin, case):
    make, field = MODELS[case]
    refused(twin, make, InvalidModel, field)


def good():
    return np.zeros((AGENTS, 3), int)


OBSERVATIONS = {
    "index too high": (lambda: changed(good(), (3, 1), 3), "observations"),
    "index below -1": (lambda: changed(good(), (7, 0), -2), "observations"),
    "index of 2**62": (lambda: changed(good(), (0, 0), 2**62), "observations"),
    "too few agents": (lambda: good()[:-1], "observations"),
    "too many modalities": (lambda: np.zeros((AGENTS, 4), int), "observations"),
    "one axis": (lambda: np.zeros(AGENTS, int), "observations"),
    "floats as indices": (lambda: good().astype(float), "observations"),
    "NaN as index": (lambda: good() * NAN, "observations"),
    "text": (lambda: [["a", "b", "c"]] * AGENTS, "observations"),
    "ragged": (lambda: [[0, 0, 0]] * (AGENTS - 1) + [[0]], "observations"),
    "None": (lambda: None, "observations"),
    "distribution with NaN": (lambda: [np.full((AGENTS, 4), NAN), *good().T[1:]], "observations"),
    "negative probability": (lambda: [np.tile([1.5, -0.5, 0, 0], (AGENTS, 1)), *good().T[1:]], "observations"),
    "distribution that does not sum to 1": (lambda: [np.full((AGENTS, 4), 0.3), *good().T[1:]], "observations"),
    "distribution of another width": (lambda: [np.full((AGENTS, 2), 0.5), *good().T[1:]], "observations[0]"),
}


@pytest.mark.parametrize("case", OBSERVATIONS)
def test_observations(twin, case):
    make, field = OBSERVATIONS[case]
    refused(twin, lambda: twin.mice.step(make()), InvalidObservation, field)


def step(**arguments):
    agents = AGENTS if arguments.get("agents") is None else len(arguments["agents"])
    return lambda twin: twin.mice.step(np.zeros((agents, 3), int), **arguments)


def create(name="other", agents=2, preference=3.0, **arguments):
    model = tmaze(preference=preference)
    return lambda twin: twin.client.create_population(name, model, agents=agents, **arguments)


ARGUMENTS = {
    "agent that does not exist": (step(agents=[1, 99]), UnknownAgent, "agents"),
    "agent twice": (step(agents=[1, 1]), InvalidArgument, "agents"),
    "no agents": (step(agents=[]), InvalidArgument, "agents"),
    "agents as floats": (step(agents=[1.0]), InvalidArgument, "agents"),
    "id where there are none": (step(agents=["anna"]), UnknownAgent, "agents"),
    "negative agent": (step(agents=[-1]), UnknownAgent, "agents"),
    "reset of another length": (step(reset=[True]), InvalidArgument, "reset"),
    "reset of 2": (step(reset=[2] * AGENTS), InvalidArgument, "reset"),
    "executed action that does not exist": (
        step(executed_actions=[[4, 0]] * AGENTS),
        InvalidArgument,
        "executed_actions",
    ),
    "executed actions as floats": (step(executed_actions=[0.5] * AGENTS), InvalidArgument, "executed_actions"),
    "executed actions of another shape": (step(executed_actions=[[0, 0, 0]]), InvalidArgument, "executed_actions"),
    "want that does not exist": (step(want=["everything"]), InvalidArgument, "want"),
    "timeout of 0": (step(timeout_s=0), InvalidArgument, "timeout_s"),
    "timeout below 0": (step(timeout_s=-1.0), InvalidArgument, "timeout_s"),
    "timeout NaN": (step(timeout_s=NAN), InvalidArgument, "timeout_s"),
    "timeout of years": (step(timeout_s=1e9), InvalidArgument, "timeout_s"),
    "reading an agent that does not exist": (lambda t: t.mice.read([99]), UnknownAgent, "agents"),
    "reading what does not exist": (lambda t: t.mice.read(want=["q"]), InvalidArgument, "want"),
    "removing an agent that does not exist": (lambda t: t.mice.remove_agents([99]), UnknownAgent, "agents"),
    "removing no agents": (lambda t: t.mice.remove_agents([]), InvalidArgument, "agents"),
    "adding 0 agents": (lambda t: t.mice.add_agents(0), TooLarge, "count"),
    "adding -1 agents": (lambda t: t.mice.add_agents(-1), InvalidArgument, "count"),
    "adding nothing": (lambda t: t.mice.add_agents(), InvalidArgument, "count"),
    "ids where there are none": (lambda t: t.mice.add_agents(agent_ids=["a"]), InvalidArgument, "agent_ids"),
    "empty name": (create(""), InvalidArgument, "name"),
    "name with a slash": (create("a/b"), InvalidArgument, "name"),
    "name that climbs": (create("../a"), InvalidArgument, "name"),
    "name too long": (create("x" * 129), InvalidArgument, "name"),
    "name that is a number": (create(5), InvalidArgument, "name"),
    "seed below 0": (create(seed=-1), InvalidArgument, "seed"),
    "seed of 2**63": (create(seed=2**63), InvalidArgument, "seed"),
    "0 agents": (create(agents=0), TooLarge, "agents"),
    "-1 agents": (create(agents=-1), InvalidArgument, "agents"),
    "2**40 agents": (create(agents=2**40), InvalidArgument, "agents"),
    "2**27 agents": (create(agents=2**27), TooLarge, "agents"),
    "half an agent": (create(agents=0.5), InvalidArgument, "agents"),
    "neither agents nor ids": (create(agents=None), InvalidArgument, "agents"),
    "id twice": (create(agents=None, agent_ids=["a", "b", "a"]), InvalidArgument, "agent_ids"),
    "empty id": (create(agents=None, agent_ids=["a", ""]), InvalidArgument, "agent_ids"),
    "ids that are a number": (create(agents=None, agent_ids=5), InvalidArgument, "agent_ids"),
    "ids that are one text": (create(agents=None, agent_ids="ab"), InvalidArgument, "agent_ids"),
    "id that is no Unicode": (create(agents=None, agent_ids=["a", "\ud800"]), InvalidArgument, "agent_ids"),
    "id that is a number": (create(agents=None, agent_ids=["a", 5]), InvalidArgument, "agent_ids"),
    "fewer ids than agents": (create(agents=3, agent_ids=["a"]), InvalidArgument, "agent_ids"),
    "durability that is not offered": (create(durability="eternal"), InvalidArgument, "durability"),
    "name that is taken": (lambda t: create(t.mice.name)(t), PopulationExists, "name"),
    "exist_ok over another model": (
        lambda t: create(t.mice.name, preference=1.0, exist_ok=True)(t),
        PopulationExists,
        "name",
    ),
    "population that does not exist": (lambda t: t.client.population("nobody"), UnknownPopulation, "name"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(twin, case):
    call, kind, field = ARGUMENTS[case]
    refused(twin, lambda: call(twin), kind, field)
    assert "other" not in [population.name for population in twin.client.populations()]


class Raw:
    """A socket that says whatever it is told to."""

    def __init__(self, endpoint, greet=True):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(endpoint)
        if greet:
            hello = m.Hello(
                id=secrets.token_bytes(16), deadline_ms=1000, session=secrets.token_bytes(16), versions=(1,)
            )
            assert self.ask(encode(Command.HELLO, hello)).command is Command.WELCOME

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._context.destroy(linger=0)

    def send(self, frames):
        self._socket.send_multipart(frames)

    def ask(self, frames, timeout_ms=30_000):
        self.send(frames)
        assert self._socket.poll(timeout_ms), "no answer"
        return decode([bytes(frame) for frame in self._socket.recv_multipart()])


def raw_step(twin, arrays=None, described=None, **change):
    """A step of two agents, as a client would send it, with something wrong."""
    header = m.Step(id=secrets.token_bytes(16), deadline_ms=9000, population=twin.mice.uid, count=2, first=0, tick=1)
    frames = encode(Command.STEP, header, {"observations": np.zeros((2, 3), np.int8)} if arrays is None else arrays)
    fields = msgspec.msgpack.decode(frames[0][4:]) | change
    if described is not None:
        fields["arrays"] = described
    return [frames[0][:4] + msgspec.msgpack.encode(fields), *frames[1:]]


def raw(command, kind, arrays=None, **fields):
    header = kind(id=secrets.token_bytes(16), deadline_ms=30_000, **fields)
    return encode(command, header, arrays)


def with_observations(**arrays):
    return {"observations": np.zeros((2, 3), np.int8), **arrays}


def raw_create(**change):
    model = tmaze()
    fields = {"name": "other", "spec": msgspec.msgpack.encode(model.spec()), "hash": model.hash, "agents": 2, "seed": 0}
    tensors = change.pop("tensors", None)
    return raw(Command.CREATE, m.Create, model.tensors() if tensors is None else tensors, **(fields | change))


FRAMES = {
    "noise": (lambda t: [b"\x00\xff noise"], "malformed_message"),
    "one empty frame": (lambda t: [b""], "malformed_message"),
    "a header of many arrays": (
        lambda t: [b"bd\x01\x05\x81\xa6arrays\xdd\x00\xe4\xe1\xc0" + b"\x93\xa0\xa0\x90" * 15_000_000],
        "malformed_message",
    ),
    "five hundred frames of noise": (lambda t: [secrets.token_bytes(9)] * 500, "malformed_message"),
    "another version": (lambda t: [b"bd\x07\x09\x80"], "version_mismatch"),
    "unknown command": (lambda t: [b"bd\x01\x70\x80"], "malformed_message"),
    "header missing": (lambda t: [b"bd\x01\x09"], "malformed_message"),
    "header truncated": (lambda t: [f[:-5] if i == 0 else f for i, f in enumerate(raw_step(t))], "malformed_message"),
    "header that is a list": (lambda t: [b"bd\x01\x09\x90"], "malformed_message"),
    "header nested very deeply": (lambda t: [b"bd\x01\x09" + b"\x91" * 100_000], "malformed_message"),
    "field that does not exist": (lambda t: raw_step(t, mystery=1), "malformed_message"),
    "short id": (lambda t: raw_step(t, id=b"short"), "malformed_message"),
    "population that is no uid": (lambda t: raw_step(t, population="../../etc"), "malformed_message"),
    "population that is as long as a uid": (lambda t: raw_step(t, population="../../etc/passwd"), "unknown_population"),
    "the same, of a read": (
        lambda t: raw(Command.READ, m.Read, population="../../etc/passwd", count=1, first=0),
        "unknown_population",
    ),
    "work, as a client": (
        lambda t: encode(
            Command.WORK,
            m.Work(epoch=1, batch=1, kind=Command.DROP, population=t.mice.uid, parts=(m.Part(b"i" * 16, 1),)),
        ),
        "malformed_message",
    ),
    "a result, as a client": (lambda t: encode(Command.RESULT, m.Result(epoch=1, batch=1)), "malformed_message"),
    "a welcome, as a client": (lambda t: encode(Command.LEFT, m.Left()), "malformed_message"),
    "frame shorter than its shape": (
        lambda t: [*raw_step(t, described=[["observations", "|i1", [3, 3]]]), bytes(6)],
        "malformed_message",
    ),
    "content shorter than its shape": (
        lambda t: raw_step(t, described=[["observations", "|i1", [3, 3], bytes(6)]]),
        "malformed_message",
    ),
    "content that is to have a frame": (
        lambda t: raw_step(t, described=[["observations", "|i1", [2, 200], bytes(400)]]),
        "malformed_message",
    ),
    "content and a frame": (
        lambda t: [*raw_step(t, described=[["observations", "|i1", [2, 3], bytes(6)]]), bytes(6)],
        "malformed_message",
    ),
    "content that is text": (
        lambda t: raw_step(t, described=[["observations", "|i1", [2, 3], "sixsix"]]),
        "malformed_message",
    ),
    "objects": (lambda t: raw_step(t, described=[["observations", "|O", [2, 3]]]), "malformed_message"),
    "big-endian": (lambda t: raw_step(t, described=[["observations", ">i2", [1, 3]]]), "malformed_message"),
    "array without a frame": (
        lambda t: [*raw_step(t, described=[["observations", "|i1", [2, 3]], ["reset", "|u1", [2]]]), bytes(6)],
        "malformed_message",
    ),
    "frame without an array": (lambda t: [*raw_step(t), b"more"], "malformed_message"),
    "too many frames": (lambda t: [*raw_step(t), *[b""] * 1000], "malformed_message"),
    "array of another axis": (
        lambda t: raw_step(t, arrays={"observations": np.zeros(2, np.int8)}),
        "malformed_message",
    ),
    "no observations": (lambda t: raw_step(t, arrays={}), "malformed_message"),
    "observations as floats": (lambda t: raw_step(t, arrays={"observations": np.zeros((2, 3))}), "malformed_message"),
    "an array that means nothing": (
        lambda t: raw_step(t, arrays=with_observations(x=np.zeros(2))),
        "malformed_message",
    ),
    "a number as a distribution of no modality": (
        lambda t: raw_step(t, arrays=with_observations(distribution9=np.array(1.0))),
        "malformed_message",
    ),
    "a distribution of no modality": (
        lambda t: raw_step(t, arrays=with_observations(distribution9=np.zeros((1, 2)))),
        "malformed_message",
    ),
    "reset of 255": (
        lambda t: raw_step(t, arrays=with_observations(reset=np.full(2, 255, np.uint8))),
        "invalid_argument",
    ),
    "count of 0": (lambda t: raw_step(t, count=0), "too_large"),
    "count of 2**32": (lambda t: raw_step(t, count=2**32), "too_large"),
    "count of 2**63": (lambda t: raw_step(t, count=2**63), "malformed_message"),
    "first of 2**32": (lambda t: raw_step(t, first=2**32), "unknown_agent"),
    "neither first nor agents": (lambda t: raw_step(t, first=None), "malformed_message"),
    "tick 0": (lambda t: raw_step(t, tick=0), "invalid_argument"),
    "tick of the far future": (lambda t: raw_step(t, tick=2**62), "tick_gap"),
    "outputs that do not exist": (lambda t: raw_step(t, want=1 << 40), "invalid_argument"),
    "removal without agents": (
        lambda t: raw(Command.REMOVE_AGENTS, m.RemoveAgents, population=t.mice.uid),
        "malformed_message",
    ),
    "removal of an agent twice": (
        lambda t: raw(
            Command.REMOVE_AGENTS, m.RemoveAgents, {"agents": np.array([1, 1], np.uint32)}, population=t.mice.uid
        ),
        "invalid_argument",
    ),
    "removal by float": (
        lambda t: raw(Command.REMOVE_AGENTS, m.RemoveAgents, {"agents": np.ones(1)}, population=t.mice.uid),
        "malformed_message",
    ),
    "model that is noise": (lambda t: raw_create(spec=b"\xc1noise"), "invalid_model"),
    "model that is a number": (lambda t: raw_create(spec=b"\x05"), "invalid_model"),
    "model without its arrays": (lambda t: raw_create(tensors={}), "invalid_model"),
    "model with another hash": (lambda t: raw_create(hash="0" * 64), "invalid_model"),
}


@pytest.mark.parametrize("case", FRAMES)
def test_frames(stack, twin, case):
    make, code = FRAMES[case]
    with Raw(stack.endpoint) as socket:
        told = socket.ask(make(twin))
        assert told.command is Command.ERROR
        assert told.header.code == code
        assert told.header.message
        epoch = twin.client.status().epoch
        again = socket.ask(raw(Command.STATUS, m.Status))
        assert again.header.epoch == epoch == twin_epoch(stack)
    twin.step()


def twin_epoch(stack):
    return int((stack.data / "run" / "epoch").read_text())


def test_an_empty_array_of_impossible_shape(stack, twin):
    epoch = twin.client.status().epoch
    try:
        with Raw(stack.endpoint) as socket:
            frames = raw_step(twin, arrays={}, described=[["observations", "|i1", [0, 2**32, 2**32]]])
            assert socket.ask([*frames, b""], timeout_ms=3000).header.code == "malformed_message"
        assert twin.client.status().epoch == epoch
    finally:
        twin.step()


def test_a_step_without_hello(stack, twin):
    with Raw(stack.endpoint, greet=False) as socket:
        assert socket.ask(raw_step(twin)).header.code == "hello_required"
    twin.step()


def test_a_hello_of_another_version_only(stack, twin):
    with Raw(stack.endpoint, greet=False) as socket:
        hello = m.Hello(id=secrets.token_bytes(16), deadline_ms=1000, session=secrets.token_bytes(16), versions=(2, 3))
        assert socket.ask(encode(Command.HELLO, hello)).header.code == "version_mismatch"
    twin.step()


def test_a_frame_beyond_the_limit_ends_that_connection_alone(stack, twin):
    with Raw(stack.endpoint) as socket:
        socket.send([*raw_step(twin), bytes(65 * 2**20)])
        twin.step()
    twin.step()


def test_more_requests_than_credits_are_told_so(stack, twin):
    """Sends as if credits did not exist: each is answered, some with busy and by when to come again."""
    with Raw(stack.endpoint) as socket:
        for _ in range(300):
            socket.send(raw(Command.PARAMETERS, m.Parameters, population=twin.mice.uid))
        answers = [socket.ask(raw(Command.STATUS, m.Status)) for _ in range(1)]
        while len(answers) < 301:
            answers.append(decode([bytes(f) for f in socket._socket.recv_multipart()]))
    busy = [a.header for a in answers if a.command is Command.ERROR]
    assert {header.code for header in busy} <= {"busy"}
    assert all(header.retry_after_ms for header in busy)
    twin.step()


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [
        ("tcp://127.0.0.1:1", Disconnected),
        ("unix:///nowhere/at/all", Disconnected),
        ("nonsense", InvalidArgument),
        ("http://127.0.0.1:5757", InvalidArgument),
        ("tcp://127.0.0.1", InvalidArgument),
    ],
)
def test_endpoints(twin, endpoint, kind):
    refused(twin, lambda: beliefd.connect(endpoint, timeout_s=0.2), kind, "endpoint")


# Processes that cannot start. Each ends by itself with one line that names what to mend.


def started(module, *arguments, **environment):
    """Run a process of a stack to its end; its exit code and what it said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BELIEFD_")}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stderr


def cannot_start(code, said, *words):
    """Exit code 78, no traceback, and every word in one line."""
    assert code == EXIT_CANNOT_START, said
    assert "Traceback" not in said
    lines = [
        line
        for line in said.splitlines()
        if "cannot_run" in line or line.startswith(("beliefd_broker:", "beliefd_worker:"))
    ]
    assert len(lines) == 1, said
    assert all(word in lines[0] for word in words), said


@pytest.mark.parametrize("module", ["beliefd_broker", "beliefd_worker"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BELIEFD_ENDPOINT", "nonsense"),
        ("BELIEFD_ENDPOINT", "tcp://127.0.0.1"),
        ("BELIEFD_ENDPOINT", "tcp://[::1"),
        ("BELIEFD_ENDPOINT", "tcp://127.0.0.1:70000"),
        ("BELIEFD_ENDPOINT", "tcp://0.0.0.0:5757"),
        ("BELIEFD_HTTP", "127.0.0.1:http"),
        ("BELIEFD_HTTP", "10.0.0.1:80"),
        ("BELIEFD_GATEWAY_THREADS", "0"),
        ("BELIEFD_LOG_LEVEL", "loud"),
    ],
)
def test_settings(tmp_path, module, name, value):
    cannot_start(*started(module, BELIEFD_DATA=str(tmp_path / "var"), **{name: value}), name, value.rpartition(":")[2])
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("module", ["beliefd_broker", "beliefd_worker"])
def test_a_data_folder_below_a_file(tmp_path, module):
    (tmp_path / "file").write_text("")
    cannot_start(*started(module, BELIEFD_DATA=str(tmp_path / "file" / "var")), "BELIEFD_DATA", str(tmp_path))


def test_a_data_folder_whose_sockets_would_have_too_long_a_path(tmp_path):
    cannot_start(*started("beliefd_broker", BELIEFD_DATA=str(tmp_path / ("x" * 100))), "BELIEFD_DATA", "107")


def test_a_data_folder_that_is_not_ours():
    """Root may write anywhere, so another user tries."""
    if os.getuid():
        pytest.skip("only root can start a process as another user")
    with tempfile.TemporaryDirectory(prefix="bd-") as folder:
        os.chmod(folder, 0o755)
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY], env={"BELIEFD_DATA": folder, "PATH": ""}, capture_output=True, text=True
        )
    cannot_start(done.returncode, done.stderr, "BELIEFD_DATA", folder)


# Everything is imported before the user changes: the interpreter may stand where only root can read.
_AS_NOBODY = """\
import os, sys
import beliefd_broker.__main__ as broker, beliefd_service.lifecycle as lifecycle, encodings.idna
os.setgid(65534), os.setuid(65534)
sys.exit(lifecycle.run("beliefd_broker", broker.main))
"""


def test_a_port_in_use():
    with tempfile.TemporaryDirectory(prefix="bd-") as folder, socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        code, said = started("beliefd_broker", BELIEFD_DATA=folder, BELIEFD_ENDPOINT=endpoint)
    cannot_start(code, said, "BELIEFD_ENDPOINT", endpoint, "in use")


def test_a_second_broker_on_the_same_data(stack, twin):
    code, said = started(
        "beliefd_broker", BELIEFD_DATA=str(stack.data), BELIEFD_ENDPOINT=f"tcp://127.0.0.1:{free_port()}"
    )
    cannot_start(code, said, "folder_locked", str(stack.data), str(stack.pid("broker")))
    twin.step()


def test_a_second_worker_of_the_same_name(stack, twin):
    code, said = started("beliefd_worker", "worker_00", BELIEFD_DATA=str(stack.data))
    cannot_start(code, said, "worker_00", str(stack.worker_pid("worker_00")))
    twin.step()


def test_a_worker_with_a_name_that_climbs(stack, twin):
    cannot_start(*started("beliefd_worker", "../worker", BELIEFD_DATA=str(stack.data)), "NAME", "../worker")
    twin.step()


def test_an_engine_on_the_data_of_a_running_stack(stack, twin):
    with pytest.raises(BeliefdError) as caught:
        Engine(tmaze(), agents=1, data=stack.data)
    assert caught.value.code == "folder_locked"
    twin.step()


# A full disk.


@pytest.fixture
def small_disk():
    """Mounts of a few megabytes, each made by a call, at a folder or below it."""
    folders, mounts = [], []

    def mount(megabytes, below=""):
        folders.append(Path(tempfile.mkdtemp(prefix="bd-")))
        place = folders[-1] / below
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = f"a small file system cannot be mounted here: {done.stderr.strip()}"
            pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
        mounts.append(place)
        return folders[-1]

    yield mount
    for place in mounts:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    for folder in folders:
        shutil.rmtree(folder)


def test_a_disk_too_small_for_a_broker(small_disk):
    folder = small_disk(2)
    code, said = started("beliefd_broker", BELIEFD_DATA=str(folder), BELIEFD_ENDPOINT="tcp://127.0.0.1:0")
    cannot_start(code, said, "disk_full", str(folder))


def test_a_full_disk_refuses_what_is_too_large_and_nothing_else(small_disk):
    folder = small_disk(24, below="var")
    with Stack(folder, workers=1) as own, beliefd.connect(own.endpoint) as client:
        twin = Twin(client)
        twin.step()
        with pytest.raises(BeliefdError) as caught:
            client.create_population("large", tmaze(), agents=1_000_000)
        assert caught.value.code == "disk_full"
        assert "bytes" in str(caught.value.value)
        with pytest.raises(BeliefdError) as caught:
            twin.mice.add_agents(1_000_000)
        assert caught.value.code == "disk_full"
        assert len(twin.mice) == AGENTS
        assert [population.name for population in client.populations()] == [twin.mice.name]
        twin.step()
        small = client.create_population("small", tmaze(), agents=100)
        assert len(small.step(np.zeros((100, 3), int)).actions) == 100
        twin.step()
