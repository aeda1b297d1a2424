"""The Unix socket of a stack beside its TCP endpoint: the same calls over both, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import beliefd
from beliefd_service.stack import Stack
from benches.served import Walk, fresh_name, material
from benches.timing import in_turns, ratio
from benches.works import Work

_BLOCK = 10
"""Calls over one before as many over the other."""


def transports(stack: Stack, works: Sequence[Work], limit_s: float) -> list[dict[str, Any]]:
    """The rate of a single client over each, of populations of their own."""
    with beliefd.connect(stack.local_endpoint) as local, beliefd.connect(stack.endpoint) as tcp:
        return [_both([local, tcp], work, limit_s) for work in works]


def _both(clients: list[beliefd.Client], work: Work, limit_s: float) -> dict[str, Any]:
    model, history = material(work)
    populations = [client.create_population(fresh_name(work.name), model, agents=work.agents) for client in clients]
    walks = [Walk(population, history, forced=False) for population in populations]
    for walk in walks:
        walk.steps(limit_s / 10)
    ipc_s, tcp_s = in_turns([walk.step for walk in walks], limit_s, block=_BLOCK)
    for population in populations:
        population.drop()
    return {
        "work": work.name,
        "ipc_agent_steps_per_s": work.agents / statistics.median(ipc_s),
        "tcp_agent_steps_per_s": work.agents / statistics.median(tcp_s),
        "ipc_over_tcp": ratio(tcp_s, ipc_s),
        "raw": {"ipc_s": ipc_s, "tcp_s": tcp_s},
    }
