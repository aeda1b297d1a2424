"""One client steps a whole population, one call after the other, beside the same kernels in this process."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from beliefd.client import Client
from beliefd.engine import Engine
from beliefd_broker.scheduling import ASKS_AGAIN_S, LITTLE_NS
from benches.served import Walk, fresh_name, material
from benches.timing import in_turns, ratio
from benches.works import Work

_BLOCK = 10
"""Calls through the broker before as many in this process: two simulators would not take turns call by call."""


def lockstep(client: Client, work: Work, workers: int, limit_s: float, settle: bool) -> dict[str, Any]:
    """The rate through the broker and that of `Engine` with as many threads, in turns, from observations alone.

    To `settle` is to step work that is not little until batches are as long as they get, as where a run lasts.
    `communication_us` is what the way through the broker takes beyond the kernels, per agent-step.
    """
    model, history = material(work)
    population = client.create_population(fresh_name(work.name), model, agents=work.agents)
    with Engine(model, agents=work.agents, threads=workers) as engine:
        served, local = Walk(population, history, forced=False), Walk(engine, history, forced=False)
        for _ in range(10):
            np.testing.assert_array_equal(served.step().actions, local.step().actions)
        turns = [served.step, local.step]
        served_s, _ = in_turns(turns, limit_s / 10, block=_BLOCK)
        if settle and workers * statistics.median(served_s) > LITTLE_NS / 1e9:
            in_turns(turns, ASKS_AGAIN_S + 1, block=_BLOCK)
        served_s, local_s = in_turns(turns, limit_s, block=_BLOCK)
    population.drop()
    beyond_s = statistics.median(a - b for a, b in zip(served_s, local_s, strict=True))
    return {
        "agents": work.agents,
        "agent_steps_per_s": work.agents / statistics.median(served_s),
        "engine_agent_steps_per_s": work.agents / statistics.median(local_s),
        "served_over_engine": ratio(local_s, served_s),
        "communication_us": beyond_s / work.agents * 1e6,
        "raw": {"served_s": served_s, "engine_s": local_s},
    }
