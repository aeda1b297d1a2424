"""Sophisticated inference: a tree over actions and observations, deepened one step at a time.

A belief node branches into actions, an action node into observations, each of which makes a belief node one step
deeper. Below an action's probability, or an observation's, of 1/16 nothing grows. After every deepening the values
return to the root: an action is worth what its own step is worth and the average of what follows its observations; a
belief is worth the average of its actions. An action without followers is worth -512.

Probabilities within the tolerance of 1/16 count as equal to it. Rounding decides about others that are near; `search`
says how near the nearest was.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

import naive_legacy as legacy
from beliefd.model import Model
from naive_maths import RTOL, Vector, entropy, expected_observations, predicted, softmax
from naive_perception import infer_states, log_likelihoods
from naive_value import TERMS, policy_terms

PRUNE = 1.0 / 16.0
ENTROPY_STOP = 0.5
PENALTY = 512.0


@dataclass
class ActionNode:
    """What one action leads to: `value` is that of its own step, which `terms` are the terms of."""

    value: float
    terms: dict[str, float]
    followers: list[tuple[float, BeliefNode]]


@dataclass
class BeliefNode:
    """A belief after imagined actions and observations. A pruned action is None."""

    q: list[Vector]
    depth: int
    actions: list[ActionNode | None] = field(default_factory=list)
    neg_efe: Vector | None = None
    terms: dict[str, Vector] | None = None
    q_pi: Vector | None = None
    value: float = 0.0


class Limit:
    """1/16 as a limit, give or take the tolerance, and how near anything came to the edge of that."""

    def __init__(self, model: Model) -> None:
        self.slack = RTOL[model.dtype]
        self.margin = np.inf

    def is_above(self, p: float) -> bool:
        return self._compared(p, PRUNE * (1.0 + self.slack))

    def is_below(self, p: float) -> bool:
        return not self._compared(p, PRUNE * (1.0 - self.slack))

    def _compared(self, p: float, edge: float) -> bool:
        self.margin = min(self.margin, abs(p - edge) / PRUNE)
        return p > edge


def search(model: Model, q: list[Vector]) -> tuple[dict[str, Vector], float]:
    """The value of each policy of one step, `model.policy_len` steps deep, with its terms; and the margin.

    The terms add up to it where its action is alive. What one that is cut is worth, -512, belongs to none of them.
    """
    root, limit = BeliefNode(q, depth=0), Limit(model)
    for depth in range(model.policy_len):
        for node in list(belief_nodes(root)):
            if node.depth == depth:
                expand(model, node, limit)
        back_up(model, root, limit)
        limit.margin = min(limit.margin, abs(float(entropy(root.q_pi)) - ENTROPY_STOP))
        if entropy(root.q_pi) <= ENTROPY_STOP:
            break
    return root.terms | {"neg_efe": root.neg_efe}, limit.margin


def belief_nodes(node: BeliefNode) -> Iterator[BeliefNode]:
    yield node
    for action in node.actions:
        for _, follower in action.followers if action else ():
            yield from belief_nodes(follower)


def expand(model: Model, node: BeliefNode, limit: Limit) -> None:
    terms = [policy_terms(model, node.q, policy, node.depth) for policy in model.policies]
    values = [sum(of_policy.values()) for of_policy in terms]
    for p, policy, value, own in zip(
        softmax(model.gamma * np.array(values)), model.policies, values, terms, strict=True
    ):
        if not limit.is_above(p):
            node.actions.append(None)
            continue
        following = predicted(model, node.q, policy[0])
        followers = [
            (probability, BeliefNode(updated(model, following, observation), node.depth + 1))
            for probability, observation in probable_observations(model, following, limit)
        ]
        node.actions.append(ActionNode(value, own, followers))


def probable_observations(model: Model, q: list[Vector], limit: Limit) -> list[tuple[float, tuple[int, ...]]]:
    """The combinations of observations more probable than 1/16, modalities taken as independent."""
    qo = expected_observations(model, q)
    combinations = [(1.0, ())]
    for qo_m in qo:
        combinations = [
            (p * float(p_m), (*observation, o))
            for (p, observation), (o, p_m) in itertools.product(combinations, enumerate(qo_m))
            if limit.is_above(p * float(p_m))
        ]
    return combinations


def updated(model: Model, q: list[Vector], observation: tuple[int, ...]) -> list[Vector]:
    if model.profile != "pymdp":
        return legacy.infer_states(model, observation, q)
    return infer_states(model, log_likelihoods(model, observation), q)


def expected_term(node: BeliefNode, name: str) -> float:
    """What a term adds to the value of a belief; nothing where it was not looked at further."""
    return 0.0 if node.terms is None else float(node.q_pi @ node.terms[name])


def back_up(model: Model, node: BeliefNode, limit: Limit) -> None:
    """Values from the leaves; then the actions that turned out improbable are cut off for good."""
    if not node.actions:
        return
    values, terms = [], []
    for action in node.actions:
        for _, follower in action.followers if action else ():
            back_up(model, follower, limit)
        if action is None or not action.followers:
            values.append(-PENALTY)
            terms.append(dict.fromkeys(TERMS, 0.0))
        else:
            values.append(action.value + sum(p * follower.value for p, follower in action.followers))
            terms.append(
                {
                    name: own + sum(p * expected_term(follower, name) for p, follower in action.followers)
                    for name, own in action.terms.items()
                }
            )
    node.neg_efe = np.array(values)
    node.terms = {name: np.array([of_action[name] for of_action in terms]) for name in TERMS}
    node.q_pi = softmax(model.gamma * node.neg_efe)
    node.value = float(node.q_pi @ node.neg_efe)
    node.actions = [None if limit.is_below(p) else action for p, action in zip(node.q_pi, node.actions, strict=True)]
