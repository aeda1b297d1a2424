"""One Python thread per agent."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benches.drivers.given import Given
from benches.drivers.numpy_agents import NumpyAgents
from benches.drivers.serving import serve

_STACK_BYTES = 256 * 1024


class Threads:
    """Threads that all begin at once and step their agent until told to stop."""

    def __init__(self, given: Given, agents: int) -> None:
        threading.stack_size(_STACK_BYTES)
        self._agents = NumpyAgents(given, 0, agents)
        self._ticks = [0] * agents
        self._chosen = np.zeros((self._agents.ticks, agents, len(given.B)), np.int64)
        self._margins = np.zeros((self._agents.ticks, agents))

    def _run(self, count: int, limit_s: float, kept: bool) -> tuple[int, float]:
        """Let every thread take `count` steps, or one at least; returns how many all took, and in how many seconds."""
        agents = self._agents
        before = sum(self._ticks)
        deadline_s = started_s = 0.0

        def begin() -> None:
            nonlocal deadline_s, started_s
            started_s = time.perf_counter()
            deadline_s = started_s + limit_s

        together = threading.Barrier(len(self._ticks), begin)

        def live(number: int) -> None:
            together.wait()
            for _ in range(count):
                tick = self._ticks[number]
                action = agents.step(number, tick)
                if kept:
                    self._chosen[tick % agents.ticks, number] = action
                self._ticks[number] = tick + 1
                # Each looks at the clock itself: among thousands of threads, one that tells the others gets no turn.
                if time.perf_counter() > deadline_s:
                    break

        threads = [threading.Thread(target=live, args=(n,), daemon=True) for n in range(len(self._ticks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(self._ticks) - before, time.perf_counter() - started_s

    def steps(self, count: int, limit_s: float) -> dict[str, Any]:
        """One figure for all rounds, since no thread waits for another at the end of one; they took ``wall_s``."""
        alone_s = self._agents.alone_s()
        done, seconds = self._run(count, limit_s, kept=False)
        agents = len(self._ticks)
        return {"step_s": [seconds * agents / done], "compute_s": [alone_s * agents], "wall_s": seconds}

    def check(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        self._ticks = [0] * len(self._ticks)
        for tick in range(self._agents.ticks):
            self._run(1, 3600.0, kept=True)
            self._margins[tick] = self._agents.margins()
        return self._chosen, self._margins

    def close(self) -> None:
        pass


if __name__ == "__main__":
    serve(Threads)
