"""The served step path, measured: a stack of its own with two workers, one client, T-maze agents. And its workers.

Every figure is given with its raw numbers. The same work is done by `Engine` in this process, in turns with the served
one, so that their ratio does not depend on what else the machine does.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import beliefd
from beliefd.client import Client
from beliefd.engine import Engine
from beliefd.model import Model
from beliefd.worlds import tmaze
from beliefd_service.stack import Stack
from benches.workers import measure_workers
from provenance import provenance

WORKERS = 2


def main(
    quick: Annotated[bool, typer.Option(help="Fewer repetitions: under a minute once kernels are compiled.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
) -> None:
    """Measure and print JSON."""
    steps = 60 if quick else 300
    with (
        tempfile.TemporaryDirectory(prefix="bd-") as folder,
        Stack(Path(folder), workers=WORKERS) as stack,
        beliefd.connect(stack.endpoint) as client,
    ):
        works = {
            "tmaze-10000": lockstep(client, "tmaze-10000", 10_000, steps),
            "tmaze-100000": lockstep(client, "tmaze-100000", 100_000, max(steps // 10, 10)),
            "one-agent": round_trips(client, "one-agent", steps * 20),
        }
    report = {**provenance(), "workers": WORKERS, "works": works, "worker_cost": measure_workers(quick)}
    text = json.dumps(report, indent=2)
    typer.echo(text)
    if json_file is not None:
        json_file.write_text(text + "\n")


def lockstep(client: Client, name: str, agents: int, steps: int) -> dict[str, Any]:
    """One client steps the whole population, one call after the other; `Engine` with as many threads does the same."""
    model = tmaze()
    served = client.create_population(name, model, agents=agents, seed=0)
    local = Engine(model, agents=agents, seed=0, threads=WORKERS)
    calls = observations(model, agents, 8)
    for i in range(10):
        np.testing.assert_array_equal(served.step(calls[i % 8]).actions, local.step(calls[i % 8]).actions)
    served_s: list[float] = []
    local_s: list[float] = []
    for i in range(steps):
        served_s.append(timed(served.step, calls[i % 8]))
        local_s.append(timed(local.step, calls[i % 8]))
    served.drop()
    return {
        "agent_steps_per_s": agents / statistics.median(served_s),
        "engine_agent_steps_per_s": agents / statistics.median(local_s),
        "served_over_engine": statistics.median(e / s for e, s in zip(local_s, served_s, strict=True)),
        "raw": {"served_s": served_s, "engine_s": local_s},
    }


def round_trips(client: Client, name: str, steps: int) -> dict[str, Any]:
    """One agent, one client, one call after the other."""
    model = tmaze()
    served = client.create_population(name, model, agents=1, seed=0)
    call = observations(model, 1, 1)[0]
    for _ in range(100):
        served.step(call)
    times_s = [timed(served.step, call) for _ in range(steps)]
    p50, p99, p999 = np.percentile(times_s, [50, 99, 99.9])
    served.drop()
    return {"p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3, "p99.9_ms": p999 * 1e3, "raw": {"served_s": times_s}}


def observations(model: Model, agents: int, count: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [np.stack([rng.integers(0, n, agents) for n in model.num_obs], axis=1) for _ in range(count)]


def timed(step: Callable[[Any], Any], call: Any) -> float:
    started_s = time.perf_counter()
    step(call)
    return round(time.perf_counter() - started_s, 7)


if __name__ == "__main__":
    typer.run(main)
