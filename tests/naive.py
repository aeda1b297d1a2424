"""A slow, obvious agent in NumPy float64: the oracle that the kernels are held against.

One agent, loops, no tricks. Every function is one formula. Conventions where literature and libraries differ:

- L(x) = ln max(x, 2^-52), so L(0) = -36.0437. The floor is the epsilon of float64 to its last digit: 2.22e-16 in
  its place moves L(0) by 2e-4.
- Several factors: fixed point iteration in Jacobi form from uniform beliefs, exactly `num_iter` sweeps.
  One factor: the one exact pass.
- G is minus the expected free energy, so larger is better.

Formulas: Parr, Pezzulo, Friston (2022), appendix B; Heins et al. (2022). Random numbers: Salmon et al. (2011),
Parallel random numbers: as easy as 1, 2, 3 (Philox4x32-10).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.model import Model

Vector = NDArray[np.float64]
Observation = Sequence["int | Vector | None"]

FLOOR = 2.0**-52
RTOL = {"float32": 1e-5, "float64": 1e-10}
ACTION = 1


@dataclass(frozen=True)
class NaiveStep:
    """What one step of the oracle gives.

    `action` is the agent's own choice, whatever was forced. `ties` holds every action that rounding within the
    tolerance could choose instead, `action` among them. `prior` is the prior that inference started from.
    """

    beliefs: list[Vector]
    q_pi: Vector
    neg_efe: Vector
    vfe: float
    action: tuple[int, ...]
    ties: frozenset[tuple[int, ...]]
    prior: list[Vector]


class NaiveAgent:
    """One agent. `tick` is 0 before the first step."""

    def __init__(self, model: Model, seed: int = 0, agent: int = 0) -> None:
        self.model = model
        self.seed = seed
        self.agent = agent
        self.tick = 0
        self.beliefs: list[Vector] = list(model.D)
        self.kept: tuple[int, ...] = (0,) * len(model.B)

    def step(
        self,
        observation: Observation,
        reset: bool = False,
        executed: Sequence[int] | None = None,
        force: Sequence[int] | None = None,
    ) -> NaiveStep:
        """One tick.

        `observation` has one entry per modality: an index, -1 or None for a missing one, or a probability vector.
        `executed` replaces the kept action of the last tick, except where it is -1; `force` is kept in place of this
        tick's own choice.
        """
        self.tick += 1
        if self.tick == 1 or reset:
            prior = list(self.model.D)
        else:
            told = executed if executed is not None else [-1] * len(self.kept)
            last = [kept if u < 0 else u for u, kept in zip(told, self.kept, strict=True)]
            prior = predicted(self.model, self.beliefs, last)
        log_likelihoods = [log_likelihood(A, o) for A, o in zip(self.model.A, observation, strict=True)]
        self.beliefs = infer_states(self.model, log_likelihoods, prior)
        vfe = variational_free_energy(self.model, self.beliefs, log_likelihoods, prior)
        neg_efe = np.array([negative_expected_free_energy(self.model, self.beliefs, p) for p in self.model.policies])
        x = self.model.gamma * neg_efe + L(self.model.E)
        q_pi = softmax(x)
        action, ties = select_action(self.model, x, q_pi, self.seed, self.agent, self.tick)
        self.kept = tuple(int(u) for u in (action if force is None else force))
        return NaiveStep(self.beliefs, q_pi, neg_efe, vfe, action, ties, prior)


def L(x: Vector) -> Vector:  # noqa: N802 - its name in the formulas
    return np.log(np.maximum(x, FLOOR))


def softmax(x: Vector) -> Vector:
    e = np.exp(x - x.max())
    return e / e.sum()


def entropy(p: Vector) -> Vector:
    """Along the first axis."""
    return -(p * L(p)).sum(axis=0)


def contract(tensor: Vector, factors: Sequence[int], q: list[Vector], keep: int | None = None) -> Vector:
    """The sum of `tensor` over its axes, axis i weighted by the belief about factor `factors[i]`.

    The axis of factor `keep` stays.
    """
    operands: list[Any] = [tensor, list(range(len(factors)))]
    for axis, f in enumerate(factors):
        if f != keep:
            operands += [q[f], [axis]]
    output = [axis for axis, f in enumerate(factors) if f == keep]
    return np.asarray(np.einsum(*operands, output))


def log_likelihood(A: Vector, observation: int | Vector | None) -> Vector:
    """l_m(s) = sum_o o_m(o) L(A_m[o, s]); zeros where nothing was observed."""
    if observation is None or (np.ndim(observation) == 0 and observation == -1):
        return np.zeros(A.shape[1:])
    if np.ndim(observation) == 0:
        return L(A)[observation]
    return np.einsum("o,o...->...", np.asarray(observation, dtype=np.float64), L(A))


def infer_states(model: Model, log_likelihoods: list[Vector], prior: list[Vector]) -> list[Vector]:
    """q_f <- softmax(sum over m touching f of E_{q without f}[l_m] + L(prior_f)), all factors at once."""
    q = [np.full(n, 1.0 / n) for n in model.num_states]
    sweeps = 1 if len(q) == 1 else model.num_iter
    for _ in range(sweeps):
        logits = [L(p) for p in prior]
        for l_m, factors in zip(log_likelihoods, model.A_dependencies, strict=True):
            for f in factors:
                logits[f] = logits[f] + contract(l_m, factors, q, keep=f)
        q = [softmax(x) for x in logits]
    return q


def variational_free_energy(model: Model, q: list[Vector], log_likelihoods: list[Vector], prior: list[Vector]) -> float:
    """sum_f q_f . (L(q_f) - L(prior_f)) - sum_m E_q[l_m]"""
    complexity = sum(float(q_f @ (L(q_f) - L(p_f))) for q_f, p_f in zip(q, prior, strict=True))
    accuracy = sum(
        float(contract(l_m, factors, q)) for l_m, factors in zip(log_likelihoods, model.A_dependencies, strict=True)
    )
    return complexity - accuracy


def predicted(model: Model, q: list[Vector], action: Sequence[int]) -> list[Vector]:
    """q'_f[s'] = sum over parents of B_f[s', parents, u_f] times the product of the parents' beliefs."""
    following = []
    for f, (B, parents) in enumerate(zip(model.B, model.B_dependencies, strict=True)):
        given_action = B[..., action[f]]
        following.append(np.array([float(contract(row, parents, q)) for row in given_action]))
    return following


def negative_expected_free_energy(model: Model, q: list[Vector], policy: NDArray[np.int32]) -> float:
    """Utility qo.C and information gain H(qo) - E_q[H(A)], summed over modalities and the steps of `policy`."""
    total = 0.0
    for action in policy:
        q = predicted(model, q, action)
        for A, C, factors in zip(model.A, model.C, model.A_dependencies, strict=True):
            qo = np.array([float(contract(row, factors, q)) for row in A])
            if model.use_utility:
                total += float(qo @ C)
            if model.use_states_info_gain:
                total += float(entropy(qo)) - float(contract(entropy(A), factors, q))
    return total


def select_action(
    model: Model, x: Vector, q_pi: Vector, seed: int, agent: int, tick: int
) -> tuple[tuple[int, ...], frozenset[tuple[int, ...]]]:
    """The action, and the set of actions that rounding could turn it into."""
    tol = RTOL[model.dtype] * max(1.0, abs(x.max()))
    if model.sampling_mode == "full":
        draw = uniform(seed, agent, tick, ACTION, 0)
        best, tied = choose(model, x, L(q_pi), tol, draw)
        first_actions = [tuple(int(u) for u in policy[0]) for policy in model.policies]
        return first_actions[best], frozenset(first_actions[p] for p in tied)
    action = [0] * len(model.B)
    options = [[0]] * len(model.B)
    for f in model.control_fac_idx:
        p_f = np.zeros(model.num_controls[f])
        for p, policy in enumerate(model.policies):
            p_f[policy[0, f]] += q_pi[p]
        draw = uniform(seed, agent, tick, ACTION, f)
        action[f], options[f] = choose(model, L(p_f), L(p_f), tol, draw)
    return tuple(action), frozenset(itertools.product(*options))


def choose(model: Model, score: Vector, ln_p: Vector, tol: float, draw: float) -> tuple[int, list[int]]:
    """The index chosen, and those within the tolerance.

    Deterministic: the first index whose score is within `tol` of the best. Stochastic: the first index at which the
    running sum of the weights passes `draw` times their sum.
    """
    if model.action_selection == "deterministic":
        tied = [i for i, s in enumerate(score) if s >= score.max() - tol]
        return tied[0], tied
    weights = np.exp(model.alpha * (ln_p - ln_p.max()))
    total = float(weights.sum())
    target = draw * total
    # An error of tol in every logit moves the running sums, relative to their total, by about alpha * tol.
    slack = max(1.0, model.alpha) * tol * total
    chosen, near, running = None, [], 0.0
    for i, w in enumerate(weights):
        if w > 0.0 and running - slack <= target <= running + w + slack:
            near.append(i)
        running += w
        if chosen is None and running > target:
            chosen = i
    if chosen is None:
        chosen = int(np.flatnonzero(weights > 0.0)[-1])
    return chosen, sorted({chosen, *near})


def philox4x32(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Ten rounds of Philox4x32; four counter words and two key words in, four words out, all of 32 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0 = 0xD2511F53 * c0
        product1 = 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (product1 >> 32) ^ c1 ^ k0,
            product1 & 0xFFFFFFFF,
            (product0 >> 32) ^ c3 ^ k1,
            product0 & 0xFFFFFFFF,
        )
        k0 = (k0 + 0x9E3779B9) & 0xFFFFFFFF
        k1 = (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniform(seed: int, agent: int, tick: int, purpose: int, factor: int) -> float:
    """A number in [0, 1) with 53 random bits, a function of the arguments alone."""
    counter = (agent, tick & 0xFFFFFFFF, tick >> 32, purpose << 16 | factor)
    r0, r1, _, _ = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return float(((r0 >> 5) * 2**26 + (r1 >> 6)) / 2**53)
