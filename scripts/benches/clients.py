"""Clients with an agent each: what a broker does whose simulators send one observation at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beliefd.client import Client
from beliefd.model import Model
from beliefd.worlds import tmaze
from beliefd_service.stack import Stack
from benches.processes import cpu_s, cpu_used_s, pss_kb, stack_tree, total_kb
from benches.served import fresh_name
from benches.timing import percentiles

_CHECKOUT = Path(__file__).resolve().parents[2]
_LOADERS = 2


def one_agent_clients(
    client: Client,
    stack: Stack,
    clients: int,
    seconds: float,
    populations: int = 1,
    loaders: int = _LOADERS,
    make: Callable[[], Model] = tmaze,
) -> dict[str, Any]:
    """Steps per second of `clients` clients together, each with an agent, their agents in one population or in many.

    The load comes from a few processes, which take processor time too: ``cpus`` and ``pss_kb`` are of
    all processes, in CPUs and kB.
    """
    names = [fresh_name("clients") for _ in range(populations)]
    made = [client.create_population(name, make(), agents=clients // populations) for name in names]
    agents = [(names[n % populations], n // populations) for n in range(clients)]
    given = [agents[first::loaders] for first in range(loaders)]
    processes = [start_loader(stack.local_endpoint, share, seconds) for share in given if share]
    greeted = sum(json.loads(line_of(process))["greeted"] for process in processes)
    family = [*stack_tree(stack), *(process.pid for process in processes)]
    before_s = cpu_s(family)
    for process in processes:
        tell(process, "go")
    found = [json.loads(line_of(process)) for process in processes]
    used_s = cpu_used_s(before_s)
    memory_kb = total_kb(pss_kb, family)
    for process in processes:
        tell(process, "end")
        process.wait()
    for population in made:
        population.drop()
    took_s = max(answer["seconds"] for answer in found)
    latency_s = [each for answer in found for each in answer["latency_s"]]
    return {
        "clients": clients,
        "populations": populations,
        "connected": greeted,
        "served": sum(answer["served"] for answer in found),
        "errors": sum(answer["errors"] for answer in found),
        "steps_per_s": sum(answer["steps"] / answer["seconds"] for answer in found),
        "cpus": used_s / took_s,
        "pss_kb": memory_kb,
        **percentiles(latency_s),
        "raw": {"latency_s": latency_s, "steps": [answer["steps"] for answer in found], "seconds": took_s},
    }


def start_loader(endpoint: str, agents: list[tuple[str, int]], seconds: float) -> subprocess.Popen[str]:
    """A process of `benches.load` for these agents, connected and waiting to be told to go."""
    paths = [str(_CHECKOUT / part) for part in ("scripts", "common", "proto")]
    process = subprocess.Popen(
        [sys.executable, "-m", "benches.load"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    tell(process, json.dumps({"endpoint": endpoint, "agents": agents, "seconds": seconds}))
    return process


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()
