"""Beliefs about states: fixed point iteration, message passing over a window, smoothing. One formula per function.

A window is the last steps, oldest first: `observations[t]` and the belief `q[t]` of every step, and `actions[t]`
between step t and step t + 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import naive_legacy as legacy
from beliefd.model import Model
from naive_maths import FLOOR, L, Observation, Vector, contract, contract_rows, is_missing, softmax, transition

Beliefs = list[Vector]
Actions = Sequence[Sequence[int]]


def log_likelihood(A: Vector, observation: int | Vector | None) -> Vector:
    """l_m(s) = sum_o o_m(o) L(A_m[o, s]); zeros where nothing was observed."""
    if is_missing(observation):
        return np.zeros(A.shape[1:])
    if np.ndim(observation) == 0:
        return L(A)[observation]
    return np.einsum("o,o...->...", np.asarray(observation, dtype=np.float64), L(A))


def log_likelihoods(model: Model, observation: Observation) -> list[Vector]:
    return [log_likelihood(A, o) for A, o in zip(model.A, observation, strict=True)]


def marginal_log_likelihood(model: Model, likelihoods: list[Vector], q: Beliefs, f: int) -> Vector:
    """Sum over m touching f of E_{q without f}[l_m]."""
    total = np.zeros(model.num_states[f])
    for l_m, factors in zip(likelihoods, model.A_dependencies, strict=True):
        if f in factors:
            total = total + contract(l_m, factors, q, keep=f)
    return total


def uniform_beliefs(model: Model) -> Beliefs:
    return [np.full(n, 1.0 / n) for n in model.num_states]


def infer_states(model: Model, likelihoods: list[Vector], prior: Beliefs) -> Beliefs:
    """q_f <- softmax(sum over m touching f of E_{q without f}[l_m] + L(prior_f)), all factors at once."""
    q = uniform_beliefs(model)
    sweeps = 1 if len(q) == 1 else model.num_iter
    for _ in range(sweeps):
        q = [softmax(marginal_log_likelihood(model, likelihoods, q, f) + L(prior_f)) for f, prior_f in enumerate(prior)]
    return q


def variational_free_energy(model: Model, q: Beliefs, likelihoods: list[Vector], prior: Beliefs) -> float:
    """sum_f q_f . (L(q_f) - L(prior_f)) - sum_m E_q[l_m]"""
    complexity = sum(float(q_f @ (L(q_f) - L(p_f))) for q_f, p_f in zip(q, prior, strict=True))
    return complexity - accuracy(model, q, likelihoods)


def accuracy(model: Model, q: Beliefs, likelihoods: list[Vector]) -> float:
    """sum_m E_q[l_m]"""
    return sum(float(contract(l_m, factors, q)) for l_m, factors in zip(likelihoods, model.A_dependencies, strict=True))


def infer_window(model: Model, observations: Sequence[Observation], actions: Actions, prior: Beliefs) -> list[Beliefs]:
    """q_t <- softmax(lnA_t + forward_t + backward_t) for all steps and factors at once, `num_iter` times."""
    q = [uniform_beliefs(model) for _ in observations]
    forward, backward = (mmp_forward, mmp_backward) if model.inference_algo == "mmp" else (vmp_forward, vmp_backward)
    for _ in range(model.num_iter):
        q = [
            [
                softmax(
                    said_of(model, observations[t], q[t], f)
                    + forward(model, q, actions, prior, t, f)
                    + backward(model, q, actions, t, f)
                )
                for f in range(len(model.B))
            ]
            for t in range(len(q))
        ]
    return q


def said_of(model: Model, observation: Observation, q: Beliefs, f: int) -> Vector:
    """What the observation says of factor f, averaged over the others; all modalities at once as the profile has it."""
    if model.profile != "pymdp":
        return np.asarray(legacy.expected(legacy.ln(legacy.joint_likelihood(model, observation)), q, keep=f))
    return marginal_log_likelihood(model, log_likelihoods(model, observation), q, f)


def log_of(model: Model, p: Vector) -> Vector:
    return L(p) if model.profile == "pymdp" else np.asarray(legacy.ln(p))


def mmp_forward(model: Model, q: list[Beliefs], actions: Actions, prior: Beliefs, t: int, f: int) -> Vector:
    """L(B q_{t-1}), or L(prior) at the first step; halved except at the last step."""
    message = (
        L(prior[f])
        if t == 0
        else L(contract_rows(transition(model, f, actions[t - 1]), model.B_dependencies[f], q[t - 1]))
    )
    return message if t == len(q) - 1 else 0.5 * message


def mmp_backward(model: Model, q: list[Beliefs], actions: Actions, t: int, f: int) -> Vector:
    """1/2 L(B~^T q_{t+1}) summed over the factors that depend on f; B~ is B normalised over the state of f at t."""
    total = np.zeros(model.num_states[f])
    if t == len(q) - 1:
        return total
    for child, parents in enumerate(model.B_dependencies):
        if f in parents:
            B = contract_rows(transition(model, child, actions[t]), parents, q[t], keep=f)
            normalised = B / np.maximum(B.sum(axis=1, keepdims=True), FLOOR)
            total += 0.5 * L(q[t + 1][child] @ normalised)
    return total


def vmp_forward(model: Model, q: list[Beliefs], actions: Actions, prior: Beliefs, t: int, f: int) -> Vector:
    """E_{q_{t-1}}[L(B)], or L(prior) at the first step."""
    if t == 0:
        return log_of(model, prior[f])
    return contract_rows(log_of(model, transition(model, f, actions[t - 1])), model.B_dependencies[f], q[t - 1])


def vmp_backward(model: Model, q: list[Beliefs], actions: Actions, t: int, f: int) -> Vector:
    """L(B)^T q_{t+1} summed over the factors that depend on f; their other parents are averaged over q_t."""
    total = np.zeros(model.num_states[f])
    if t == len(q) - 1:
        return total
    for child, parents in enumerate(model.B_dependencies):
        if f in parents:
            total += q[t + 1][child] @ contract_rows(
                log_of(model, transition(model, child, actions[t])), parents, q[t], keep=f
            )
    return total


def window_accuracy(model: Model, q: Beliefs, observation: Observation) -> float:
    if model.profile != "pymdp":
        return float(legacy.expected(legacy.ln(legacy.joint_likelihood(model, observation)), q))
    return accuracy(model, q, log_likelihoods(model, observation))


def window_free_energy(
    model: Model,
    q: list[Beliefs],
    observations: Sequence[Observation],
    actions: Actions,
    prior: Beliefs,
) -> float:
    """Sum over t of sum_f q_f . L(q_f) - E[l] - E[ln prior]; the prior is L(D) at the first step, then E[L(B)]."""
    total = 0.0
    for t, beliefs in enumerate(q):
        total -= window_accuracy(model, beliefs, observations[t])
        for f, q_f in enumerate(beliefs):
            total += float(q_f @ (log_of(model, q_f) - vmp_forward(model, q, actions, prior, t, f)))
    return total


def smoothed(model: Model, filtered: list[Beliefs], actions: Actions) -> tuple[list[Beliefs], list[Beliefs]]:
    """The beliefs of every step given all observations of the window, and the joints of neighbours.

    Backward from the last step: joint_t[s', s] = B[s', s] q_t[s] / (B q_t)[s'] smooth_{t+1}[s'], and
    smooth_t[s] = sum over s' of it. Every factor depends on itself alone. What cannot be reached, B q_t = 0, adds
    nothing. "exact" has a floor under B q_t, and makes up for what is lost by it: there smooth_t is normalised, but for
    what is as good as nothing, 2^-104. Nor is anything divided by what is not above that.
    """
    exact = model.inference_algo == "exact"
    smooth = [filtered[-1]]
    joints: list[Beliefs] = []
    for q, action in zip(reversed(filtered[:-1]), reversed(actions), strict=True):
        joint = []
        for f, q_f in enumerate(q):
            B = transition(model, f, action)
            reached = B @ q_f
            reached = np.maximum(reached, FLOOR) if exact else np.where(reached > FLOOR**2, reached, FLOOR)
            joint.append(B * q_f * (smooth[0][f] / reached)[:, np.newaxis])
        left = [j.sum(axis=0) for j in joint]
        smooth.insert(0, [s / max(s.sum(), FLOOR**2) for s in left] if exact else left)
        joints.insert(0, joint)
    return smooth, joints
