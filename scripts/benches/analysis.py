"""The table of FreeAgentics' analysis "Multiprocessing vs Threading", measured: agents in growing numbers.

As threads, in a pool of processes with a Manager's dictionary, and served: in one call per tick, and by clients with an
agent each.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from beliefd.client import Client
from beliefd.engine import Engine
from beliefd_service.stack import Stack
from benches.clients import one_agent_clients
from benches.driver import DriverFailed
from benches.drivers.given import save_given
from benches.peers import PEERS, Peer
from benches.processes import cpu_s, cpu_used_s, pss_kb, stack_tree, total_kb, tree
from benches.served import Walk, material
from benches.works import WORKS, Work

SIZES = (1, 10, 30, 50, 150, 1_000, 10_000)
CLIENT_SIZES = (1, 50, 150)
TMAZE, EXPLORER = WORKS["tmaze-10000"], WORKS["explorer-50"]
"""A small agent in all numbers; and FreeAgentics' own kind, in the numbers of its targets."""
_CPUS = os.cpu_count() or 1
_MANY = 1_000_000
"""More rounds than anybody does before the time is over."""


def analysis(client: Client, stack: Stack, quick: bool) -> list[dict[str, Any]]:
    """A row per means and number of agents.

    ``efficiency`` is the rate over that of one agent by the same means; ``cpu`` the fraction of all CPUs that was
    used; ``communication_us`` what a step takes per agent beyond the agents' own time, which is that of one agent alone
    for threads, what the pool's processes report, and the time of the kernels for beliefd; ``cold_s`` the time to make
    the agents and to have their first step, ``agent_steps_per_s`` counts the later ones.
    """
    limit_s = 0.3 if quick else 2.0
    rows: list[dict[str, Any]] = []
    for work, sizes in ((TMAZE, (1, 50, 1_000) if quick else SIZES), (EXPLORER, CLIENT_SIZES)):
        served = Peer("served", variables={"BELIEFD_ENDPOINT": stack.local_endpoint})
        for means, peer in {"threads": PEERS["threads"], "pool": PEERS["pool"], "beliefd": served}.items():
            rows += with_efficiency([row_of(means, peer, stack, work, agents, limit_s) for agents in sizes])
        rows += with_efficiency([clients_row(client, stack, work, n, limit_s) for n in CLIENT_SIZES if n in sizes])
    return rows


def row_of(means: str, peer: Peer, stack: Stack, work: Work, agents: int, limit_s: float) -> dict[str, Any]:
    """One row, of agents that a driver steps all together."""
    model, history = material(work, agents)
    try:
        with tempfile.TemporaryDirectory(prefix="bd-") as folder, peer.start() as driver:
            given = Path(folder) / "given.npz"
            save_given(given, model, history.observations, history.actions)
            cold = driver.prepare(given, agents)
            driver.steps(10, limit_s / 4)
            family = tree(driver.pid) + (stack_tree(stack) if means == "beliefd" else [])
            before_s = cpu_s(family)
            answer = driver.steps(_MANY, limit_s)
            cpu = cpu_used_s(before_s) / answer.get("wall_s", sum(answer["step_s"]))
            memory_kb = total_kb(pss_kb, family)
    except DriverFailed as error:
        return {"work": work.name, "means": means, "agents": agents, "skipped": f"failed: {error}"}
    step_s = statistics.median(answer["step_s"])
    own_s = statistics.median(answer["compute_s"]) if "compute_s" in answer else kernel_s(work, agents, limit_s)
    return {
        "work": work.name,
        "means": means,
        "agents": agents,
        "agent_steps_per_s": agents / step_s,
        "cpu": cpu / _CPUS,
        "memory_mb_per_agent": memory_kb / 1024 / agents,
        "communication_us": (step_s - own_s) / agents * 1e6,
        "cold_s": cold["make_s"] + cold["first_s"],
        "raw": {**answer, **cold, "memory_kb": memory_kb},
    }


def kernel_s(work: Work, agents: int, limit_s: float) -> float:
    """Seconds of a tick of the same agents in this process, on all CPUs."""
    model, history = material(work, agents)
    with Engine(model, agents=agents, threads=_CPUS) as engine:
        walk = Walk(engine, history, forced=True)
        walk.steps(limit_s / 10)
        return statistics.median(walk.steps(limit_s / 4))


def clients_row(client: Client, stack: Stack, work: Work, clients: int, limit_s: float) -> dict[str, Any]:
    """One row, of agents with a client each."""
    found = one_agent_clients(client, stack, clients, max(limit_s, 0.5), loaders=min(clients, _CPUS), make=work.make)
    alone_s = kernel_s(work, 1, limit_s)
    return {
        "work": work.name,
        "means": "beliefd, a client each",
        "agents": clients,
        "agent_steps_per_s": found["steps_per_s"],
        "cpu": found["cpus"] / _CPUS,
        "memory_mb_per_agent": found["pss_kb"] / 1024 / clients,
        "communication_us": (1.0 / found["steps_per_s"] - alone_s / _CPUS) * 1e6,
        "cold_s": None,
        "raw": found["raw"],
    }


def with_efficiency(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one means, the first of which is that of one agent, with ``efficiency``."""
    alone = rows[0].get("agent_steps_per_s")
    return [
        {**row, "efficiency": row["agent_steps_per_s"] / alone} if alone and "skipped" not in row else row
        for row in rows
    ]
