"""The value of policies: the terms of the negative expected free energy. One formula per function."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beliefd.model import Model
from naive_maths import (
    FLOOR,
    RTOL,
    L,
    Vector,
    contract,
    contract_rows,
    digamma,
    entropy,
    expected_observations,
    first_maximum,
    outer,
    predicted,
)

TERMS = ("utility", "info_gain", "novelty", "inductive")


def policy_terms(model: Model, q: list[Vector], policy: NDArray[np.int32], begun: int = 0) -> dict[str, float]:
    """What each term adds to the negative expected free energy of `policy`; zero for a term that is switched off.

    `begun` steps were taken already, for preferences that change over the steps.
    """
    terms = dict.fromkeys(TERMS, 0.0)
    now = q
    for t, action in enumerate(policy, begun):
        before, now = now, predicted(model, now, action)
        if model.use_utility:
            terms["utility"] += utility(model, now, t)
        if model.use_states_info_gain:
            terms["info_gain"] += information_gain(model, now)
        if model.use_param_info_gain:
            terms["novelty"] += novelty_of_A(model, now) + novelty_of_B(model, before, action, now)
        if model.use_inductive:
            terms["inductive"] += inductive_value(model, q, now)
    return terms


def sequence_terms(model: Model, q: Sequence[list[Vector]]) -> dict[str, float]:
    """The terms of a policy whose beliefs are known already: those of now and of each step to come.

    Preferences that change over the steps begin with those of now. The path to a goal is that of the beliefs of now.
    """
    terms = dict.fromkeys(TERMS, 0.0)
    for t, now in enumerate(q):
        if model.use_utility:
            terms["utility"] += utility(model, now, t)
        if model.use_states_info_gain:
            terms["info_gain"] += information_gain(model, now)
        if model.use_param_info_gain:
            terms["novelty"] += novelty_of_A(model, now)
        if model.use_inductive and t > 0:
            terms["inductive"] += inductive_value(model, q[0], now)
    return terms


def utility(model: Model, q: list[Vector], t: int) -> float:
    """sum_m qo_m . C_m, or C_m[t] where preferences change over the steps; legacy: of ln softmax(C_m)."""
    total = 0.0
    for m, (qo, C) in enumerate(zip(expected_observations(model, q), model.C, strict=True)):
        if model.C_dependencies[m]:
            total += utility_by_state(model, q, t, m)
            continue
        preference = C if C.ndim == 1 else C[t]
        if model.profile != "pymdp":
            e = np.exp(preference - preference.max())
            preference = np.log(e / e.sum() + 1e-16)
        total += float(qo @ preference)
    return total


def utility_by_state(model: Model, q: list[Vector], t: int, m: int) -> float:
    """The sum over observations o and states s of q(s) A[o, s] C[o, s], s those that C depends on among A's."""
    C, states = model.C[m], model.C_dependencies[m]
    preference = C if C.ndim == 1 + len(states) else C[t]
    if model.profile != "pymdp":
        e = np.exp(preference - preference.max(axis=0))
        preference = np.log(e / e.sum(axis=0) + 1e-16)
    total = 0.0
    for o in range(model.num_obs[m]):
        for s in np.ndindex(*model.A[m].shape[1:]):
            of = dict(zip(model.A_dependencies[m], s, strict=True))
            weight = np.prod([q[f][of[f]] for f in of])
            total += float(weight * model.A[m][(o, *s)] * preference[(o, *(of[f] for f in states))])
    return total


def information_gain(model: Model, q: list[Vector]) -> float:
    if model.profile != "pymdp":
        return joint_information_gain(model, q)
    return sum(
        float(entropy(qo)) - float(contract(entropy(A), factors, q))
        for qo, A, factors in zip(expected_observations(model, q), model.A, model.A_dependencies, strict=True)
    )


