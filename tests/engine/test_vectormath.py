"""The vectorised logarithm and exponential against NumPy in float64, over the whole domain."""

from __future__ import annotations

import numpy as np
import pytest

from beliefd.engine.jit import inline
from beliefd.engine.plan import LANES
from beliefd.engine.rowmath import exp_rows, inform_rows, log_rows
from beliefd.engine.vectormath import FLOOR, digamma_gap
from naive_maths import digamma


@inline
def _log_rows(work):
    log_rows(work, 0, 0, len(work))


@inline
def _inform_rows(work):
    for first in range(0, len(work), 2):
        inform_rows(work, first, 1, 2)


@inline
def _exp_rows(work, largest):
    exp_rows(work, 0, len(work) - 1, largest, work.dtype.type(1))


def log_floor(x):
    rows = np.ones((-(-x.size // LANES), LANES), x.dtype)
    rows.reshape(-1)[: x.size] = x
    _log_rows(rows)
    return rows.reshape(-1)[: x.size]


def exp(x):
    rows = np.zeros((-(-x.size // LANES) + 1, LANES), x.dtype)
    rows.reshape(-1)[: x.size] = x
    _exp_rows(rows, len(rows) - 1)
    return rows.reshape(-1)[: x.size]


ALLOWED = {"float32": (5e-7, 3e-7), "float64": (1e-14, 1e-14)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_is_exact_to_the_stated_error(dtype: str) -> None:
    near_one = 1.0 + np.linspace(-1e-3, 1e-3, 20_001)
    x = np.concatenate([np.exp(np.linspace(np.log(FLOOR), np.log(1e3), 200_000)), near_one, [1.0, 0.5, 2.0]])
    x = x.astype(dtype)
    found = log_floor(x)
    expected = np.log(x.astype(np.float64))
    error = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    assert error.max() <= ALLOWED[dtype][0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_floor_holds_at_the_floor(dtype: str) -> None:
    x = np.array([0.0, 1e-30, FLOOR / 2, FLOOR], dtype=dtype)
    found = log_floor(x)
    assert (found == found[-1]).all()
    assert found[0] == pytest.approx(np.log(2.0**-52), rel=1e-6)


@pytest.mark.parametrize(("dtype", "low", "high"), [("float32", -87.3, 88.0), ("float64", -708.0, 709.0)])
def test_exp_is_exact_to_the_stated_error(dtype: str, low: float, high: float) -> None:
    x = np.concatenate([np.linspace(low, high, 200_000), np.linspace(-1.0, 1.0, 50_001)]).astype(dtype)
    found = exp(x)
    expected = np.exp(x.astype(np.float64))
    assert (np.abs(found - expected) / expected).max() <= ALLOWED[dtype][1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exp_is_zero_far_below_and_one_at_zero(dtype: str) -> None:
    x = np.array([-1e4, -1e30, 0.0], dtype=dtype)
    found = exp(x)
    assert found.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 1e-6), ("float64", 2e-14)])
def test_information_of_counts_of_any_size(dtype: str, allowed: float) -> None:
    rng = np.random.default_rng(1)
    counts = np.exp(rng.uniform(np.log(1e-15), np.log(1e12), (4_000, LANES))).astype(dtype)
    counts[rng.random(counts.shape) < 0.05] = 0.0
    found = counts.copy()
    _inform_rows(found)
    columns = counts.astype(np.float64).reshape(-1, 2, LANES)
    psi = np.vectorize(digamma)
    above = np.maximum(columns, FLOOR)
    total = above.sum(axis=1, keepdims=True)
    gap = psi(above + 1) - np.log(above)
    expected = np.where(columns > 0.0, gap - psi(total + 1) + np.log(total), 0.0)
    error = np.abs(found.reshape(columns.shape) - expected) / np.maximum(1.0, gap)
    assert error.max() <= allowed
    assert (np.abs(digamma_gap(above) - gap) / np.maximum(1.0, gap)).max() <= 1e-14
