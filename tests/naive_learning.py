"""Learning: what an observation adds to Dirichlet counts. One formula per function."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from beliefd.model import Model
from naive_maths import Observation, Vector, as_distribution, outer


def moved(counts: Vector, increment: Vector, probability: Vector, lr: float, fr: float, keep_zeros: bool) -> Vector:
    """A <- fr a + lr increment; no increment where the probability is 0 and zeros are kept.

    Of a count of more than 1e-30 at least that is left.
    """
    left = np.maximum(fr * counts, np.minimum(counts, 1e-30))
    return left + lr * (increment * (probability > 0.0) if keep_zeros else increment)


def mean(counts: Vector) -> Vector:
    """A divided by the sum of its column along the first axis."""
    return counts / counts.sum(axis=0)


def likelihood_increment(model: Model, m: int, observations: Sequence[Observation], q: list[list[Vector]]) -> Vector:
    """sum_t o_m (x) the beliefs about the parents of m at t"""
    total = np.zeros(model.A[m].shape)
    for observation, beliefs in zip(observations, q, strict=True):
        o = as_distribution(observation[m], model.num_obs[m])
        total += outer([o, *(beliefs[f] for f in model.A_dependencies[m])])
    return total


def transition_increment(model: Model, f: int, joints: Sequence[Vector], actions: Sequence[Sequence[int]]) -> Vector:
    """sum_t joint_t, in the slab of the action that was taken at t"""
    total = np.zeros(model.B[f].shape)
    for joint, action in zip(joints, actions, strict=True):
        total[(Ellipsis, *(action[c] for c in model.B_action_dependencies[f]))] += joint
    return total


def independent_joint(model: Model, f: int, before: list[Vector], now: list[Vector]) -> Vector:
    """q_f at t + 1 (x) the beliefs about the parents of f at t"""
    return outer([now[f], *(before[p] for p in model.B_dependencies[f])])


def log_beta(counts: Vector) -> Vector:
    """The logarithm of the multivariate beta function, per column; a count of 0 is an outcome that cannot be."""
    lgamma = np.vectorize(lambda count: math.lgamma(count) if count > 0.0 else 0.0, otypes=[np.float64])
    return lgamma(counts).sum(axis=0) - lgamma(counts.sum(axis=0))


def reduction(posterior: Vector, prior: Vector, reduced_prior: Vector) -> tuple[Vector, Vector]:
    """Bayesian model reduction, per column: what the evidence would gain or lose under another prior.

    F = lnB(q) + lnB(r) - lnB(p) - lnB(s) with s = q + r - p. Below zero the reduced prior explains the data better.

    Returns
    -------
    tuple of ndarray
        F, and s, the counts that would have been learned.
    """
    reduced = posterior + reduced_prior - prior
    return log_beta(posterior) + log_beta(reduced_prior) - log_beta(prior) - log_beta(reduced), reduced
