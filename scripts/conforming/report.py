"""All comparisons, feature by feature."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from beliefd.engine import jit
from benches.environments import versions_of
from conforming.features import FEATURES
from conforming.gaps import worst
from conforming.history import is_unstable, random_history
from conforming.oracle import from_oracle
from conforming.peers import from_peer
from models import changed
from provenance import provenance

PEERS = ("pymdp-1.0.4", "pymdp-0.0.7.1")
BOUNDS = {"float64": 1e-9, "float32": 1e-4, **dict.fromkeys(PEERS, 1e-9)}
"""What the gaps of a column stay under."""
DTYPES = ("float64", "float32")
AGENTS = 2
TICKS = 6
_CHUNK = 10
"""Models that a process does at a time."""


def compared(features: Sequence[str], peers: Sequence[str], models: int) -> dict[str, Any]:
    """The whole report: by feature and column, how many models and the largest difference of each output."""
    for dtype in DTYPES:
        jit.prepare(dtype)
    report: dict[str, Any] = {**provenance(), "features": {}}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        for feature in features:
            report["features"][feature] = {}
            for dtype in DTYPES:
                starts = range(0, models, _CHUNK)
                jobs = [(feature, dtype, start, min(start + _CHUNK, models)) for start in starts]
                gaps: dict[str, float] = {}
                excluded = 0
                for more, unstable in processes.map(oracle_gaps, jobs):
                    gaps = worst(gaps, more)
                    excluded += unstable
                report["features"][feature][dtype] = {"models": models, "excluded": excluded, "gaps": gaps}
            print(f"scripts/conformance: {feature}: {report['features'][feature]}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="bd-") as folder:
        for peer in peers:
            known = {name: FEATURES[name] for name in features if FEATURES[name].maker(peer) is not None}
            for feature, found in from_peer(peer, known, models, Path(folder)).items():
                report["features"][feature][peer] = found
    report["peer_versions"] = {peer: versions_of(peer) for peer in peers}
    return report


def oracle_gaps(job: tuple[str, str, int, int]) -> tuple[dict[str, float], int]:
    """The gaps of some models of a feature, and how many are excluded as unstable."""
    name, dtype, first, last = job
    feature = FEATURES[name]
    gaps: dict[str, float] = {}
    excluded = 0
    for n in range(first, last):
        rng = np.random.default_rng([sum(name.encode()), n])
        # Sharp ones and others take turns within every family of options that a maker chooses by n.
        model = changed(feature.oracle(rng, n // 4 % 2 == 1, n), dtype=dtype)
        history = random_history(rng, model, AGENTS, TICKS, feature.own)
        unstable = is_unstable(model, history, dtype, BOUNDS[dtype])
        found = None if unstable else from_oracle(model, history, n, feature.reduced)
        excluded += found is None
        gaps = worst(gaps, found or {})
    return gaps, excluded
