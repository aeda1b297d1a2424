"""The distinct beliefs that policies lead to: each is predicted once, however many paths arrive at it.

"Left, then up" and "up, then left" often lead to the same beliefs, staying changes none, and after a jump it does not
matter from where. Two paths are one here if they are so for whatever the beliefs of now may be: as polynomials in them.
That is tested on random beliefs (Schwartz, 1980, Fast probabilistic algorithms for verification of polynomial
identities, J. ACM 27(4)): two beliefs that agree on all probes to a rounding are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beliefd.engine.policytree import PolicyTree

_PROBES = 3
_PROBE_SEED = 20150217
# Orders of summation differ by a few times 2^-53; what differs by more is another belief.
_RESOLUTION = 2.0**44


@dataclass(frozen=True)
class Recipe:
    """How a belief is predicted: B of `factor` under `action`, times the beliefs `parents` of its parent factors."""

    factor: int
    action: int
    parents: tuple[int, ...]


@dataclass(frozen=True)
class Forecast:
    """What the nodes of a tree predict.

    Attributes
    ----------
    beliefs : ndarray of int64, shape (nodes, factors)
        The number of the belief that each factor has after a node's action. 0 .. factors - 1 are the beliefs of now.
    recipes : tuple of Recipe
        Of the beliefs from number `factors` on. Parents have lower numbers.
    """

    beliefs: NDArray[np.int64]
    recipes: tuple[Recipe, ...]


def forecast(
    tree: PolicyTree, transitions: Sequence[NDArray[np.float64]], parents: Sequence[tuple[int, ...]]
) -> Forecast:
    """Number the distinct beliefs of a tree.

    Parameters
    ----------
    tree : PolicyTree
    transitions : sequence of ndarray, one per factor, shape (actions, states, states of the parents)
        B, the states of the parents flattened with the last parent fastest.
    parents : sequence of tuple of int, one per factor
        The factors that it depends on.
    """
    numbering = _Numbering(transitions, parents)
    factors = len(parents)
    beliefs = np.empty((len(tree.depths), factors), dtype=np.int64)
    for depth in range(int(tree.depths.max()) + 1):
        nodes = np.flatnonzero(tree.depths == depth)
        before = beliefs[tree.parents[nodes]] if depth else np.tile(np.arange(factors), (len(nodes), 1))
        for f in range(factors):
            asked = np.column_stack([tree.actions[nodes, f], before[:, list(parents[f])]])
            distinct, which = np.unique(asked, axis=0, return_inverse=True)
            numbers = [numbering.number(Recipe(f, row[0], tuple(row[1:]))) for row in distinct.tolist()]
            beliefs[nodes, f] = np.array(numbers)[which.reshape(-1)]
    return Forecast(beliefs, tuple(numbering.recipes))


class _Numbering:
    def __init__(self, transitions: Sequence[NDArray[np.float64]], parents: Sequence[tuple[int, ...]]) -> None:
        rng = np.random.default_rng(_PROBE_SEED)
        self._transitions = transitions
        self._probes = [rng.dirichlet(np.ones(matrices.shape[1]), _PROBES) for matrices in transitions]
        self._known = {self._key(f, probe): f for f, probe in enumerate(self._probes)}
        self._numbers: dict[Recipe, int] = {}
        self.recipes: list[Recipe] = []

    def number(self, recipe: Recipe) -> int:
        """The number of the belief that a recipe gives; a new one where none before gives the same."""
        known = self._numbers.get(recipe)
        if known is not None:
            return known
        joint = self._probes[recipe.parents[0]]
        for parent in recipe.parents[1:]:
            joint = (joint[:, :, np.newaxis] * self._probes[parent][:, np.newaxis, :]).reshape(_PROBES, -1)
        probe = joint @ self._transitions[recipe.factor][recipe.action].T
        number = self._known.setdefault(self._key(recipe.factor, probe), len(self._probes))
        if number == len(self._probes):
            self._probes.append(probe)
            self.recipes.append(recipe)
        self._numbers[recipe] = number
        return number

    @staticmethod
    def _key(factor: int, probe: NDArray[np.float64]) -> tuple[int, bytes]:
        return factor, np.rint(probe * _RESOLUTION).astype(np.int64).tobytes()
