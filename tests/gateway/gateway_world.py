"""What the gateway's tests stand on: real ring files, a real ROUTER that answers as a broker does, real processes."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import structlog

from beliefd_broker.switchboard import Switchboard
from beliefd_proto import Command, ModelInfo, decode, encode
from beliefd_proto import messages as m
from beliefd_service import events
from beliefd_service.settings import Settings

T = TypeVar("T")
MODEL = ModelInfo(
    hash="ab" * 32,
    dtype="float32",
    num_obs=(3, 2),
    num_states=(4, 2),
    num_controls=(4, 1),
    control_fac_idx=(0,),
    policy_len=2,
    num_policies=16,
)
UID = "0123456789abcdef"
DEADLINE_S = 20.0


def until(condition: Callable[[], T], deadline_s: float = DEADLINE_S) -> T:
    """The first true value of `condition`."""
    end_s = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end_s, f"not true within {deadline_s} s"
        time.sleep(0.02)
    return value


def settings_of(data: Path, **environment: str) -> Settings:
    settings = Settings.from_environment({"BELIEFD_DATA": str(data), "BELIEFD_HTTP": "127.0.0.1:0", **environment})
    for folder in (settings.run, settings.populations):
        folder.mkdir(parents=True, exist_ok=True)
    return settings


def quiet_logger() -> Any:
    return structlog.wrap_logger(structlog.ReturnLogger(), processors=[])


def info(name: str = "mice", uid: str = UID, live: int = 100) -> m.PopulationInfo:
    return m.PopulationInfo(
        uid=uid, name=name, model=MODEL, seed=7, durability="process", rows=live, live=live, record_bytes=136
    )


def created(time_s: float = 1000.0, population: m.PopulationInfo | None = None, epoch: int = 1) -> events.AnyEvent:
    return events.PopulationCreated(time_s=time_s, epoch=epoch, info=population or info())


def telemetry(
    time_s: float,
    uid: str = UID,
    epoch: int = 1,
    steps: int = 50,
    vfe: float = 1.5,
    entropy: float | None = 0.7,
) -> events.AnyEvent:
    return events.PopulationTelemetry(
        time_s=time_s,
        epoch=epoch,
        population=uid,
        interval_s=0.5,
        agent_steps=steps,
        batches=2,
        vfe_mean=vfe,
        entropy_mean=entropy,
        action_counts=(30, 15, 5, 0),
    )


def worker(name: str = "worker_00", pid: int = 4000, state: str = "ready", registrations: int = 1) -> m.WorkerStatus:
    return m.WorkerStatus(
        name=name,
        pid=pid,
        state=state,
        batches=10,
        agent_steps=1000,
        registrations=registrations,
        cpu_s=1.25,
        rss_bytes=140 << 20,
        in_flight=0,
    )


@dataclass
class StubBroker(threading.Thread):
    """Answers HELLO, PING, LIST and STATUS on the socket of `settings`, as protocol version 1 has it."""

    settings: Settings
    populations: tuple[m.PopulationInfo, ...] = ()
    workers: tuple[m.WorkerStatus, ...] = field(default_factory=lambda: (worker(),))
    epoch: int = 1

    def __post_init__(self) -> None:
        super().__init__(name="stub-broker", daemon=True)
        self.asked = 0
        self._stop_requested = threading.Event()
        self._clients = Switchboard(self.settings.client_socket)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._clients, select.POLLIN)
        while not self._stop_requested.is_set():
            if poll.poll(20):
                for route, frames in self._clients.messages():
                    self._clients.send(route, self._answer(frames))
        self._clients.close()

    def __enter__(self) -> StubBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_requested.set()
        self.join()

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        header = decode(frames).header
        match header:
            case m.Hello():
                welcome = m.Welcome(
                    id=header.id, version=1, epoch=self.epoch, credits=8, limits=m.Limits(), workers=len(self.workers)
                )
                return encode(Command.WELCOME, welcome)
            case m.Ping():
                return encode(Command.PONG, m.Pong(id=header.id, epoch=self.epoch))
            case m.List():
                answer = m.Populations(id=header.id, populations=self.populations, credits=8)
                return encode(Command.POPULATIONS, answer)
            case m.Status():
                self.asked += 1
                return encode(Command.STATUS_REPORT, self._report(header.id))
        raise AssertionError(f"the gateway has no business to send {header}")

    def _report(self, request: bytes) -> m.StatusReport:
        return m.StatusReport(
            id=request,
            epoch=self.epoch,
            uptime_s=12.0,
            sessions=3,
            open_requests=1,
            ready=any(w.state in ("ready", "busy") for w in self.workers),
            workers=self.workers,
            populations=self.populations,
            counters={"requests": 5, "agent_steps": 1000},
            credits=8,
        )


class GatewayProcess:
    """A real ``python -m beliefd_gateway``."""

    def __init__(self, settings: Settings, **environment: str) -> None:
        self.log: list[dict[str, Any]] = []
        self._lines: queue.Queue[str] = queue.Queue()
        variables = {
            "BELIEFD_DATA": str(settings.data),
            "BELIEFD_HTTP": f"{settings.http_host}:{settings.http_port}",
            "BELIEFD_DATABASE": settings.database,
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "beliefd_gateway"],
            env={**os.environ, **variables},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except json.JSONDecodeError:
                self.log.append({"event": "unstructured", "line": line})

    def logged(self, event: str) -> dict[str, Any]:
        """The first log line of this event, waited for."""

        def found() -> dict[str, Any] | None:
            ended = not self._reader.is_alive()
            line = next((line for line in list(self.log) if line["event"] == event), None)
            assert line or not ended, self.log
            return line

        return until(found)

    @property
    def url(self) -> str:
        return str(self.logged("listening")["http"])

    @property
    def websocket_url(self) -> str:
        return self.url.replace("http://", "ws://")

    def get(self, path: str, **query: Any) -> Any:
        return httpx.get(self.url + path, params=query, timeout=10).json()

    def end(self, number: int = signal.SIGTERM, deadline_s: float = DEADLINE_S) -> int:
        """Send a signal, wait for the end, return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(deadline_s)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def __enter__(self) -> GatewayProcess:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.end(signal.SIGKILL)
