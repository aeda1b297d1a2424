"""What is attacked: a stack of its own under supervisord, the herds that it serves, and what is between them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

import beliefd
from beliefd.engine.folderlock import LEASES
from beliefd.engine.store import HEADER_BYTES
from beliefd_proto.errors import BeliefdError
from beliefd_service.leases import held_leases
from beliefd_service.process import start_time
from beliefd_service.stack import CHECKOUT, Stack
from nemesis.checker import Checker, Verdict
from nemesis.clock import Clock
from nemesis.diary import Reader
from nemesis.filesystem import Filesystem
from nemesis.herds import HERDS, PARTS, Herd
from nemesis.proxyprocess import ProxyProcess
from nemesis.silence import is_answered

WORKERS = 2
RECOVERED_S = 60.0
"""How long after a fault has ended a herd may take until it is served again."""
YOUNG_S = 1.0
"""What is killed younger than this, supervisord starts again after a second, then two, then three."""
GONE_S = 1.0
"""How long a worker may take to die with what it belongs to."""
CALM_S = 0.1
"""Who has had an answer so lately is being served. A herd's round takes a tenth of that, and its pause as long."""
_POLL_S = 0.02
_LOWEST = 19
_KEEPING = {"BELIEFD_CHECKPOINT_S": "5", "BELIEFD_JOURNAL": "1"}
"""So that checkpoints are made in the middle of it all."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class NotRecovered(Exception):
    """A herd was not served again in time: nothing more can be learned from this run."""


class Scene:
    """A running stack with a herd process per population, each with a diary that is checked as it grows."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self.disk = Filesystem(folder / "s")
        self.clock = Clock(folder / "clock")
        self.stack = Stack(
            self.disk.folder, workers=WORKERS, environment={**self.clock.environment, **(environment or _KEEPING)}
        )
        self.proxy = ProxyProcess(int(self.stack.endpoint.rpartition(":")[2]))
        self.checkers = {herd.name: Checker(herd) for herd in HERDS}
        self._readers = {herd.name: Reader(folder / herd.name) for herd in HERDS}
        self._herds: dict[str, subprocess.Popen[bytes]] = {}
        # Checks take processor time that clients would wait for: they are made at the lowest priority, on a thread of
        # their own, since what a thread starts inherits its priority. No client waits for a thread of this process.
        self._checking = ThreadPoolExecutor(1, "checks", _yield_to_all)
        self.young = 0
        self.violations: list[str] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as entered:
            entered.callback(self.disk.close)
            entered.callback(self._checking.shutdown)
            entered.enter_context(self.stack)
            entered.enter_context(self.proxy)
            entered.callback(self._end_herds)
            with beliefd.connect(self.stack.endpoint) as client:
                for herd in HERDS:
                    client.create_population(
                        herd.name, herd.make(), agents=herd.agents, seed=herd.seed, durability=herd.durability
                    )
            for herd in HERDS:
                self.start_herd(herd)
            self._exits = entered.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def start_herd(self, herd: Herd) -> None:
        routes = {
            "tcp": self.stack.endpoint,
            "unix": self.stack.local_endpoint,
            "proxy": f"tcp://127.0.0.1:{self.proxy.port}",
        }
        self._herds[herd.name] = subprocess.Popen(
            [sys.executable, "-m", "nemesis.herd", herd.name, routes[herd.route], str(self._folder / herd.name)],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT / "scripts")},
            stdin=subprocess.PIPE,
        )

    def kill_herd(self, herd: Herd) -> None:
        process = self._herds.pop(herd.name)
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()

    def end_herds(self) -> None:
        """Have every herd settle what it has open, and end.

        Raises
        ------
        NotRecovered
        """
        for process in self._herds.values():
            assert process.stdin is not None
            process.stdin.close()
        for name, process in self._herds.items():
            try:
                code = process.wait(RECOVERED_S)
            except subprocess.TimeoutExpired:
                raise NotRecovered(f"{name} could not settle what it had open") from None
            if code:
                self.checkers[name].violation(f"the client ended with code {code}")
        self._herds.clear()
        self.read()

    def _end_herds(self) -> None:
        for herd in HERDS:
            if herd.name in self._herds:
                self.kill_herd(herd)

    def read(self) -> None:
        """Check what the herds wrote since the last time."""
        self._checking.submit(self._read).result()

    def _read(self) -> None:
        for name, reader in self._readers.items():
            self.checkers[name].follow(reader.more())

    def advance(self) -> None:
        """Check what the herds wrote, and let go of what all their agents have come to."""
        self.read()
        for checker in self.checkers.values():
            self._checking.submit(checker.advance).result()

    def served_since(self, since_s: float) -> bool:
        """Whether every herd has had more answers than a round has parts: the round of the fault is over."""
        self.read()
        served = [checker.verdict.served_s for checker in self.checkers.values()]
        return all(len(times_s) > PARTS and times_s[-PARTS - 1] > since_s for times_s in served)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """What the checkers say, by herd."""
        return {name: checker.verdict for name, checker in self.checkers.items()}

    def wait_until_calm(self) -> None:
        """Wait until every herd has been answered within `CALM_S`.

        Raises
        ------
        NotRecovered
        """

        def calm() -> bool:
            self.read()
            return is_answered(self.verdicts, time.monotonic() - CALM_S)

        self._until(calm)

    def recover(self) -> None:
        """Wait until all workers take work and every herd has been served since now.

        Raises
        ------
        NotRecovered
        """
        now_s = time.monotonic()
        self._until(lambda: self.served_since(now_s) and self._whole())

    def _whole(self) -> bool:
        """Whether the workers that the broker counts on are alive: of a death it may not know yet."""
        try:
            with beliefd.connect(self.stack.endpoint, timeout_s=1.0) as client:
                taking = {worker.pid for worker in client.status().workers if worker.state in ("ready", "busy")}
        except BeliefdError:
            return False
        return len(taking) == WORKERS and taking == {
            lease.pid for _, lease in held_leases(self.stack.data / LEASES) if lease is not None
        }

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + RECOVERED_S
        while not condition():
            ended = [name for name, process in self._herds.items() if process.poll() is not None]
            if ended:
                raise NotRecovered(f"the client of {ended[0]} has ended by itself")
            if not self.stack.running:
                raise NotRecovered(f"supervisord has ended by itself:\n{self.stack.log_tails()}")
            if time.monotonic() > deadline_s:
                raise NotRecovered(f"not every client was served within {RECOVERED_S:g} s:\n{self.stack.log_tails()}")
            time.sleep(_POLL_S)

    def expect_gone(self, pid: int, master: str) -> None:
        """Note where a worker outlives what it belongs to."""
        deadline_s = time.monotonic() + GONE_S
        while any(lease is not None and lease.pid == pid for _, lease in held_leases(self.stack.data / LEASES)):
            if time.monotonic() > deadline_s:
                self.violations.append(f"a worker outlived {master} by {GONE_S:g} s")
                return
            time.sleep(_POLL_S)

    def lose_live_files(self, noise: Callable[[int], bytes]) -> None:
        """What a power loss does at worst to populations of durability "disk", while no process of the stack lives."""
        disk = [herd.name for herd in HERDS if herd.durability == "disk"]
        for folder in (self.stack.data / "populations").glob("[0-9a-f]*"):
            if (folder / "name").read_text() not in disk:
                continue
            (folder / "boot").write_text("another boot of the machine")
            live = folder / "agents.bin"
            with open(live, "r+b") as file:
                file.seek(HEADER_BYTES)
                file.write(noise(live.stat().st_size - HEADER_BYTES))

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal, and count those to a process in its first second."""
        started = start_time(pid)
        if started is not None and number == signal.SIGKILL:
            self.young += time.clock_gettime(time.CLOCK_BOOTTIME) - started / _TICKS_PER_S < YOUNG_S
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def compare(self) -> None:
        """Hold every agent's state against that of an engine that nothing happened to."""
        want = ("beliefs", "q_pi", "neg_efe", "vfe")
        with beliefd.connect(self.stack.endpoint) as client:
            for herd in HERDS:
                checker, population = self.checkers[herd.name], client.population(herd.name)
                read = population.read(want=want, timeout_s=60)
                engine = checker.conclude(read.tick.astype(np.int64))
                expected = engine.read(want=want)
                for name in ("tick", "actions", "vfe", "q_pi", "neg_efe"):
                    if not np.array_equal(getattr(read, name), getattr(expected, name)):
                        self.violations.append(f"{herd.name}: {name} in the end is not the engine's")
                assert read.beliefs is not None
                assert expected.beliefs is not None
                for f, (beliefs, own) in enumerate(zip(read.beliefs, expected.beliefs, strict=True)):
                    if not np.array_equal(beliefs, own):
                        self.violations.append(f"{herd.name}: beliefs about factor {f} in the end are not the engine's")
                counts, own_counts = population.parameters(), engine.parameters()
                for name, arrays in own_counts.items():
                    for one, other in zip(counts[name], arrays, strict=True):
                        if not np.array_equal(one, other):
                            self.violations.append(f"{herd.name}: {name} in the end is not the engine's")


def _yield_to_all() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
