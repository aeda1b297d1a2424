"""Several populations of one client in flight: the rate, and how busy that keeps the workers."""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import Any

from beliefd.client import Client
from beliefd.engine import Engine
from beliefd_broker.scheduling import ASKS_AGAIN_S
from benches.processes import cpu_s, cpu_used_s
from benches.served import Walk, fresh_name, material
from benches.works import Work


class Flight:
    """Populations of the same work, each with a call in flight at any time."""

    def __init__(self, client: Client, work: Work, populations: int) -> None:
        self._client = client
        model, history = material(work)
        self._populations = [
            client.create_population(fresh_name(work.name), model, agents=work.agents) for _ in range(populations)
        ]
        self._agents, self._observations = work.agents, list(history.observations)

    def measure(self, limit_s: float) -> tuple[float, float]:
        """Agent-steps per second, and the fraction of the time that workers ran, over all workers."""
        pids = [worker.pid for worker in self._client.status().workers]
        calls = deque(population.submit(self._observations[0]) for population in self._populations)
        turns = 0

        def take_turn() -> None:
            for population in self._populations:
                calls.popleft().result()
                calls.append(population.submit(self._observations[turns % len(self._observations)]))

        take_turn()
        # From the end of one turn to that of another: what is half done then is as much at both.
        started_s, before_s = time.perf_counter(), cpu_s(pids)
        while (took_s := time.perf_counter() - started_s) < limit_s:
            turns += 1
            take_turn()
        busy = cpu_used_s(before_s) / (took_s * len(pids))
        for call in calls:
            call.result()
        return turns * len(self._populations) * self._agents / took_s, busy

    def warm_up(self, limit_s: float) -> None:
        """Step until batches are as long as they get in a run that lasts; in a quick one they stay short."""
        self.measure(limit_s / 10 if limit_s < ASKS_AGAIN_S else ASKS_AGAIN_S + 1)

    def drop(self) -> None:
        for population in self._populations:
            population.drop()


def saturation(client: Client, work: Work, workers: int, populations: int, limit_s: float) -> dict[str, Any]:
    """In turns with `Engine`, which has as many threads as there are workers and one population."""
    model, history = material(work)
    rates, busy, engine_rates = [], [], []
    flight = Flight(client, work, populations)
    with Engine(model, agents=work.agents, threads=workers) as engine:
        walk = Walk(engine, history, forced=False)
        flight.warm_up(limit_s)
        walk.steps(limit_s / 10)
        for _ in range(5):
            rate, fraction = flight.measure(limit_s / 5)
            rates.append(rate)
            busy.append(fraction)
            engine_rates.append(work.agents / statistics.median(walk.steps(limit_s / 5)))
    flight.drop()
    return {
        "populations": populations,
        "agent_steps_per_s": statistics.median(rates),
        "served_over_engine": statistics.median(a / b for a, b in zip(rates, engine_rates, strict=True)),
        "workers_busy": statistics.median(busy),
        "raw": {"agent_steps_per_s": rates, "workers_busy": busy, "engine_agent_steps_per_s": engine_rates},
    }
