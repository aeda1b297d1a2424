"""Occam's window: policies far less probable than the best are left out (SPM's spm_MDP_VB_X, zeta)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import naive_legacy as legacy
from beliefd.model import Model
from naive_maths import RTOL, L, Vector, softmax


def posterior(model: Model, x: Vector) -> tuple[Vector, float]:
    """softmax(x) over the policies whose x is within the window of the largest, or on its edge, and 0 for the others.

    And how near the nearest policy was to the other side of the edge.
    """
    if model.occam_window is None:
        return softmax(x), np.inf
    scale = max(1.0, abs(float(x.max())))
    edge = x.max() - model.occam_window - RTOL[model.dtype] * scale
    kept = np.where(x >= edge, x, -np.inf)
    return softmax(kept), float(np.abs(x - edge).min()) / scale


def log_probability(model: Model) -> Callable[[Vector], Vector]:
    """The logarithm of probabilities of which draws are made: with a window, what has none is never drawn."""
    log = L if model.profile == "pymdp" else legacy.ln

    def of(p: Vector) -> Vector:
        if model.occam_window is None:
            return log(p)
        return np.where(p > 0.0, log(p), -np.inf)

    return of
