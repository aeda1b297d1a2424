"""The loops of `beliefd.engine.rowmath` work in registers: what does not fit would go over the stack, for every row.

That is slow above all where the stack of the process does not begin at a cache line.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from llvmlite import binding

from beliefd.engine.jit import inline
from beliefd.engine.plan import LANES
from beliefd.engine.rowmath import (
    add_divergence,
    add_entropy,
    add_log_share,
    add_negentropy,
    add_weighed_logs,
    exp_rows,
    log_rows,
    softmax_rows,
    write_raised_logs,
)

MOST_MOVES = 8
"""What a function does with arrays that it is given, outside of its loops."""


@inline
def _log_rows(work):
    log_rows(work, 0, 2, len(work) - 3)


@inline
def _add_log_share(work):
    add_log_share(work, 0, 2, work.dtype.type(0.5), 4, len(work) - 5)


@inline
def _add_entropy(work):
    add_entropy(work, 0, 1, len(work) - 1)


@inline
def _add_divergence(work):
    add_divergence(work, 0, 1, 2, len(work) - 3)


@inline
def _add_weighed_logs(work):
    add_weighed_logs(work, 0, 1, 2, 1, len(work) - 3)


@inline
def _add_negentropy(work):
    add_negentropy(work, 0, 1, 1, len(work) - 1)


@inline
def _write_raised_logs(work):
    write_raised_logs(work, 0, 2, 1, len(work) - 3, work.dtype.type(1e-16))


@inline
def _softmax_rows(work):
    softmax_rows(work, 0, 0, 0, len(work))


@inline
def _exp_rows(work):
    exp_rows(work, 0, len(work) - 1, len(work) - 1, work.dtype.type(2))


HELPERS = [
    _log_rows,
    _add_log_share,
    _add_entropy,
    _add_divergence,
    _add_weighed_logs,
    _add_negentropy,
    _write_raised_logs,
    _softmax_rows,
    _exp_rows,
]


@pytest.mark.skipif("avx512f" not in binding.get_host_cpu_features(), reason="with AVX-512 there are 32 registers")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("helper", HELPERS, ids=lambda helper: helper.__name__.strip("_"))
def test_no_vector_goes_over_the_stack(helper, dtype: str) -> None:
    helper(np.ones((8, LANES), dtype))
    code = list(helper.inspect_asm().values())[-1]
    moves = [line for line in code.splitlines() if "%zmm" in line and re.search(r"\(%r[sb]p\)", line)]
    moves = [line for line in moves if "vbroadcast" not in line]  # constants, from wherever
    assert len(moves) <= MOST_MOVES, moves[:20]
