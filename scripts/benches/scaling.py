"""How the rate grows with workers, and what an agent costs as there are more of them: time, and memory."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from beliefd.client import Client, connect
from beliefd.engine import Engine
from beliefd.worlds import tmaze
from beliefd_service.stack import Stack
from benches.processes import private_kb, stack_tree, total_kb
from benches.saturation import Flight
from benches.served import Walk, fresh_name, material
from benches.timing import in_turns
from benches.works import GRID, MAZE_MOVES, Work


def workers_scaling(client: Client, limit_s: float) -> dict[str, Any]:
    """Two workers against one, each in a stack of its own, in turns, with four populations of a grid in flight.

    `client` is that of the stack with two.
    """
    work = GRID
    with (
        tempfile.TemporaryDirectory(prefix="bd-") as folder,
        Stack(Path(folder), workers=1) as single,
        connect(single.endpoint) as single_client,
    ):
        flights = [Flight(single_client, work, 4), Flight(client, work, 4)]
        for flight in flights:
            flight.measure(limit_s / 10)
        rates = [[flight.measure(limit_s / 10)[0] for flight in flights] for _ in range(5)]
        for flight in flights:
            flight.drop()
    return {
        "work": work.name,
        "two_over_one": statistics.median(two / one for one, two in rates),
        "raw": {"one_and_two_agent_steps_per_s": rates},
    }


def size_scaling(client: Client, stack: Stack, sizes: list[int], limit_s: float) -> dict[str, Any]:
    """Nanoseconds per agent-step of the T-maze by number of agents, and bytes per agent of the largest number.

    `engine_ns` is the time of the kernels on one thread, `served_ns` that of a call through the broker.
    """
    rows: list[dict[str, Any]] = []
    for agents in sizes:
        model, history = material(Work("size", tmaze, agents, MAZE_MOVES))
        before = memory(stack)
        population = client.create_population(fresh_name("size"), model, agents=agents, timeout_s=120.0)
        with Engine(model, agents=agents) as engine:
            served, local = Walk(population, history, forced=False), Walk(engine, history, forced=False)
            served.step()
            local.step()
            served_s, local_s = in_turns([served.step, local.step], limit_s, least=5, block=2)
        after = memory(stack)
        info = next(found for found in client.populations() if found.uid == population.uid)
        population.drop()
        rows.append(
            {
                "agents": agents,
                "served_ns": statistics.median(served_s) / agents * 1e9,
                "engine_ns": statistics.median(local_s) / agents * 1e9,
                "record_bytes": info.record_bytes,
                "file_bytes_per_agent": (after["files"] - before["files"]) / agents,
                "process_bytes_per_agent": (after["processes"] - before["processes"]) / agents,
                "raw": {"served_s": served_s, "engine_s": local_s},
            }
        )
    engine_ns = [row["engine_ns"] for row in rows]
    return {"spread": max(engine_ns) / min(engine_ns) - 1.0, "sizes": rows}


def memory(stack: Stack) -> dict[str, int]:
    """Bytes on disk of all populations and models, and private memory of all processes of the stack."""
    files = [path.stat().st_blocks * 512 for path in stack.data.rglob("*") if path.is_file() and path.suffix != ".log"]
    return {"files": sum(files), "processes": total_kb(private_kb, stack_tree(stack)) * 1024}
