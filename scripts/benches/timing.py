"""Times of repeated calls, and what is said of them."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np


def timed(call: Callable[[], object]) -> float:
    """Seconds, to a tenth of a microsecond."""
    started_s = time.perf_counter()
    call()
    return round(time.perf_counter() - started_s, 7)


def repeated(call: Callable[[], object], limit_s: float, least: int = 1, most: int = 100_000) -> list[float]:
    """Seconds of each call, until `limit_s` are over."""
    times_s: list[float] = []
    started_s = time.perf_counter()
    while len(times_s) < least or (len(times_s) < most and time.perf_counter() - started_s < limit_s):
        times_s.append(timed(call))
    return times_s


def in_turns(
    calls: Sequence[Callable[[], object]], limit_s: float, least: int = 10, block: int = 1
) -> list[list[float]]:
    """Seconds of several calls made in turns, until `limit_s` are over: one list per call, all of one length.

    A turn is `block` calls after one warm-up, so that each kind of call works as it does alone: with its own data in
    the caches, and its own processes awake.
    """
    times_s: list[list[float]] = [[] for _ in calls]
    started_s = time.perf_counter()
    for done in itertools.count():
        if done * block >= least and time.perf_counter() - started_s >= limit_s:
            return times_s
        for kept, call in zip(times_s, calls, strict=True):
            if block > 1:
                call()
            kept += [timed(call) for _ in range(block)]
    raise AssertionError("unreachable")


def ratio(numerators_s: Iterable[float], denominators_s: Iterable[float]) -> float:
    """The median of the ratios of what was measured in turns."""
    return statistics.median(a / b for a, b in zip(numerators_s, denominators_s, strict=True))


def percentiles(times_s: Sequence[float]) -> dict[str, float]:
    """p50, p99 and p99.9, in milliseconds."""
    p50, p99, p999 = (np.percentile(times_s, [50, 99, 99.9]) * 1e3).tolist()
    return {"p50_ms": p50, "p99_ms": p99, "p99.9_ms": p999}


def without_raw(report: Any) -> Any:
    """The report less every list of raw numbers: for reading."""
    if isinstance(report, dict):
        return {key: without_raw(value) for key, value in report.items() if key != "raw"}
    return [without_raw(entry) for entry in report] if isinstance(report, list) else report


def rounded(report: Any) -> Any:
    """The report with every number to six digits: the seventh is noise, and a file of them grows long."""
    if isinstance(report, dict):
        return {key: rounded(value) for key, value in report.items()}
    if isinstance(report, list):
        return [rounded(entry) for entry in report]
    return float(f"{report:.6g}") if isinstance(report, float) else report
