"""What it costs that a step survives a power loss: populations of both durabilities, in turns."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

import numpy as np

from beliefd.client import Client
from beliefd.worlds import tmaze
from benches.served import Walk, fresh_name, material
from benches.timing import in_turns, percentiles, ratio, timed
from benches.works import Work

_BLOCK = 10
DURABILITIES = ("process", "disk")


def durability(client: Client, works: list[Work], calls: int, limit_s: float) -> dict[str, Any]:
    """Rates of whole populations, round trips of one agent, and what a checkpoint and a replay take."""
    return {
        "works": {work.name: _rates(client, work, limit_s) for work in works},
        "one_agent": _round_trips(client, calls),
        "keeping": _keeping(client, works[-1], limit_s),
    }


def _rates(client: Client, work: Work, limit_s: float) -> dict[str, Any]:
    model, history = material(work)
    herds = [
        client.create_population(fresh_name(work.name), model, agents=work.agents, durability=kind)
        for kind in DURABILITIES
    ]
    walks = [Walk(herd, history, forced=False) for herd in herds]
    for _ in range(10):
        np.testing.assert_array_equal(walks[0].step().actions, walks[1].step().actions)
    process_s, disk_s = in_turns([walk.step for walk in walks], limit_s, block=_BLOCK)
    for herd in herds:
        herd.drop()
    return {
        "agents": work.agents,
        "process_agent_steps_per_s": work.agents / statistics.median(process_s),
        "disk_agent_steps_per_s": work.agents / statistics.median(disk_s),
        "disk_over_process": ratio(process_s, disk_s),
        "raw": {"process_s": process_s, "disk_s": disk_s},
    }


def _round_trips(client: Client, calls: int) -> dict[str, Any]:
    observation = np.zeros((1, 3), np.int64)
    herds = [
        client.create_population(fresh_name("one-agent"), tmaze(), agents=1, durability=kind) for kind in DURABILITIES
    ]
    times = in_turns([partial(herd.step, observation) for herd in herds], 0.0, least=calls, block=100)
    for herd in herds:
        herd.drop()
    found: dict[str, Any] = {kind: percentiles(times_s) for kind, times_s in zip(DURABILITIES, times, strict=True)}
    return {**found, "raw": dict(zip(DURABILITIES, times, strict=True))}


def _keeping(client: Client, work: Work, limit_s: float) -> dict[str, Any]:
    """How long a checkpoint holds up the steps of its population, and how quickly a journal is stepped again."""
    model, history = material(work)
    herd = client.create_population(fresh_name(work.name), model, agents=work.agents, durability="disk")
    walk = Walk(herd, history, forced=False)
    checkpoint_s = timed(herd.checkpoint)
    walk.steps(limit_s)
    started_s = time.perf_counter()
    fork = herd.fork(fresh_name(work.name), at_tick=2**40)
    replay_s = time.perf_counter() - started_s
    assert fork.rebuilt is not None
    steps = fork.rebuilt.steps  # fewer than were made where a checkpoint fell due meanwhile
    fork.drop()
    herd.drop()
    return {"work": work.name, "checkpoint_s": checkpoint_s, "replayed_steps": steps, "replay_s": replay_s}
