"""An agent in plain NumPy, one at a time: what a Python program runs in each of its threads and processes.

The same mathematics as the server's, and no more work than it needs: tables of the model are made once and shared,
sweeps end at the fixed point, policies that begin alike share their first steps, and factors that no action moves are
averaged out of the likelihood once.

For models whose policies are all products of the actions of one factor, while the other factors stand still.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_FLOOR = 2.0**-52
_TIES = 1e-5


class ModelArrays(Protocol):
    """What an agent needs of a model: `beliefd.Model` has it."""

    A: Any
    B: Any
    C: Any
    D: Any
    E: Any
    A_dependencies: Any
    policies: Any
    num_iter: int
    gamma: float


class Tables:
    """What all agents of a model share, laid out for `NumpyAgent`. Read-only.

    Raises
    ------
    ValueError
        The model is not one of those that this module is for.
    """

    def __init__(self, model: ModelArrays) -> None:
        moving = [f for f, B in enumerate(model.B) if B.shape[-1] > 1]
        still = [
            f for f, B in enumerate(model.B) if B.shape == (len(B), len(B), 1) and (B[..., 0] == np.eye(len(B))).all()
        ]
        if len(moving) != 1 or len(still) != len(model.B) - 1:
            raise ValueError("one factor has to move by actions, and the others have to stand still")
        self.moving: int = moving[0]
        moves: Vector = np.asarray(model.B[self.moving], np.float64)
        self.num_controls: int = moves.shape[-1]
        self.depth: int = model.policies.shape[1]
        if len(model.policies) != self.num_controls**self.depth:
            raise ValueError("the policies have to be all products of the actions")
        self.moves: Vector = np.ascontiguousarray(moves.transpose(2, 0, 1))
        # From beliefs about the moving factor, as rows, to those after each action, side by side.
        self.foresight: Vector = np.ascontiguousarray(moves.transpose(1, 2, 0).reshape(len(moves), -1))
        self.first_actions: list[tuple[int, ...]] = [tuple(row) for row in model.policies[:, 0].tolist()]
        self.num_iter: int = model.num_iter if len(model.B) > 1 else 1
        self.gamma: float = model.gamma
        self.habit: Vector = _log(np.asarray(model.E, np.float64))
        self.start: list[Vector] = [np.asarray(D, np.float64) for D in model.D]
        self.even: list[Vector] = [np.full(len(D), 1.0 / len(D)) for D in model.D]
        likelihoods = [
            _spread(A, factors, len(model.B)) for A, factors in zip(model.A, model.A_dependencies, strict=True)
        ]
        self._log_likelihoods: list[Vector] = [_log(A) for A in likelihoods]
        self._of_observations: dict[tuple[int, ...], Vector] = {}
        self.preference: Vector = np.concatenate([np.asarray(C, np.float64) for C in model.C])
        # First the states of the factors that stand still, then that of the one that moves; what is seen there comes
        # last, and last of all the ambiguity.
        states = tuple(len(B) for B in model.B)
        whole = np.concatenate([np.broadcast_to(A, (len(A), *states)) for A in likelihoods])
        ambiguity = -(whole * _log(whole)).sum(axis=0)
        seen = np.moveaxis(np.concatenate([whole, ambiguity[np.newaxis]]), (1 + self.moving, 0), (-2, -1))
        self.seen: Vector = np.ascontiguousarray(seen)

    def log_likelihood(self, observation: tuple[int, ...]) -> Vector:
        """The logarithm of the probability of an observation in every joint state; made when it is first seen."""
        found = self._of_observations.get(observation)
        if found is None:
            parts = [logs[seen] for logs, seen in zip(self._log_likelihoods, observation, strict=True)]
            found = self._of_observations[observation] = np.asarray(sum(parts[1:], parts[0]))
        return found


class NumpyAgent:
    """One agent. `prior` is what it expects before the next observation: one vector per factor."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.prior = tables.start
        self.worth: Vector = np.zeros(len(tables.first_actions))

    def step(
        self, observation: Sequence[int], start: bool = False, executed: Sequence[int] | None = None
    ) -> tuple[int, ...]:
        """One tick of perception and action.

        Parameters
        ----------
        observation : sequence of int
            One index per modality.
        start : bool
            Whether the agent begins anew with it, from D.
        executed : sequence of int, optional
            What is done after this tick, one action per factor, in place of the agent's own choice.

        Returns
        -------
        tuple of int
            The agent's choice: one action per factor. `worth` then has gamma G + ln E of each policy.
        """
        tables = self._tables
        beliefs = self._infer_states(observation, tables.start if start else self.prior)
        self.worth = self._evaluate(beliefs)
        best = self.worth.max()
        chosen = int((self.worth >= best - _TIES * max(1.0, abs(best))).argmax())
        action = tables.first_actions[chosen]
        done = action if executed is None else executed
        self.prior = beliefs
        self.prior[tables.moving] = tables.moves[done[tables.moving]] @ beliefs[tables.moving]
        return action

    def _infer_states(self, observation: Sequence[int], prior: list[Vector]) -> list[Vector]:
        """Fixed point iteration: Heins et al. (2022), pymdp, JOSS 7(73)."""
        tables = self._tables
        log_likelihood = tables.log_likelihood(tuple(observation))
        log_prior = [_log(p) for p in prior]
        if len(prior) == 1:
            return [_softmax(log_prior[0] + log_likelihood)]
        beliefs, bits = tables.even, b""
        for _ in range(tables.num_iter):
            averaged = _averaged(log_likelihood, beliefs)
            beliefs = [_softmax(logs + mean) for logs, mean in zip(log_prior, averaged, strict=True)]
            before, bits = bits, b"".join([q.tobytes() for q in beliefs])
            if bits == before:
                break
        return beliefs

    def _evaluate(self, beliefs: list[Vector]) -> Vector:
        """Every policy: Parr, Pezzulo, Friston (2022), Active Inference, equation 4.10."""
        tables = self._tables
        moving = beliefs[tables.moving]
        seen = tables.seen
        for f, q in enumerate(beliefs):
            if f != tables.moving:
                seen = q @ seen.reshape(len(q), -1)
        seen = seen.reshape(len(moving), -1)
        nodes, levels = moving[np.newaxis], []
        for _ in range(tables.depth):
            nodes = (nodes @ tables.foresight).reshape(-1, len(moving))
            levels.append(nodes)
        predicted = np.concatenate(levels) @ seen
        observed = predicted[:, :-1]
        values = (observed * (tables.preference - _log(observed))).sum(axis=1) - predicted[:, -1]
        worth, first = np.zeros(1), 0
        for level in levels:
            # The nodes of a level are in the order of its policies: each is followed by its own continuations.
            own = values[first : first + len(level)].reshape(len(worth), -1)
            worth, first = (worth[:, np.newaxis] + own).ravel(), first + len(level)
        return tables.gamma * worth + tables.habit


