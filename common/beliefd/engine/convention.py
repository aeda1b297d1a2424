"""The parts of a model as its profile takes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from beliefd.engine.rowmath import RAISE
from beliefd.engine.vectormath import FLOOR

Reals = NDArray[np.float64]


def log_floor(array: Reals) -> Reals:
    return np.log(np.maximum(array, FLOOR))


def raised_log(array: Reals) -> Reals:
    return np.log(array + RAISE)


def log_habits(E: Reals, profile: str) -> Reals:
    """Ln E."""
    return log_floor(E) if profile == "pymdp" else raised_log(E)


def preferences(C: Reals, profile: str, axis: int = -1) -> Reals:
    """C, observations along an axis, as expected observations are weighed by it."""
    if profile == "pymdp":
        return C
    powers = np.exp(C - C.max(axis=axis, keepdims=True))
    return raised_log(powers / powers.sum(axis=axis, keepdims=True))