def joint_information_gain(model: Model, q: list[Vector]) -> float:
    """H(qo) - E_q[H(A)] of all modalities together, with the small numbers of SPM, for states above e^-16."""
    gain = 0.0
    qo: Vector | float = 0.0
    for states in np.ndindex(*model.num_states):
        weight = float(np.prod([q_f[s] for q_f, s in zip(q, states, strict=True)]))
        if weight > np.exp(-16):
            columns = [
                A[(slice(None), *(states[f] for f in factors))]
                for A, factors in zip(model.A, model.A_dependencies, strict=True)
            ]
            po = outer(columns).ravel()
            qo = qo + weight * po
            gain += weight * float(po @ np.log(po + np.exp(-16)))
    return gain - float(qo @ np.log(qo + 1e-16))


def dirichlet_information(a: Vector, profile: str) -> Vector:
    """W, per count. v1: -(ln a0 - ln a + psi(a + 1) - psi(a0 + 1)), a0 the sum of the column; legacy: 1/a0 - 1/a."""
    if profile != "pymdp":
        safe = a + 1e-16
        return 1.0 / safe.sum(axis=0) - 1.0 / safe
    safe = np.maximum(a, FLOOR)
    total = safe.sum(axis=0)
    psi = np.vectorize(digamma, otypes=[np.float64])
    return -(np.log(total) - np.log(safe) + psi(safe + 1.0) - psi(total + 1.0))


def novelty_of_A(model: Model, q: list[Vector]) -> float:  # noqa: N802
    """-sum_m qo_m . (W(pA_m), where pA_m > 0) . q"""
    total = 0.0
    for pA, qo, factors in zip(model.pA or (), expected_observations(model, q), model.A_dependencies, strict=False):
        if pA is not None:
            W = dirichlet_information(pA, model.profile) * (pA > 0.0)
            total -= float(qo @ contract_rows(W, factors, q))
    return total


def novelty_of_B(model: Model, q: list[Vector], action: Sequence[int], following: list[Vector]) -> float:  # noqa: N802
    """-sum_f q'_f . (W(pB_f under the action), where pB_f > 0) . q"""
    total = 0.0
    for f, pB in enumerate(model.pB or ()):
        if pB is not None:
            slab = pB[(Ellipsis, *(action[c] for c in model.B_action_dependencies[f]))]
            W = dirichlet_information(slab, model.profile) * (slab > 0.0)
            total -= float(following[f] @ contract_rows(W, model.B_dependencies[f], q))
    return total


def goal_distances(model: Model, f: int) -> Vector:
    """I_0 = H; I_n = [R^T I_{n-1} > 0], R[s', s] = whether B > threshold for any action and any other parents.

    Returns
    -------
    ndarray, shape (inductive_depth, num_states[f])
        1 where the goal can be reached in exactly n steps.
    """
    B = model.B[f] > model.inductive_threshold
    parents = model.B_dependencies[f]
    reachable = np.zeros((model.num_states[f], model.num_states[f]), dtype=bool)
    for following in range(model.num_states[f]):
        for state in range(model.num_states[f]):
            index = tuple(state if p == f else slice(None) for p in parents)
            reachable[following, state] = B[(following, *index)].any()
    rows = [model.H[f]]
    for _ in range(model.inductive_depth - 1):
        rows.append((reachable.T @ rows[-1] > 0.0).astype(np.float64))
    return np.array(rows)


def inductive_value(model: Model, q: list[Vector], following: list[Vector]) -> float:
    """ln(epsilon) sum_s (1 - I_m(s)) q'(s), m = max(first n with I_n(argmax q) = 1, minus 1, 0); 0 without a path.

    argmax is the first state within the tolerance of the largest belief, so that ties do not hang on rounding.
    """
    total = 0.0
    for f, (q_f, following_f) in enumerate(zip(q, following, strict=True)):
        rows = goal_distances(model, f)
        steps = np.flatnonzero(rows[:, first_maximum(q_f, RTOL[model.dtype])])
        if len(steps):
            m = max(int(steps[0]) - 1, 0)
            total += float(L(np.array(model.inductive_epsilon)) * ((1.0 - rows[m]) @ following_f))
    return total
