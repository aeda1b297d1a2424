"""Monte Carlo tree search over actions and observations.

A belief node branches into actions, an action node into the observations that were drawn after it. Every simulation
walks from the root: at a node the action of the best score, after an action an observation drawn from what is
predicted, until an observation is new. Its belief becomes a node, and what is known of it returns to the root:

- an action a is worth Q(a) = G(a), the value of its own step, plus F(a), the average of its followers V(o) weighted by
  their probabilities; an action never taken has in place of F the average of the others, weighted by their priors;
- a belief is worth V = sum_a pi(a) Q(a), pi = softmax(gamma Q), as in sophisticated inference.

The score of an action is gamma (Q(a) - max Q) / max(1, gamma (max Q - min Q)) + c P(a) sqrt(1 + N) / (1 + N(a)), with N
the times that it, or any, was taken, and the prior P = 3/4 softmax(gamma G) + 1/4 uniform. PUCT: Silver et al. (2017),
Mastering the game of Go without human knowledge, Nature 550; the average over followers by their probabilities, in
place of that of simulations, is that of DP-UCT: Keller, Helmert (2013), Trial-based heuristic tree search, ICAPS; what
completes the values of actions never taken: Danihelka et al. (2022), Policy improvement by planning with Gumbel, ICLR.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from beliefd.model import Model
from naive_maths import RTOL, Vector, expected_observations, predicted, softmax
from naive_random import search_uniform
from naive_tree import updated
from naive_value import TERMS, policy_terms

EXPLORATION = 1.25
UNIFORM = 0.25
LEAST = 1e-30


@dataclass
class Action:
    """What follows an action that was taken: beliefs and observations, and the nodes (probability, node) by these."""

    q: list[Vector]
    qo: list[Vector]
    taken: int = 0
    followers: dict[tuple[int, ...], tuple[float, Node]] = field(default_factory=dict)


@dataclass
class Node:
    """A belief; `own` is G of the own step of every action, and `terms` its terms."""

    q: list[Vector]
    depth: int
    own: Vector
    terms: dict[str, Vector]
    prior: Vector
    actions: dict[int, Action] = field(default_factory=dict)


class Search:
    """One search; `margin` is how near the nearest decision was to another one."""

    def __init__(self, model: Model, q: list[Vector], seed: int, agent: int, tick: int) -> None:
        self.model = model
        self.key = (seed, agent, tick)
        self.margin = np.inf
        self.root = self.node(q, 0)
        for simulation in range(1, model.num_simulations + 1):
            self.simulate(simulation)

    def node(self, q: list[Vector], depth: int) -> Node:
        rows = [policy_terms(self.model, q, policy, depth) for policy in self.model.policies]
        terms = {name: np.array([row[name] for row in rows]) for name in TERMS}
        own = np.array([sum(row.values()) for row in rows])
        prior = (1.0 - UNIFORM) * softmax(self.model.gamma * own) + UNIFORM / len(own)
        return Node(q, depth, own, terms, prior)

    def simulate(self, simulation: int) -> None:
        node = self.root
        while node.depth < self.model.policy_len - 1:
            a = self.select(node)
            if a not in node.actions:
                following = predicted(self.model, node.q, self.model.policies[a, 0])
                node.actions[a] = Action(following, expected_observations(self.model, following))
            action = node.actions[a]
            action.taken += 1
            observation = tuple(self.draw(qo, simulation, node.depth, m) for m, qo in enumerate(action.qo))
            if observation not in action.followers:
                probability = float(np.prod([qo[o] for qo, o in zip(action.qo, observation, strict=True)]))
                probability = max(probability, LEAST)
                new = self.node(updated(self.model, action.q, observation), node.depth + 1)
                action.followers[observation] = (probability, new)
                return
            node = action.followers[observation][1]

    def select(self, node: Node) -> int:
        worth = self.model.gamma * values(self.model, node)
        taken = np.array([node.actions[a].taken if a in node.actions else 0 for a in range(len(worth))])
        score = (worth - worth.max()) / max(1.0, float(worth.max() - worth.min()))
        score = score + EXPLORATION * node.prior * np.sqrt(1.0 + taken.sum()) / (1.0 + taken)
        edge = score.max() - RTOL[self.model.dtype] * max(1.0, abs(float(score.max())))
        self.margin = min(self.margin, float(np.abs(score - edge).min()))
        return int(np.flatnonzero(score >= edge)[0])

    def draw(self, p: Vector, simulation: int, depth: int, modality: int) -> int:
        """The first index at which the running sum of probabilities passes a uniform number times their sum."""
        target = search_uniform(*self.key, simulation, depth, modality) * float(p.sum())
        sums = list(itertools.accumulate(p))
        self.margin = min(self.margin, min(abs(target - s) for s in sums))
        passed = [o for o, s in enumerate(sums) if s > target]
        return passed[0] if passed else int(np.flatnonzero(p > 0.0)[-1])


def values(model: Model, node: Node) -> Vector:
    """Q of all actions of a node."""
    follow = {a: average(model, action) for a, action in node.actions.items()}
    completed = 0.0
    if follow:
        completed = sum(node.prior[a] * F for a, F in follow.items()) / sum(node.prior[a] for a in follow)
    return np.array([own + follow.get(a, completed) for a, own in enumerate(node.own)])


def average(model: Model, action: Action) -> float:
    total = sum(p for p, _ in action.followers.values())
    return sum(p * value(model, node) for p, node in action.followers.values()) / total


def value(model: Model, node: Node) -> float:
    Q = values(model, node)
    return float(softmax(model.gamma * Q) @ Q)


def term_values(model: Model, node: Node, name: str) -> Vector:
    """What a term adds to Q of all actions of a node: it follows from the followers as Q does."""
    follow = {}
    for a, action in node.actions.items():
        total = sum(p for p, _ in action.followers.values())
        parts = [
            p * float(softmax(model.gamma * values(model, after)) @ term_values(model, after, name))
            for p, after in action.followers.values()
        ]
        follow[a] = sum(parts) / total
    completed = 0.0
    if follow:
        completed = sum(node.prior[a] * F for a, F in follow.items()) / sum(node.prior[a] for a in follow)
    return np.array([own + follow.get(a, completed) for a, own in enumerate(node.terms[name])])


def search(model: Model, q: list[Vector], seed: int, agent: int, tick: int) -> tuple[dict[str, Vector], float]:
    """What each policy of one step is worth, `model.policy_len` steps deep, with its terms; and the margin."""
    found = Search(model, q, seed, agent, tick)
    terms = {name: term_values(model, found.root, name) for name in TERMS}
    return terms | {"neg_efe": values(model, found.root)}, found.margin


def exhaustive(model: Model, q: list[Vector], depth: int = 0) -> Vector:
    """What the search tends to: the values where every observation that is possible was drawn after every action."""
    worth = []
    for policy in model.policies:
        following = predicted(model, q, policy[0])
        follow = 0.0
        if depth < model.policy_len - 1:
            qo = expected_observations(model, following)
            for observation in itertools.product(*(np.flatnonzero(p > 0.0) for p in qo)):
                probability = float(np.prod([p[o] for p, o in zip(qo, observation, strict=True)]))
                Q = exhaustive(model, updated(model, following, observation), depth + 1)
                follow += probability * float(softmax(model.gamma * Q) @ Q)
        worth.append(sum(policy_terms(model, q, policy, depth).values()) + follow)
    return np.array(worth)
