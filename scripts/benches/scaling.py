"""How the rate grows with workers, and what an agent costs as there are more of them: time, and memory."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beliefd.client import Client, connect
from beliefd.engine import Engine
from beliefd.worlds import tmaze
from beliefd_service.stack import Stack
from benches.processes import private_kb, stack_tree, total_kb
from benches.saturation import Flight
from benches.served import Walk, fresh_name, material
from benches.works import MAZE_MOVES, Work

_ROUNDS = 9


def workers_scaling(client: Client, works: Sequence[tuple[Work, int]], limit_s: float) -> list[dict[str, Any]]:
    """Two workers against one, each in a stack of its own, in turns: so many populations of each work in flight.

    `client` is that of the stack with two.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bd-") as folder,
        Stack(Path(folder), workers=1) as single,
        connect(single.local_endpoint) as single_client,
    ):
        return [_two_over_one([single_client, client], *each, limit_s) for each in works]


def _two_over_one(clients: list[Client], work: Work, populations: int, limit_s: float) -> dict[str, Any]:
    """How much two workers do of what one does, and beside it two threads of `Engine`: what the machine has to give."""
    flights = [Flight(client, work, populations) for client in clients]
    for flight in flights:
        flight.warm_up(limit_s)
    model, history = material(work)
    rates, engine_rates = [], []
    with Engine(model, work.agents) as one, Engine(model, work.agents, threads=2) as two:
        walks = [Walk(engine, history, forced=False) for engine in (one, two)]
        for walk in walks:
            walk.steps(limit_s / 20)
        for _ in range(_ROUNDS):
            rates.append([flight.measure(limit_s / 10)[0] for flight in flights])
            engine_rates.append([work.agents / statistics.mean(walk.steps(limit_s / 20)) for walk in walks])
    for flight in flights:
        flight.drop()
    return {
        "work": work.name,
        "populations": populations,
        "two_over_one": statistics.median(two / one for one, two in rates),
        "engine_two_over_one": statistics.median(two / one for one, two in engine_rates),
        "raw": {"one_and_two_agent_steps_per_s": rates, "engine_one_and_two_agent_steps_per_s": engine_rates},
    }


def size_scaling(client: Client, stack: Stack, sizes: list[int], limit_s: float) -> dict[str, Any]:
    """Nanoseconds per agent-step of the T-maze by number of agents, and bytes per agent of all of them together.

    `spread` is by how much the dearest size is dearer than the cheapest, each by what it costs beside the others of
    its round: how fast the machine was from one round to the next is left out of it.

    `engine_ns` is the time of the kernels on one thread, `served_ns` that of a call through the broker. The sizes take
    turns, so that a machine that is slower for a while is so for all of them. As small ones are among them, batches are
    short.
    """
    before = memory(stack)
    with contextlib.ExitStack() as engines:
        measured = [_Size(client, agents, engines) for agents in sizes]
        for _ in range(_ROUNDS):
            for size in measured:
                size.measure(limit_s / _ROUNDS)
        rows = [size.row() for size in measured]
    after = memory(stack)
    for size in measured:
        size.drop()
    return {
        "spread": spread([size.rounds("engine") for size in measured]),
        "agents": sum(sizes),
        "bytes_per_agent": {kind: (after[kind] - before[kind]) / sum(sizes) for kind in after},
        "sizes": rows,
    }


def spread(rounds: Sequence[Sequence[float]]) -> float:
    """By how much the dearest of several is dearer than the cheapest, by the medians of their parts of each round."""
    parts = [[cost / sum(costs) for cost in costs] for costs in zip(*rounds, strict=True)]
    medians: list[float] = [statistics.median(of_one) for of_one in zip(*parts, strict=True)]
    return max(medians) / min(medians) - 1.0


class _Size:
    """So many T-mazes, served and in an `Engine`."""

    def __init__(self, client: Client, agents: int, engines: contextlib.ExitStack) -> None:
        model, history = material(Work("size", tmaze, agents, MAZE_MOVES))
        self._population = client.create_population(fresh_name("size"), model, agents=agents, timeout_s=120.0)
        self._walks = {
            "served": Walk(self._population, history, forced=False),
            "engine": Walk(engines.enter_context(Engine(model, agents=agents)), history, forced=False),
        }
        self._record_bytes = next(i for i in client.populations() if i.uid == self._population.uid).record_bytes
        self._agents = agents
        self._times_s: dict[str, list[list[float]]] = {name: [] for name in self._walks}

    def measure(self, limit_s: float) -> None:
        """A round of both, each after one call to warm up."""
        for name, walk in self._walks.items():
            walk.step()
            self._times_s[name].append(walk.steps(limit_s / 2))

    def drop(self) -> None:
        self._population.drop()

    def rounds(self, name: str) -> list[float]:
        """Nanoseconds per agent-step: of each round the median."""
        return [statistics.median(times_s) / self._agents * 1e9 for times_s in self._times_s[name]]

    def row(self) -> dict[str, Any]:
        """What the report says of this size: of each round the median, and of those the median."""
        nanoseconds = {f"{name}_ns": statistics.median(self.rounds(name)) for name in self._times_s}
        return {
            "agents": self._agents,
            **nanoseconds,
            "record_bytes": self._record_bytes,
            "raw": {f"{name}_s": rounds for name, rounds in self._times_s.items()},
        }


def memory(stack: Stack) -> dict[str, int]:
    """Bytes on disk of all populations and models, and private memory of all processes of the stack."""
    files = [path.stat().st_blocks * 512 for path in stack.data.rglob("*") if path.is_file() and path.suffix != ".log"]
    return {"files": sum(files), "processes": total_kb(private_kb, stack_tree(stack)) * 1024}
