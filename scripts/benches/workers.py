"""What a worker costs: memory of its own, and the time from its death until its successor takes work.

Both ways to start: forked by the preloader, and by itself, which is what happens without one.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import beliefd
from beliefd.client import Client
from beliefd.population import Population
from beliefd.worlds import tmaze
from beliefd_service.stack import Stack
from benches.processes import children, parent, private_kb, pss_kb

_AGENTS = 10_000
_STEPS = 300
_DEADLINE_S = 60.0


def measure_workers(quick: bool) -> dict[str, Any]:
    """Memory with 16 workers, or 4 by themselves; restarts of a single one."""
    with folder() as place, Stack(place, workers=16) as stack:
        forked = memory(stack)
    with folder() as place, Stack(place, workers=4) as stack:
        without_preloader(stack)
        alone = memory(stack)
    with folder() as place, Stack(place, workers=1) as stack:
        forked_restarts = restarts(stack, 5 if quick else 20)
        without_preloader(stack)
        alone_restarts = restarts(stack, 3 if quick else 10)
    return {
        "forked": {"memory": forked, "restarts": forked_restarts},
        "alone": {"memory": alone, "restarts": alone_restarts},
    }


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bd-") as name:
        yield Path(name)


def without_preloader(stack: Stack) -> None:
    stack.ctl("stop", "preload")
    stack.ctl("restart", "worker:*")
    stack.wait_ready(stack.workers)


def memory(stack: Stack) -> dict[str, Any]:
    """Memory of every process that is there because of workers, in kB, while they serve T-mazes."""
    names = [f"worker_{number:02d}" for number in range(stack.workers)]
    with beliefd.connect(stack.local_endpoint) as client:
        population = client.create_population("mice", tmaze(), agents=_AGENTS)
        for _ in range(_STEPS):
            step(population)
        workers = [found(stack.worker_pid(name)) for name in names]
        stubs = [found(stack.pid(f"worker:{name}")) for name in names]
        preload = stack.pid("preload")
        private = [private_kb(pid) for pid in workers]
        shares = [pss_kb(pid) for pid in workers]
        if stubs != workers:
            private = [own + private_kb(stub) for own, stub in zip(private, stubs, strict=True)]
            shares = [own + pss_kb(stub) for own, stub in zip(shares, stubs, strict=True)]
        family = [preload, *children(preload)] if preload is not None else []
        preload_kb = [pss_kb(pid) for pid in family if pid not in workers]
    return {
        "workers": stack.workers,
        "private_kb_per_worker": statistics.median(private),
        "pss_kb_per_worker": statistics.median(shares),
        "pss_kb_in_all": sum(shares) + sum(preload_kb),
        "raw": {"private_kb": private, "pss_kb": shares, "preload_pss_kb": preload_kb},
    }


def restarts(stack: Stack, kills: int) -> dict[str, Any]:
    """The only worker, killed with -9 again and again."""
    reaction_s, ready_s, first_s, later_s = [], [], [], []
    with beliefd.connect(stack.local_endpoint) as client:
        population = client.create_population(f"rats-{kills}", tmaze(), agents=_AGENTS)
        for _ in range(50):
            step(population)
        supervisord = parent(found(stack.pid("broker")))
        for _ in range(kills):
            before = set(children(supervisord))
            started_s = time.perf_counter()
            killed = stack.kill_worker("worker_00")
            wait(functools.partial(has_new_child, supervisord, before))
            reaction_s.append(time.perf_counter() - started_s)
            wait(functools.partial(is_ready, client, killed))
            ready_s.append(time.perf_counter() - started_s)
            first_s.append(timed(population))
            later_s.append(statistics.median(timed(population) for _ in range(50)))
            time.sleep(1.2)  # supervisord takes a program that ends within a second for one that cannot start
    beyond_s = [ready - reaction for ready, reaction in zip(ready_s, reaction_s, strict=True)]
    return {
        "kills": kills,
        "supervisord_ms": statistics.median(reaction_s) * 1e3,
        "ready_beyond_supervisord_ms": statistics.median(beyond_s) * 1e3,
        "longest_beyond_supervisord_ms": max(beyond_s) * 1e3,
        "first_step_ms": statistics.median(first_s) * 1e3,
        "later_steps_ms": statistics.median(later_s) * 1e3,
        "raw": {"supervisord_s": reaction_s, "ready_s": ready_s, "first_s": first_s, "later_s": later_s},
    }


def has_new_child(pid: int, before: set[int]) -> bool:
    return bool(set(children(pid)) - before)


def is_ready(client: Client, killed: int) -> bool:
    return any(worker.pid != killed and worker.state == "ready" for worker in client.status().workers)


def step(population: Population) -> None:
    population.step(np.zeros((_AGENTS, 3), np.int64), timeout_s=_DEADLINE_S)


def timed(population: Population) -> float:
    started_s = time.perf_counter()
    step(population)
    return time.perf_counter() - started_s


def wait(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + _DEADLINE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError("the worker did not come back")
        time.sleep(0.0005)


def found(pid: int | None) -> int:
    assert pid is not None, "a process that was to be measured does not run"
    return pid
