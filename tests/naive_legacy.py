"""The conventions of pymdp 0.0.7 and SPM: logarithms of x + 1e-16, one joint likelihood, policy-conditioned beliefs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.model import Model
from naive_maths import (
    Observation,
    Vector,
    as_distribution,
    contract,
    contract_rows,
    is_missing,
    predicted,
    softmax,
    transition,
)

Beliefs = list[Vector]

TOLERANCE = 1e-3
TIED = 1e-8
TAU = 0.25


def ln(x: Any) -> Any:
    return np.log(np.asarray(x) + 1e-16)


def joint_likelihood(model: Model, observation: Observation) -> Vector:
    """prod_m sum_o o_m(o) A_m[o, s], over all factors; a missing observation counts as 1."""
    joint = np.ones(model.num_states)
    for o, A, factors in zip(observation, model.A, model.A_dependencies, strict=True):
        if not is_missing(o):
            column = np.einsum("o,o...->...", as_distribution(o, len(A)), A)
            operands: list[Any] = [joint, list(range(joint.ndim)), column, list(factors), list(range(joint.ndim))]
            joint = np.einsum(*operands)
    return joint


def expected(tensor: Vector, q: Beliefs, keep: int | None = None) -> Vector:
    return contract(tensor, range(len(q)), q, keep)


def free_energy(q: Beliefs, prior: Beliefs, likelihood: Vector | None = None) -> float:
    """sum_f q_f . (ln q_f - ln prior_f) - E_q[ln P(o | s)]"""
    total = sum(float(q_f @ (ln(q_f) - ln(p_f))) for q_f, p_f in zip(q, prior, strict=True))
    return total if likelihood is None else total - float(expected(ln(likelihood), q))


def infer_states(model: Model, observation: Observation, prior: Beliefs) -> Beliefs:
    """Fixed point iteration on the joint likelihood; legacy stops where free energy changes by less than 1e-3."""
    likelihood = joint_likelihood(model, observation)
    q = [np.full(n, 1.0 / n) for n in model.num_states]
    before = free_energy(q, prior)
    for _ in range(1 if len(q) == 1 else model.num_iter):
        q = [softmax(expected(ln(likelihood), q, keep=f) + ln(p_f)) for f, p_f in enumerate(prior)]
        now = free_energy(q, prior, likelihood)
        if model.profile == "legacy" and abs(before - now) < TOLERANCE:
            break
        before = now
    return q


def infer_policy_states(
    model: Model,
    observations: Sequence[Observation],
    actions: Sequence[Sequence[int]],
    policy: NDArray[np.int32],
    prior: Beliefs,
) -> tuple[list[Beliefs], float]:
    """Marginal message passing over past and future under one policy, one step and one factor after another.

    ln q += tau (err - mean err), err = c lnA + past + future - c ln q; c is 2, or 1 from the last step but one of what
    the observations and the policy span together. F is the sum of q . err / 2 of the last sweep, q before its update,
    with (Nf - 1)/Nf lnA subtracted within the bracket at the steps between the first and the last.
    """
    taken = [*actions, *policy]
    steps = len(observations) + len(policy)
    cutoff = steps - 2
    likelihoods = [joint_likelihood(model, observation) for observation in observations]
    q = [[np.full(n, 1.0 / n) for n in model.num_states] for _ in range(steps)]
    F = 0.0
    for _ in range(model.num_iter):
        F = 0.0
        for t in range(steps):
            c = 1.0 if t >= cutoff else 2.0
            for f, n in enumerate(model.num_states):
                lnA = ln(expected(likelihoods[t], q[t], keep=f)) if t < len(observations) else np.zeros(n)
                past = ln(prior[f]) if t == 0 else ln(predicted(model, q[t - 1], taken[t - 1])[f])
                future = np.zeros(n) if t >= cutoff else from_next(model, f, q[t], q[t + 1], taken[t])
                err = c * lnA + past + future - c * ln(q[t][f])
                interior = 0.0 if t in (0, steps - 1) else (len(model.B) - 1) / len(model.B)
                F += float(q[t][f] @ (0.5 * (err - interior * lnA)))
                q[t][f] = softmax(ln(q[t][f]) + TAU * (err - err.mean()))
    return q, F


def from_next(model: Model, f: int, q: Beliefs, following: Beliefs, action: Sequence[int]) -> Vector:
    """The logarithm of what the next beliefs say of factor f, summed over the factors that depend on it.

    Their other parents are averaged over the beliefs of now.
    """
    total = np.zeros(model.num_states[f])
    for child, parents in enumerate(model.B_dependencies):
        if f in parents:
            B = contract_rows(transition(model, child, action), parents, q, keep=f)
            total += ln(backwards(B) @ following[child])
    return total


def backwards(B: Vector) -> Vector:
    """B^T, its columns normalised."""
    transposed = B.T + 1e-16
    return transposed / transposed.sum(axis=0)


def choose_tied(p: Vector, rtol: float, draw: float) -> tuple[int, list[int]]:
    """One of the indices that tie with the largest, as `draw` has it, and all of them."""
    tied = np.flatnonzero(p >= p.max() - max(TIED, rtol * float(p.max()))).tolist()
    return tied[int(draw * len(tied))], tied


def averaged(beliefs: Sequence[Beliefs], q_pi: Vector) -> Beliefs:
    """The average of the beliefs under each policy, weighted by its probability."""
    return [sum(p * q[f] for p, q in zip(q_pi, beliefs, strict=True)) for f in range(len(beliefs[0]))]
