"""A slow, obvious agent in NumPy float64: the oracle that the kernels are held against.

One agent, loops, no tricks. Every function is one formula; they stand in the files beside this one, by their subject.
Conventions where literature and libraries differ:

- L(x) = ln max(x, 2^-52), so L(0) = -36.0437. The floor is the epsilon of float64 to its last digit: 2.22e-16 in
  its place moves L(0) by 2e-4. The profiles "legacy" and "spm" have ln(x + 1e-16) instead.
- Several factors: fixed point iteration in Jacobi form from uniform beliefs, exactly `num_iter` sweeps.
  One factor: the one exact pass.
- G is minus the expected free energy, so larger is better.
- In a step: states, then policies, then learning, then the action. What was learned enters the next step.
- "exact" and "ovf" learn from a window of `inference_horizon` steps, or of two.

Formulas: Parr, Pezzulo, Friston (2022), appendix B; Heins et al. (2022).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import naive_learning as learning
import naive_legacy as legacy
import naive_mcts as mcts
import naive_occam as occam
import naive_perception as perception
import naive_tree as tree
import naive_value as value
from beliefd.model import Model
from naive_maths import FLOOR, RTOL, L, Observation, Vector, as_distribution, predicted, softmax
from naive_precision import updated_precision
from naive_random import ACTION, philox4x32, uniform

__all__ = [
    "ACTION",
    "FLOOR",
    "RTOL",
    "L",
    "NaiveAgent",
    "NaiveStep",
    "choose",
    "philox4x32",
    "predicted",
    "select_action",
    "softmax",
    "uniform",
]


@dataclass(frozen=True)
class NaiveStep:
    """What one step of the oracle gives.

    `action` is the agent's own choice, whatever was forced. `ties` holds every action that rounding within the
    tolerance could choose instead, `action` among them. `prior` is the prior that inference started from: of the first
    step of the window, where there is one. The terms add up to `neg_efe`, but for what a tree cut. `gamma` is the
    precision of the policies. `margin` is how near the nearest decision of a tree, or about a policy at the edge of
    Occam's window, was to another one.
    """

    beliefs: list[Vector]
    q_pi: Vector
    neg_efe: Vector
    vfe: float
    action: tuple[int, ...]
    ties: frozenset[tuple[int, ...]]
    prior: list[Vector]
    utility: Vector
    info_gain: Vector
    novelty: Vector
    inductive: Vector
    gamma: float
    margin: float = np.inf


class Mind:
    """A model as one agent has it: what it overrides or has learned, and the rest from `Model`."""

    def __init__(self, model: Model, **own: Any) -> None:
        self.__dict__.update(own, _model=model)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_model"], name)


class NaiveAgent:
    """One agent. `tick` is 0 before the first step.

    C, D, E, pA, pB, gamma and alpha may be the agent's own, None in a list standing for the model's. Its A and B are
    then the means of its own counts.
    """

    def __init__(
        self,
        model: Model,
        seed: int = 0,
        agent: int = 0,
        *,
        C: Sequence[Vector | None] | None = None,
        D: Sequence[Vector | None] | None = None,
        E: Vector | None = None,
        pA: Sequence[Vector | None] | None = None,
        pB: Sequence[Vector | None] | None = None,
        gamma: float | None = None,
        alpha: float | None = None,
    ) -> None:
        own: dict[str, Any] = {"E": E, "gamma": gamma, "alpha": alpha}
        for name, entries in (("C", C), ("D", D), ("pA", pA), ("pB", pB)):
            if entries is not None:
                of_model = getattr(model, name) or [None] * len(entries)
                own[name] = [theirs if e is None else e for e, theirs in zip(entries, of_model, strict=True)]
        self.model: Any = Mind(model, **{name: given for name, given in own.items() if given is not None})
        for counts, name in ((pA, "A"), (pB, "B")):
            if counts is not None:
                given = zip(counts, getattr(model, name), strict=True)
                setattr(self.model, name, [p if a is None else learning.mean(a) for a, p in given])
        self.seed = seed
        self.agent = agent
        self.tick = 0
        self.beliefs: list[Vector] = list(self.model.D)
        self.kept: tuple[int, ...] = (0,) * len(model.num_controls)
        self.observations: list[Observation] = []
        self.actions: list[tuple[int, ...]] = []
        self.q: list[list[Vector]] = []
        self.prior: list[Vector] = list(self.model.D)
        self.rate = 1.0 / self.model.gamma

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
        first = self.tick == 1 or reset
        told = executed if executed is not None else [-1] * len(self.kept)
        last = tuple(kept if u < 0 else int(u) for u, kept in zip(told, self.kept, strict=True))
        self._move_window(observation, None if first else last)
        self.rate = 1.0 / self.model.gamma if first else self.rate
        if is_policy_conditioned(self.model):
            vfe, x, q_pi, terms = self._infer_per_policy()
        else:
            vfe = self._infer_states()
            x, terms = evaluate(self.model, self.beliefs, self.seed, self.agent, self.tick)
            q_pi, margin = occam.posterior(self.model, x)
            terms["margin"] = min(margin, terms.get("margin", np.inf))
        neg_efe = terms.pop("neg_efe")
        self._learn(first, q_pi)
        action, ties = select_action(self.model, x, q_pi, self.seed, self.agent, self.tick)
        self.kept = tuple(int(u) for u in (action if force is None else force))
        gamma = 1.0 / self.rate
        return NaiveStep(self.beliefs, q_pi, neg_efe, vfe, action, ties, self.prior, gamma=gamma, **terms)

    def _move_window(self, observation: Observation, last: tuple[int, ...] | None) -> None:
        """Adds the step that begins, drops the step that is too old, and sets the prior of the window's first step."""
        model = self.model
        if last is None:
            self.observations, self.actions, self.q = [observation], [], []
            self.prior = list(model.D)
            return
        self.observations.append(observation)
        self.actions.append(last)
        if len(self.observations) > window_length(model):
            left, moved = self.q[0], self.actions[0]
            self.observations, self.actions, self.q = self.observations[1:], self.actions[1:], self.q[1:]
            if is_policy_conditioned(model):
                # As pymdp 0.0.7 has it: the belief about the step that left is the prior of the step after it.
                self.prior = left
            elif model.inference_algo in ("mmp", "vmp"):
                self.prior = predicted(model, left, moved)
        elif model.inference_algo in ("mmp", "vmp"):
            self.prior = list(model.D)
        if model.inference_algo not in ("mmp", "vmp"):
            self.prior = predicted(model, self.beliefs, last)

    def _infer_states(self) -> float:
        """Sets the beliefs of the window, and gives the variational free energy."""
        model, observation = self.model, self.observations[-1]
        if model.inference_algo in ("mmp", "vmp"):
            self.q = perception.infer_window(model, self.observations, self.actions, self.prior)
            self.beliefs = self.q[-1]
            return perception.window_free_energy(model, self.q, self.observations, self.actions, self.prior)
        self.previous = self.beliefs
        if model.profile == "pymdp":
            likelihoods = perception.log_likelihoods(model, observation)
            self.beliefs = perception.infer_states(model, likelihoods, self.prior)
            vfe = perception.variational_free_energy(model, self.beliefs, likelihoods, self.prior)
        else:
            self.beliefs = legacy.infer_states(model, observation, self.prior)
            vfe = legacy.free_energy(self.beliefs, self.prior, legacy.joint_likelihood(model, observation))
        self.q.append(self.beliefs)
        return vfe

    def _infer_per_policy(self) -> tuple[float, Vector, Vector, dict[str, Vector]]:
        """Beliefs under each policy over past and future; then the policies, their free energy F among the evidence."""
        model = self.model
        inferred = [
            legacy.infer_policy_states(model, self.observations, self.actions, policy, self.prior)
            for policy in model.policies
        ]
        F = self.policy_free_energy = np.array([free_energy for _, free_energy in inferred])
        now = len(self.observations) - 1
        rows = [value.sequence_terms(model, q[now:]) for q, _ in inferred]
        terms = summed(rows)
        gamma = model.gamma
        if model.update_gamma:
            self.rate, gamma = updated_precision(terms["neg_efe"], F, legacy.ln(model.E), self.rate, 1.0 / gamma)
        x = gamma * terms["neg_efe"] - F + legacy.ln(model.E)
        q_pi, _ = occam.posterior(model, x)
        self.q = [legacy.averaged([q[t] for q, _ in inferred], q_pi) for t in range(now + 1)]
        self.beliefs = self.q[-1]
        return float(q_pi @ F), x, q_pi, terms

    def _learn(self, first: bool, q_pi: Vector) -> None:
        model = self.model
        q, joints = self._evidence()
        observations = self.observations[len(self.observations) - len(q) :]
        before = {"A": model.A, "B": model.B, "C": model.C, "D": model.D}
        for m in model.learn_A:
            self._move("A", m, learning.likelihood_increment(model, m, observations, q), before)
        if not first:
            for f in model.learn_B:
                increment = learning.transition_increment(
                    model, f, [j[f] for j in joints], self.actions[-len(joints) :]
                )
                self._move("B", f, increment, before)
        for m in model.learn_C:
            self._move("C", m, as_distribution(self.observations[-1][m], model.num_obs[m]), before)
        if first:
            for f in model.learn_D:
                self._move("D", f, self.beliefs[f], before)
        if model.learn_E:
            model.pE = learning.moved(model.pE, q_pi, model.E, model.lr_pE, model.fr_pE, model.keep_zeros)
            model.E = learning.mean(model.pE)

    def _evidence(self) -> tuple[list[list[Vector]], list[list[Vector]]]:
        """The beliefs that A learns from, and the joint beliefs of neighbouring steps that B learns from."""
        model = self.model
        if model.inference_algo in ("exact", "ovf"):
            return perception.smoothed(model, self.q, self.actions)
        steps = self.q if model.inference_algo in ("mmp", "vmp") else [self.previous, self.beliefs]
        joints = [
            [learning.independent_joint(model, f, before, now) for f in range(len(model.B))]
            for before, now in itertools.pairwise(steps)
        ]
        return (self.q if model.inference_algo in ("mmp", "vmp") else [self.beliefs]), joints

    def _move(self, letter: str, i: int, increment: Vector, before: dict[str, Any]) -> None:
        """Moves the counts of one tensor, and the tensor itself."""
        model = self.model
        # Preferences are logarithms, so none of them stands for a probability of zero.
        probability = np.ones(len(increment)) if letter == "C" else before[letter][i]
        rates = (getattr(model, f"lr_p{letter}"), getattr(model, f"fr_p{letter}"))
        counts = list(getattr(model, f"p{letter}"))
        counts[i] = learning.moved(counts[i], increment, probability, *rates, model.keep_zeros)
        tensors = list(getattr(model, letter))
        tensors[i] = L(learning.mean(counts[i])) if letter == "C" else learning.mean(counts[i])
        setattr(model, f"p{letter}", counts)
        setattr(model, letter, tensors)


