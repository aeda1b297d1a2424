"""A pool of processes, and every agent's state in a dictionary of a Manager: what FreeAgentics' analysis advises."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import MutableMapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benches.drivers.given import Given
from benches.drivers.numpy_agents import NumpyAgents
from benches.drivers.serving import serve
from benches.numpy_agent import margin

_CHUNKS_PER_PROCESS = 4

_agents: NumpyAgents
_states: MutableMapping[int, Any]


class Pool:
    """As many processes as CPUs. Any of them steps any agent: it fetches the state and puts the next one back."""

    def __init__(self, given: Given, agents: int) -> None:
        # Not forked: the parent's threads would be missing in the children.
        context = multiprocessing.get_context("spawn")
        self._manager = context.Manager()
        states = self._manager.dict()
        states.update({number: list(given.D) for number in range(agents)})
        self._processes = os.cpu_count() or 1
        self._pool = ProcessPoolExecutor(self._processes, context, _begin, (given, agents, states))
        self._count, self._tick = agents, 0
        self._factors, self._ticks = len(given.B), len(given.observations)

    def _round(self, margins: bool = False) -> list[tuple[tuple[int, ...], float, float]]:
        chunk = max(1, self._count // (_CHUNKS_PER_PROCESS * self._processes))
        step = partial(_step, tick=self._tick, margins=margins)
        answers = list(self._pool.map(step, range(self._count), chunksize=chunk))
        self._tick += 1
        return answers

    def steps(self, count: int, limit_s: float) -> dict[str, Any]:
        step_s: list[float] = []
        compute_s: list[float] = []
        for _ in range(count):
            started_s = time.perf_counter()
            answers = self._round()
            step_s.append(time.perf_counter() - started_s)
            compute_s.append(sum(seconds for _, _, seconds in answers) / self._processes)
            if sum(step_s) > limit_s:
                break
        return {"step_s": step_s, "compute_s": compute_s}

    def check(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        self._tick = 0
        rounds = [self._round(margins=True) for _ in range(self._ticks)]
        actions = [[action for action, _, _ in answers] for answers in rounds]
        return np.array(actions), np.array([[margin_left for _, margin_left, _ in answers] for answers in rounds])

    def close(self) -> None:
        self._pool.shutdown()
        self._manager.shutdown()


def _begin(given: Given, agents: int, states: MutableMapping[int, Any]) -> None:
    global _agents, _states
    _agents, _states = NumpyAgents(given, 0, agents), states


def _step(number: int, tick: int, margins: bool) -> tuple[tuple[int, ...], float, float]:
    """The action of one agent, its margin where that is asked for, and the seconds that the agent itself took."""
    action, prior, seconds = _agents.step_from(number, tick, _states[number])
    _states[number] = prior
    lead = margin(_agents.agents[number].worth, _agents.tables.first_actions) if margins else 0.0
    return action, lead, seconds


if __name__ == "__main__":
    serve(Pool)
