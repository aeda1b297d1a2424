"""What mutated traffic is sent by: connections of a client, bytes at the same sockets, HTTP and WebSocket."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import socket
import struct
import time
from pathlib import Path

from beliefd.endpoint import open_connection
from beliefd.model import Model
from beliefd_proto import Command, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import BeliefdError
from fuzzing.corpus import http_requests, messages, websocket
from fuzzing.mutations import mutated, mutated_bytes

PATIENCE_S = 20.0
_BATCH = 24
"""Messages between two PINGs: fewer than a client's credits, so that nobody is cut off for asking too much."""
_CORPORA = 8
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


class Hung(Exception):
    """Something did not answer in time."""


class Client:
    """A connection of the protocol, which sends what is no protocol."""

    def __init__(self, endpoint: str, victim: str, model: Model, rng: random.Random) -> None:
        self._rng = rng
        self._wake_fd, self._wake_write_fd = os.pipe()
        self._connection = open_connection(endpoint, None, self._wake_fd)
        self._messages = [each for _ in range(_CORPORA) for each in messages(victim, model, rng)]
        self.answers = 0

    def burst(self) -> int:
        """Send some mutated messages, and wait until the broker has read them; returns how many frames they had."""
        frames = 0
        for _ in range(_BATCH):
            changed = mutated(self._rng.choice(self._messages), self._rng)
            if _is_meant(changed):
                continue
            self._connection.send(changed)
            frames += len(changed)
        self._settle()
        return frames

    def _settle(self) -> None:
        """Say HELLO, whatever was said before, and wait for its answer: messages are read in their order."""
        hello = m.Hello(id=secrets.token_bytes(16), deadline_ms=1000, session=secrets.token_bytes(16), versions=(1,))
        self._connection.send(encode(Command.HELLO, hello))
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            frames = self._connection.receive()
            if frames is None:
                if self._connection.wait(100):
                    raise Hung("the broker closed a connection over which whole messages came")
                continue
            self.answers += 1
            with contextlib.suppress(BeliefdError):
                if getattr(decode(frames).header, "id", None) == hello.id:
                    return
        raise Hung("the broker did not answer a HELLO")

    def close(self) -> None:
        self._connection.close()
        os.close(self._wake_fd)
        os.close(self._wake_write_fd)


class Bytes:
    """Connections whose bytes are no messages: over TCP those of ZMTP, over the Unix socket those of the stream."""

    def __init__(self, endpoint: str, path: Path, victim: str, model: Model, rng: random.Random) -> None:
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        self._tcp, self._unix = (host, int(port)), str(path)
        self._rng = rng
        self._messages = messages(victim, model, rng)

    def burst(self) -> int:
        frames = self._rng.choice(self._messages)
        local = self._rng.random() < 0.5
        parts = _stream(frames) if local else _zmtp(frames)
        # Whatever comes after the first wrong byte is not looked at: often only the later parts are wrong.
        first = self._rng.randrange(len(parts))
        content = b"".join(parts[:first]) + mutated_bytes(b"".join(parts[first:]), self._rng)
        with (
            socket.socket(socket.AF_UNIX if local else socket.AF_INET) as connection,
            contextlib.suppress(ConnectionError),
        ):
            connection.settimeout(PATIENCE_S)
            connection.connect(self._unix if local else self._tcp)
            connection.sendall(content)
        return len(parts)


class Web:
    """Requests and WebSocket frames that are none, at the gateway."""

    def __init__(self, address: str, rng: random.Random) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._rng = rng
        self._plain = http_requests(address)
        self._opening = [websocket(address, path) for path in ("/ws", "/ws/populations/victim")]
        self.statuses: dict[str, int] = {}

    def burst(self) -> int:
        if self._rng.random() < 0.5:
            content = mutated_bytes(self._rng.choice(self._plain), self._rng)
        else:
            head, end, frames = self._rng.choice(self._opening).partition(b"\r\n\r\n")
            content = head + end + mutated_bytes(frames, self._rng)
        with socket.create_connection(self._address, PATIENCE_S) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            answer = _until_closed(connection)
            status = answer[9:12].decode("latin1") if answer.startswith(b"HTTP/1.1 ") else "none"
            self.statuses[status] = self.statuses.get(status, 0) + 1
        return 1


def _zmtp(frames: list[bytes]) -> list[bytes]:
    """A connection that greets and sends a message, in ZMTP."""
    kind = b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    parts = [_GREETING, b"\x04" + bytes([len(kind) + 6]) + b"\x05READY" + kind]
    last = len(frames) - 1
    return parts + [bytes([2 | (i < last)]) + struct.pack(">Q", len(frame)) + frame for i, frame in enumerate(frames)]


def _stream(frames: list[bytes]) -> list[bytes]:
    """A connection that says its name and sends a message, over a stream."""
    name = struct.pack("<QQ", 1, 16) + secrets.token_bytes(16)
    lengths = struct.pack(f"<{len(frames) + 1}Q", len(frames), *map(len, frames))
    return [name, lengths, *(frame + bytes(-len(frame) % 8) for frame in frames)]


def _is_meant(frames: list[bytes]) -> bool:
    """Whether this has become a whole request that ends a population or fills the disk, which would be done."""
    try:
        return isinstance(decode(frames).header, m.Drop | m.Snapshot)
    except BeliefdError:
        return False


def _until_closed(connection: socket.socket) -> bytes:
    answer = b""
    while True:
        try:
            part = connection.recv(65536)
        except TimeoutError:
            raise Hung("the gateway neither answered nor closed a connection") from None
        if not part:
            return answer
        answer = (answer + part)[:1024]
