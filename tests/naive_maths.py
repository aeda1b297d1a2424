"""Formulas that all parts of the oracle share; one per function, in NumPy float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.model import Model

Vector = NDArray[np.float64]
Observation = Sequence["int | Vector | None"]

FLOOR = 2.0**-52
RTOL = {"float32": 1e-5, "float64": 1e-10}


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


def contract_rows(tensor: Vector, factors: Sequence[int], q: list[Vector], keep: int | None = None) -> Vector:
    """As `contract`, for each entry of the first axis of `tensor`."""
    return np.array([contract(row, factors, q, keep) for row in tensor])


def outer(vectors: Sequence[Vector]) -> Vector:
    """The product of one entry of each, over all combinations; one axis per vector."""
    product = np.ones(())
    for vector in vectors:
        product = np.multiply.outer(product, vector)
    return product


def transition(model: Model, f: int, action: Sequence[int]) -> Vector:
    """B_f under `action`, one entry per control; shape (next state, parents...)."""
    return model.B[f][(Ellipsis, *(action[c] for c in model.B_action_dependencies[f]))]


def predicted(model: Model, q: list[Vector], action: Sequence[int]) -> list[Vector]:
    """q'_f[s'] = sum over parents of B_f[s', parents, u_f] times the product of the parents' beliefs."""
    return [contract_rows(transition(model, f, action), parents, q) for f, parents in enumerate(model.B_dependencies)]


def expected_observations(model: Model, q: list[Vector]) -> list[Vector]:
    """qo_m[o] = sum over states of A_m[o, states] times the product of their beliefs."""
    return [contract_rows(A, factors, q) for A, factors in zip(model.A, model.A_dependencies, strict=True)]


def is_missing(observation: int | Vector | None) -> bool:
    return observation is None or (np.ndim(observation) == 0 and observation == -1)


def as_distribution(observation: int | Vector | None, num_obs: int) -> Vector:
    """One-hot where it is an index, zeros where it is missing."""
    if is_missing(observation):
        return np.zeros(num_obs)
    if np.ndim(observation) == 0:
        return np.eye(num_obs)[observation]
    return np.asarray(observation, dtype=np.float64)


def first_maximum(x: Vector, rtol: float) -> int:
    """The first index within `rtol` times the largest magnitude (at least 1) of the maximum."""
    return int(np.flatnonzero(x >= x.max() - rtol * max(1.0, abs(float(x.max()))))[0])


def digamma(x: float) -> float:
    """psi(x) = d ln Gamma(x) / dx, x above 0: psi(x) = psi(x + 1) - 1/x up to 16, then the asymptotic series."""
    shift = 0.0
    while x < 16.0:
        shift += 1.0 / x
        x += 1.0
    y = 1.0 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))))
    return math.log(x) - 0.5 / x - series - shift
