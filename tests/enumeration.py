"""Sums over all paths of hidden states, for models that are small enough to write them out."""

from __future__ import annotations

import itertools
import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from beliefd.model import Model

Vector = NDArray[np.float64]
Paths: TypeAlias = dict[tuple[tuple[int, ...], ...], float]
"""Per path, the states of all factors at each step, its probability together with what was observed."""


def small_model(rng: np.random.Generator, num_states: tuple[int, ...], **options: object) -> Model:
    """Two modalities over all factors; every factor depends on all of them unless told otherwise."""
    factors = list(range(len(num_states)))
    parents = options.pop("B_dependencies", [factors] * len(num_states))
    A = [np.moveaxis(rng.dirichlet(np.ones(n), num_states), -1, 0) for n in (3, 2)]
    B = [
        np.moveaxis(rng.dirichlet(np.ones(n), (*(num_states[p] for p in parents[f]), 2)), -1, 0)
        for f, n in enumerate(num_states)
    ]
    D = [rng.dirichlet(np.ones(n)) for n in num_states]
    return Model(A, B, D=D, B_dependencies=parents, dtype="float64", **options)


def path_probability(model: Model, path: list[tuple[int, ...]], observations: list[list[int]], actions: list) -> float:
    p = math.prod(float(D[s]) for D, s in zip(model.D, path[0], strict=True))
    for states, observation in zip(path, observations, strict=True):
        for o, A, factors in zip(observation, model.A, model.A_dependencies, strict=True):
            p *= float(A[(o, *(states[f] for f in factors))])
    for (before, after), action in zip(itertools.pairwise(path), actions, strict=True):
        for f, parents in enumerate(model.B_dependencies):
            p *= float(model.B[f][(after[f], *(before[g] for g in parents), action[f])])
    return p


def divergence(q: list[list[Vector]], paths: Paths) -> tuple[float, float]:
    """The surprise of the observations, and the divergence of beliefs from the posterior over whole paths."""
    evidence = sum(paths.values())
    total = 0.0
    for path, p in paths.items():
        weight = math.prod(
            float(q_f[s])
            for beliefs, states in zip(q, path, strict=True)
            for q_f, s in zip(beliefs, states, strict=True)
        )
        total += weight * (math.log(max(weight, 1e-300)) - math.log(p / evidence))
    return -math.log(evidence), total


def all_paths(model: Model, steps: int) -> itertools.product:
    return itertools.product(itertools.product(*(range(n) for n in model.num_states)), repeat=steps)


def weighed_paths(model: Model, observations: list[list[int]], actions: list) -> Paths:
    """Every path and its probability together with the observations, under the actions."""
    paths = all_paths(model, len(observations))
    return {path: path_probability(model, path, observations, actions) for path in paths}
