"""How near the kernels come to what a core can do at most: multiply-adds, beside those of BLAS on the same sizes."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
from typing import Any

import numpy as np

from beliefd.engine import Engine
from beliefd.model import Model
from benches.served import Walk, material
from benches.works import WORKS

_PROGRAM = """
import sys, time
import numpy as np
rows, inner, columns = map(int, sys.argv[1:4])
a, b = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
out = np.empty((rows, columns), np.float32)
a @ b
times = []
for _ in range(200):
    started = time.perf_counter()
    np.matmul(a, b, out=out)
    times.append(time.perf_counter() - started)
print(sorted(times)[len(times) // 2])
"""


def roof(name: str, limit_s: float) -> dict[str, Any]:
    """Multiply-adds per second of one thread of `Engine` in a work, and of one thread of sgemm on the same sizes.

    The sizes are those of the dense product that evaluates policies: what is seen in each state, times the beliefs at
    the nodes of the policy tree, for all agents.
    """
    model, history = material(WORKS[name])
    agents = WORKS[name].agents
    with Engine(model, agents=agents, threads=1) as engine:
        walk = Walk(engine, history, forced=False)
        walk.steps(limit_s / 4)
        rate = agents / statistics.median(walk.steps(limit_s))
    shape = (sum(model.num_obs), math.prod(model.num_states), policy_nodes(model) * agents)
    achieved = rate * fma_per_agent_step(model)
    best = sgemm_fma_per_s(*shape)
    return {"fma_per_s": achieved, "sgemm_fma_per_s": best, "share": achieved / best, "sgemm_shape": list(shape)}


def fma_per_agent_step(model: Model) -> float:
    """Multiply-adds that the kernels do for a step of one agent.

    Counted: at every node of the policy tree, the entries of A that are not zero, each times the belief there.
    """
    return float(policy_nodes(model) * sum(np.count_nonzero(A) for A in model.A))


def policy_nodes(model: Model) -> int:
    """Nodes of the policy tree: policies that begin alike share them."""
    depths = range(1, model.policy_len + 1)
    return sum(len({tuple(policy[:depth].ravel().tolist()) for policy in model.policies}) for depth in depths)


def sgemm_fma_per_s(rows: int, inner: int, columns: int) -> float:
    """Of NumPy's float32 matrix product on one thread: in a process of its own, which can still choose that."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-c", _PROGRAM, str(rows), str(inner), str(min(columns, 100_000))]
    seconds = float(subprocess.run(command, env={**os.environ, **one}, capture_output=True, check=True).stdout)
    return rows * inner * min(columns, 100_000) / seconds
