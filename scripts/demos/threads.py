"""One Python thread per agent: what the interpreter's lock leaves of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np

from benches.numpy_agent import NumpyAgent, Tables
from demos.maze import Recording, maze_model
from demos.screen import Screen
from demos.sizes import Sizes
from demos.table import Figure, percent, rate

_ROUNDS = 3
"""How often one thread and many are measured in turn; the medians count."""


@dataclass(frozen=True)
class ThreadsResult:
    """Agent-steps per second of one thread and of all together; `same_actions` of `compared` equal the server's."""

    threads: int
    one_per_s: float
    all_per_s: float
    same_actions: int
    compared: int

    @property
    def efficiency(self) -> float:
        """All threads against one. As many as the CPUs would be possible without the lock."""
        return self.all_per_s / self.one_per_s

    def figures(self) -> list[Figure]:
        return [
            Figure("T-maze in NumPy: 1 thread", rate(self.one_per_s)),
            Figure(f"T-maze in NumPy: {self.threads} threads", rate(self.all_per_s)),
            Figure(f"{self.threads} threads, of the rate of 1", percent(self.efficiency)),
            Figure("NumPy actions as the served ones", f"{self.same_actions:,} of {self.compared:,}"),
        ]


def run_threads(recording: Recording, sizes: Sizes, screen: Screen) -> ThreadsResult:
    """Let threads think about the observations that the served agents had; compare their actions, then measure."""
    tables = Tables(maze_model())
    title = f"the same agents in NumPy, in 1 and in {sizes.threads} Python threads"
    with screen.track(title, 2 * _ROUNDS) as advance:
        same = count_same_actions(tables, recording)
        rates = np.zeros((_ROUNDS, 2))
        for one_round in rates:
            for column, threads in enumerate((1, sizes.threads)):
                one_round[column] = _measure(tables, recording, threads, sizes.threads_s)
                advance(1)
    one_per_s, all_per_s = np.median(rates, axis=0).tolist()
    return ThreadsResult(sizes.threads, one_per_s, all_per_s, same, recording.actions.size)


def count_same_actions(tables: Tables, recording: Recording) -> int:
    """How many actions of the recording the NumPy agents choose too."""
    same = 0
    for number in range(recording.actions.shape[1]):
        agent = NumpyAgent(tables)
        for tick, start in enumerate(recording.starts):
            action = agent.step(recording.observations[tick, number].tolist(), bool(start))
            same += action[0] == recording.actions[tick, number]
    return same


def _measure(tables: Tables, recording: Recording, threads: int, duration_s: float) -> float:
    """Agent-steps per second of `threads` threads together."""
    started, ended = threading.Barrier(threads + 1), threading.Event()
    steps = np.zeros(threads, np.int64)

    def live(number: int) -> None:
        agent = NumpyAgent(tables)
        observations, starts = recording.observations[:, number].tolist(), recording.starts.tolist()
        done = 0
        started.wait()
        while not ended.is_set():
            for observation, start in zip(observations, starts, strict=True):
                agent.step(observation, start)
                done += 1
                if ended.is_set():
                    break
        steps[number] = done

    pool = [threading.Thread(target=live, args=(number,), daemon=True) for number in range(threads)]
    for thread in pool:
        thread.start()
    started.wait()
    start_s = time.perf_counter()
    ended.wait(duration_s)
    ended.set()
    for thread in pool:
        thread.join()
    return float(steps.sum()) / (time.perf_counter() - start_s)
