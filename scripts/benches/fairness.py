"""A client with one agent beside a client with a million: how long the one waits while the other asks without end.

``python -m benches.fairness`` is the other: it reads what to do as a line of JSON, and steps until its input ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import beliefd
from beliefd.client import Client
from beliefd.worlds import tmaze
from beliefd_service.stack import Stack
from benches.clients import line_of, tell
from benches.served import fresh_name
from benches.timing import percentiles, timed

TIMEOUT_S = 120.0
_CHECKOUT = Path(__file__).resolve().parents[2]
_WARM_UP = 100


def fairness(client: Client, stack: Stack, agents: int, seconds: float) -> dict[str, Any]:
    """Percentiles of the one agent's steps, alone and then beside the flood, and how fast that goes."""
    one, many = fresh_name("one"), fresh_name("many")
    population = client.create_population(one, tmaze(), agents=1)
    crowd = client.create_population(many, tmaze(), agents=agents, timeout_s=TIMEOUT_S)
    observation = np.zeros((1, 3), np.int64)

    def steps(until_s: float) -> list[float]:
        found: list[float] = []
        while time.perf_counter() < until_s:
            found.append(timed(lambda: population.step(observation)))
        return found

    alone_s = steps(time.perf_counter() + seconds)[_WARM_UP:]
    paths = [str(_CHECKOUT / part) for part in ("scripts", "common", "proto", "services")]
    flood = subprocess.Popen(
        [sys.executable, "-m", "benches.fairness"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    tell(flood, json.dumps({"endpoint": stack.local_endpoint, "name": many}))
    line_of(flood)  # it has stepped once, and goes on
    beside_s = steps(time.perf_counter() + seconds)
    assert flood.stdin is not None
    flood.stdin.close()
    flooded = json.loads(line_of(flood))
    flood.wait()
    population.drop()
    crowd.drop(TIMEOUT_S)
    return {
        "agents": agents,
        "alone": percentiles(alone_s),
        **percentiles(beside_s),
        "steps": len(beside_s),
        "flood_agent_steps_per_s": flooded["steps"] * agents / flooded["seconds"],
        "raw": {"alone_s": alone_s, "beside_s": beside_s},
    }


def _flood(endpoint: str, name: str) -> dict[str, Any]:
    """Step all agents of a population, one call after the other, until the input ends."""
    ended = threading.Event()
    with beliefd.connect(endpoint) as client:
        population = client.population(name)
        observations = np.zeros((len(population.agents), 3), np.int8)
        population.step(observations, timeout_s=TIMEOUT_S)
        print("stepped", flush=True)
        threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
        steps, begun_s = 0, time.perf_counter()
        while not ended.is_set():
            population.step(observations, timeout_s=TIMEOUT_S)
            steps += 1
        return {"steps": steps, "seconds": time.perf_counter() - begun_s}


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    asked = json.loads(sys.stdin.readline())
    print(json.dumps(_flood(asked["endpoint"], asked["name"])), flush=True)
