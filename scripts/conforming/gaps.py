"""How far two results are apart."""

from __future__ import annotations

from typing import Any

import numpy as np


def gap(found: Any, expected: Any) -> float:
    """The largest difference: absolute up to 1, relative above."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    difference = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    # What is not a number differs.
    return float(np.where(np.isnan(difference), np.inf, difference).max(initial=0.0))


def worst(gaps: dict[str, float], more: dict[str, float]) -> dict[str, float]:
    """The larger of each."""
    return {name: max(gaps.get(name, 0.0), more.get(name, 0.0)) for name in gaps | more}