def margin(worth: Vector, first_actions: Sequence[Sequence[int]]) -> float:
    """By how much the best policy beats the best one with another first action, relative to its worth where over 1."""
    values: list[float] = worth.tolist()
    best = values.index(max(values))
    others = [value for value, action in zip(values, first_actions, strict=True) if action != first_actions[best]]
    return (values[best] - max(others)) / max(1.0, abs(values[best]))


def _averaged(tensor: Vector, beliefs: list[Vector]) -> list[Vector]:
    """For each factor, `tensor` averaged over the other factors by the beliefs about them."""
    if len(beliefs) == 2:
        return [tensor @ beliefs[1], beliefs[0] @ tensor]
    means = []
    for keep in range(len(beliefs)):
        mean = tensor
        for q in reversed(beliefs[keep + 1 :]):
            mean = mean @ q
        for q in beliefs[:keep]:
            mean = np.dot(q, mean.reshape(len(q), -1)).reshape(mean.shape[1:])
        means.append(mean)
    return means


def _spread(A: Any, factors: Sequence[int], num_factors: int) -> Vector:
    """A with one axis per factor in their order, of length 1 where it does not depend on a factor."""
    ordered = np.asarray(A, np.float64).transpose(0, *(1 + np.argsort(factors)))
    missing = tuple(1 + f for f in range(num_factors) if f not in factors)
    return np.expand_dims(ordered, missing)


def _log(x: Vector) -> Vector:
    return np.log(np.maximum(x, _FLOOR))


def _softmax(x: Vector) -> Vector:
    # Sums of a few logarithms, none under -37: no exponential overflows or vanishes, so the maximum may stay in.
    e = np.exp(x)
    e /= np.add.reduce(e)
    return np.asarray(e)