def window_length(model: Model) -> int:
    """The steps that an agent looks back on, the present one among them."""
    if model.inference_algo in ("mmp", "vmp"):
        return model.inference_horizon or 1
    if model.inference_algo in ("exact", "ovf"):
        return model.inference_horizon or 2
    return 2


def is_policy_conditioned(model: Model) -> bool:
    return model.inference_algo == "mmp" and model.profile != "pymdp"


def evaluate(model: Model, q: list[Vector], seed: int, agent: int, tick: int) -> tuple[Vector, dict[str, Vector]]:
    """Gamma G + ln E, and G with its terms."""
    log_habit = L(model.E) if model.profile == "pymdp" else legacy.ln(model.E)
    if model.planner != "policies":
        if model.planner == "mcts":
            terms, margin = mcts.search(model, q, seed, agent, tick)
        else:
            terms, margin = tree.search(model, q)
        return model.gamma * terms["neg_efe"] + log_habit, terms | {"margin": margin}
    terms = summed([value.policy_terms(model, q, policy) for policy in model.policies])
    return model.gamma * terms["neg_efe"] + log_habit, terms


def summed(rows: Sequence[dict[str, float]]) -> dict[str, Vector]:
    """The terms of all policies, and their sum."""
    terms = {name: np.array([row[name] for row in rows]) for name in value.TERMS}
    return terms | {"neg_efe": sum(terms.values())}


