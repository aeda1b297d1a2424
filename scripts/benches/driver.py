"""A driver as the measurements hold it: a process that is asked to make agents, to step them, and to be checked."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_CHECKOUT = Path(__file__).resolve().parents[2]


class DriverFailed(Exception):
    """The driver ended, or what it was asked for raised an exception there."""


class Driver:
    """The module ``benches.drivers.<module>`` in a process of its own, under `python`. A context manager."""

    def __init__(self, module: str, python: Path, environment: Mapping[str, str] | None = None) -> None:
        own = {"PYTHONPATH": str(_CHECKOUT / "scripts"), "PYTHONWARNINGS": "ignore", **(environment or {})}
        self._process = subprocess.Popen(
            [str(python), "-m", f"benches.drivers.{module}"],
            env={**os.environ, **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.pid = self._process.pid

    def prepare(self, path: Path, agents: int) -> dict[str, float]:
        """Make agents of the work in the file `path`; the times of that and of the first round, in seconds."""
        return self._ask(do="prepare", path=str(path), agents=agents)

    def steps(self, count: int, limit_s: float = 1e9) -> dict[str, Any]:
        """See `benches.drivers.serving.Program.steps`."""
        return self._ask(do="steps", count=count, limit_s=limit_s)

    def check(self, path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Actions and margins over the forced history; `path` is a file to pass them through."""
        self._ask(do="check", path=str(path))
        with np.load(path) as found:
            return found["actions"], found["margins"]

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise DriverFailed(f"the driver ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise DriverFailed(answer["error"])
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
