"""What a client says: a message of every command, to the population that is there to be harmed."""

from __future__ import annotations

import os
import random
from typing import Any

import msgspec
import numpy as np

from beliefd.model import Model
from beliefd_proto import Arrays, Command, encode
from beliefd_proto import messages as m
from fuzzing.mutations import Frames

_NOBODY = "f" * 16
_AGENTS = 8
_MANY = 300
"""So many that their arrays have frames of their own; more than the victim has."""


def messages(victim: str, model: Model, rng: random.Random) -> list[Frames]:
    """Frames of requests with fresh ids. What would fill the disk, or end the victim, is meant for nobody."""
    inputs: Arrays = {"observations": np.zeros((_AGENTS, len(model.num_obs)), np.int8)}
    full = {
        "agents": np.arange(_AGENTS, dtype=np.uint32),
        **inputs,
        "ticks": np.full(_AGENTS, rng.choice((1, 2, 10**6)), np.int64),
        "reset": np.zeros(_AGENTS, np.uint8),
    }
    many = {name: np.resize(array, (_MANY, *array.shape[1:])) for name, array in full.items()}
    own: dict[str, Any] = {"name": "other", "hash": model.hash, "agents": _AGENTS, "seed": 0}
    ids: Arrays = {"id_bytes": np.frombuffer(b"ab", np.uint8), "id_ends": np.array([1, 2], np.int64)}
    asked: list[tuple[Command, m.Request, Arrays]] = [
        (Command.HELLO, _of(m.Hello, rng, session=rng.randbytes(16), versions=(1,), client="fuzz"), {}),
        (Command.PING, _of(m.Ping, rng, pending=(rng.randbytes(16),)), {}),
        (Command.CREATE, _of(m.Create, rng, spec=msgspec.msgpack.encode(model.spec()), **own), model.tensors()),
        (Command.ATTACH, _of(m.Attach, rng, name="victim"), {}),
        (Command.LIST, _of(m.List, rng), {}),
        (Command.DROP, _of(m.Drop, rng, population=_NOBODY), {}),
        (Command.ADD_AGENTS, _of(m.AddAgents, rng, population=_NOBODY, count=2), ids),
        (Command.REMOVE_AGENTS, _of(m.RemoveAgents, rng, population=_NOBODY), {"agents": np.zeros(1, np.uint32)}),
        (Command.STEP, _of(m.Step, rng, population=victim, count=_AGENTS, first=0, tick=rng.randrange(1, 99)), inputs),
        (Command.STEP, _of(m.Step, rng, population=victim, count=_AGENTS, want=15), full),
        (Command.STEP, _of(m.Step, rng, population=victim, count=_MANY, want=15), many),
        (Command.READ, _of(m.Read, rng, population=victim, count=_AGENTS, first=0, want=31), {}),
        (Command.PARAMETERS, _of(m.Parameters, rng, population=victim), {}),
        (Command.STATUS, _of(m.Status, rng), {}),
        (Command.RELEASE, _of(m.Release, rng, population=_NOBODY), {}),
        (Command.CANCEL, _of(m.Cancel, rng, requests=(rng.randbytes(16),)), {}),
        (Command.CHECKPOINT, _of(m.Checkpoint, rng, population=_NOBODY), {}),
        (Command.SNAPSHOT, _of(m.Snapshot, rng, population=_NOBODY, name="kept"), {}),
        (Command.RESTORE, _of(m.Restore, rng, snapshot="nothing", name="other"), {}),
        (Command.FORK, _of(m.Fork, rng, population=_NOBODY, name="other", at_tick=3), {}),
    ]
    return [list(map(bytes, encode(command, header, arrays))) for command, header, arrays in asked]


def _of(kind: type[Any], rng: random.Random, **fields: Any) -> Any:
    return kind(id=rng.randbytes(16), deadline_ms=rng.choice((0, 100, 1000)), **fields)


def http_requests(host: str) -> list[bytes]:
    """Requests as bytes, those that open a WebSocket among them."""
    paths = ["/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/api/populations", "/api/populations/victim"]
    paths += ["/api/populations/victim/telemetry?points=10", "/api/workers", "/api/runs", "/api/gaps", "/nothing"]
    plain = [f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode() for path in paths]
    body = os.linesep.join(["{", '"a": [1, 2]', "}"])
    head = f"Host: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    posted = [f"{method} /api/populations HTTP/1.1\r\n{head}{body}".encode() for method in ("POST", "PUT", "DELETE")]
    return plain + posted


def websocket(host: str, path: str) -> bytes:
    """The request that opens a WebSocket, and masked frames after it: text, binary, ping, fragments, close."""
    opening = (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    frames = [b"\x81\x85\0\0\0\0hello", b"\x82\x82\0\0\0\0ab", b"\x89\x80\0\0\0\0", b"\x01\x81\0\0\0\0a"]
    return opening.encode() + b"".join([*frames, b"\x80\x81\0\0\0\0b", b"\x88\x82\0\0\0\0\x03\xe8"])