def select_action(
    model: Model, x: Vector, q_pi: Vector, seed: int, agent: int, tick: int
) -> tuple[tuple[int, ...], frozenset[tuple[int, ...]]]:
    """The action, and the set of actions that rounding could turn it into."""
    tol = RTOL[model.dtype] * max(1.0, abs(x.max()))
    log = occam.log_probability(model)
    draws_ties = model.profile == "legacy" and model.action_selection == "deterministic"
    if model.sampling_mode == "full":
        draw = uniform(seed, agent, tick, ACTION, 0)
        best, tied = legacy.choose_tied(q_pi, tol, draw) if draws_ties else choose(model, x, log(q_pi), tol, draw)
        first_actions = [tuple(int(u) for u in policy[0]) for policy in model.policies]
        return first_actions[best], frozenset(first_actions[p] for p in tied)
    action = [0] * len(model.num_controls)
    options = [[0]] * len(model.num_controls)
    for f in model.control_fac_idx:
        p_f = np.zeros(model.num_controls[f])
        for p, policy in enumerate(model.policies):
            p_f[policy[0, f]] += q_pi[p]
        draw = uniform(seed, agent, tick, ACTION, f)
        found = legacy.choose_tied(p_f, tol, draw) if draws_ties else choose(model, log(p_f), log(p_f), tol, draw)
        action[f], options[f] = found
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
