"""How near the kernels come to what a core can do at most: multiply-adds, beside those of BLAS on the same sizes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from typing import Any

import numpy as np

from beliefd.engine import Engine, plan
from beliefd.engine.plan import LANES
from beliefd.engine.planner import compile_model
from beliefd.model import Model
from beliefd.worlds import grid
from benches.timing import repeated

_AGENTS = 1_024

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


def roof(size: int, limit_s: float) -> dict[str, Any]:
    """Multiply-adds per second of a whole step on one thread, and of one thread of sgemm on the same sizes.

    The agents walk on a grid of `size` times `size` cells, whose sensor shows each cell with some probability as any
    other: its likelihood is a dense matrix. The sizes of the product are those that evaluate policies: what is seen in
    each state, times the distinct beliefs that policies lead to, for all agents. All else that a step does takes time
    here and counts for nothing.
    """
    model = dense_grid(size)
    compiled = compile_model(model)
    values = operations(compiled.ints).count(plan.VALUE)
    cells = size * size
    observations = np.random.default_rng(0).integers(0, cells, (_AGENTS, 1))
    with Engine(model, agents=_AGENTS, threads=1) as engine:
        engine.step(observations)
        times_s = repeated(lambda: engine.step(observations), limit_s, least=5)
    achieved = _AGENTS * values * cells * cells / statistics.median(times_s)
    best = sgemm_fma_per_s(cells, cells, values * LANES)
    return {
        "fma_per_s": achieved,
        "sgemm_fma_per_s": best,
        "share": achieved / best,
        "sgemm_shape": [cells, cells, values * LANES],
        "raw": {"step_s": times_s},
    }


def dense_grid(size: int) -> Model:
    """A grid whose sensor is off by some cells, more rarely the more they are."""
    walk = grid(size)
    rows, columns = np.divmod(np.arange(size * size), size)
    distance = np.abs(rows[:, np.newaxis] - rows) + np.abs(columns[:, np.newaxis] - columns)
    sensor = np.exp(-distance.astype(np.float64))
    return Model(A=[sensor / sensor.sum(axis=0)], B=list(walk.B), C=list(walk.C), policy_len=walk.policy_len)


def operations(ints: Any) -> list[int]:
    """The names of a plan's operations, of a model with one factor and one modality."""
    lengths = {plan.MOVE: 5, plan.VALUE: 5}
    at, names = int(ints[plan.OPERATIONS]), []
    for _ in range(int(ints[plan.NUM_OPERATIONS])):
        names.append(int(ints[at]))
        at += lengths[names[-1]]
    return names


def sgemm_fma_per_s(rows: int, inner: int, columns: int) -> float:
    """Of NumPy's float32 matrix product on one thread: in a process of its own, which can still choose that."""
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-c", _PROGRAM, str(rows), str(inner), str(min(columns, 100_000))]
    seconds = float(subprocess.run(command, env={**os.environ, **one}, capture_output=True, check=True).stdout)
    return rows * inner * min(columns, 100_000) / seconds
