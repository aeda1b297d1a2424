"""Random models and observations for tests, and the two worlds of `beliefd.worlds`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd import parts
from beliefd.model import Model
from beliefd.worlds import grid, tmaze

__all__ = [
    "by_state",
    "changed",
    "grid",
    "late_treasure",
    "model_of_agent",
    "random_model",
    "random_observation",
    "random_per_agent",
    "redrawn",
    "tmaze",
    "with_counts",
]

MAX_POLICIES = 128


def random_model(
    rng: np.random.Generator,
    *,
    dtype: str = "float64",
    sharp: bool = False,
    coupled: bool | None = None,
    **options: Any,
) -> Model:
    """A model of 1-3 factors and 1-3 modalities of sizes 2-5, with at most 128 policies of length 1-3.

    `sharp` gives what arithmetic finds hard: exact zeros and ones, columns within 1e-12 of them, equal columns, equal
    preferences, actions with the same effect, habits that exclude a policy. `coupled` makes next states depend on
    several factors (always, never, or by chance). `options` replace the random arguments of `Model`.
    """
    num_factors = int(rng.integers(2 if coupled else 1, 4))
    num_states = [int(n) for n in rng.integers(2, 6, num_factors)]
    num_obs = [int(n) for n in rng.integers(2, 6, rng.integers(1, 4))]
    num_controls = [int(n) for n in rng.integers(1, 5, num_factors)]
    policy_len = int(rng.integers(1, 4))
    while math.prod(num_controls) ** policy_len > MAX_POLICIES:
        if policy_len > 1 and rng.random() < 0.5:
            policy_len -= 1
        else:
            num_controls[int(np.argmax(num_controls))] -= 1
    A_dependencies = [_subset(rng, num_factors) for _ in num_obs]
    B_dependencies = [_parents(rng, f, num_factors, coupled) for f in range(num_factors)]
    columns = _sharp_columns if sharp else _dense_columns
    A = [columns(rng, n, [num_states[f] for f in deps]) for n, deps in zip(num_obs, A_dependencies, strict=True)]
    B = [
        columns(rng, num_states[f], [*(num_states[p] for p in B_dependencies[f]), num_controls[f]])
        for f in range(num_factors)
    ]
    if sharp:
        for tensor in B:
            if tensor.shape[-1] > 1 and rng.random() < 0.5:
                tensor[..., 1] = tensor[..., 0]
    arguments: dict[str, Any] = {
        "C": [_preferences(rng, n, sharp) for n in num_obs],
        "D": [columns(rng, n, []) for n in num_states],
        "E": columns(rng, math.prod(num_controls) ** policy_len, []) if rng.random() < 0.7 else None,
        "A_dependencies": A_dependencies,
        "B_dependencies": B_dependencies,
        "policy_len": policy_len,
        "gamma": float(rng.uniform(0.5, 4.0)),
        "alpha": float(rng.uniform(0.5, 4.0)),
        "action_selection": str(rng.choice(["deterministic", "stochastic"])),
        "sampling_mode": str(rng.choice(["full", "marginal"])),
        "num_iter": int(rng.choice([1, 3, 16])),
        "dtype": dtype,
    }
    return Model(A, B, **(arguments | options))


def late_treasure() -> Model:
    """Three ways into a world that is seen as it is: two to 3 nats in the second step, one to 10 in the third.

    After two steps the third way is less probable than 1/16.
    """
    after = [0, 4, 4, 6, 5, 5, 7, 5]
    B = np.zeros((8, 8, 3))
    B[after, np.arange(8), :] = 1.0
    B[:, 0, :] = np.eye(8)[:, [1, 2, 3]]
    C = [0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 10.0]
    return Model([np.eye(8)], [B], C=[C], planner="sophisticated", policy_len=3, dtype="float64")


def changed(model: Model, **arguments: Any) -> Model:
    """The same model with other arguments of `Model`."""
    return Model(**(parts.arguments(model.spec(), model.tensors()) | arguments))


def by_state(rng: np.random.Generator, model: Model) -> Model:
    """The same model with preferences that depend on some of the states that observations depend on."""
    C, states = [], []
    for m, (factors, n) in enumerate(zip(model.A_dependencies, model.num_obs, strict=True)):
        some = [int(f) for f in rng.permutation(factors)[: rng.integers(0, len(factors) + 1)]]
        some = some or ([factors[0]] if m == 0 else [])
        times = (model.policy_len,) * int(rng.integers(2))
        C.append(rng.normal(0.0, 1.5, (*times, n, *(model.num_states[f] for f in some))))
        states.append(some)
    return changed(model, C=C, C_dependencies=states)


def redrawn(rng: np.random.Generator, model: Model, sharp: bool) -> Model:
    """The same model with other numbers in its tensors; counts are at least 1, and 0 where they stand beside a 0."""
    columns = _sharp_columns if sharp else _dense_columns

    def again(tensors: tuple[NDArray[np.float64], ...]) -> list[NDArray[np.float64]]:
        return [columns(rng, len(tensor), list(tensor.shape[1:])) for tensor in tensors]

    def counts(old: Any, before: Any, now: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        full = any((count[p == 0.0] > 0.0).any() for count, p in zip(old, before, strict=True))
        return [np.where(full | (p > 0.0), rng.uniform(1.0, 4.0, p.shape), 0.0) for p in now]

    drawn = {"A": again(model.A), "B": again(model.B), "D": again(model.D)}
    preferences = [rng.normal(0.0, 1.5, C.shape) for C in model.C]
    own = {
        f"p{letter}": counts(getattr(model, f"p{letter}"), getattr(model, letter), drawn[letter])
        for letter in "ABD"
        if getattr(model, f"p{letter}") is not None
    }
    # pymdp's tree has no habits.
    habit = model.E if model.planner != "policies" else columns(rng, len(model.E), [])
    return changed(model, **drawn, **own, C=preferences, E=habit)


def with_counts(rng: np.random.Generator, model: Model, **options: Any) -> Model:
    """The same model with counts for all its tensors, goal states, and random rates; all tensors learn.

    Counts are above 0 exactly where the probability is. `options` replace the random arguments.
    """

    def random_counts(probability: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(probability > 0.0, rng.uniform(0.2, 3.0, probability.shape), 0.0)

    arguments: dict[str, Any] = {
        "pA": [random_counts(A) for A in model.A],
        "pB": [random_counts(B) for B in model.B],
        "pC": [rng.uniform(0.5, 2.0, n) for n in model.num_obs] if all(C.ndim == 1 for C in model.C) else None,
        "pD": [random_counts(D) for D in model.D],
        "pE": random_counts(model.E),
        "H": [np.eye(n)[rng.integers(n)] for n in model.num_states],
        "inductive_depth": int(rng.integers(1, 6)),
        "inductive_threshold": float(rng.choice([1e-6, 0.1, 0.3])),
        "learn_A": True,
        "learn_B": True,
        "learn_D": True,
        "learn_E": True,
        "lr_pA": float(rng.uniform(0.1, 2.0)),
        "lr_pB": float(rng.uniform(0.1, 2.0)),
        "lr_pD": float(rng.uniform(0.1, 2.0)),
    }
    return changed(model, **(arguments | options))


def model_of_agent(model: Model, per_agent: dict[str, Any], i: int) -> Model:
    """The model that has what agent `i` has of its own."""
    changes: dict[str, Any] = {}
    for name, value in per_agent.items():
        if not isinstance(value, list):
            changes[name] = value[i]
            continue
        of_model = getattr(model, name) or [None] * len(value)
        changes[name] = [theirs if entry is None else entry[i] for entry, theirs in zip(value, of_model, strict=True)]
        if name in ("pA", "pB"):
            arrays = zip(value, getattr(model, name[1]), strict=True)
            changes[name[1]] = [p if entry is None else entry[i] / entry[i].sum(axis=0) for entry, p in arrays]
    return changed(model, **changes)


def random_per_agent(rng: np.random.Generator, model: Model, agents: int) -> dict[str, Any]:
    """Parameters of agents' own, for some parts of the model: as `per_agent` takes them."""

    def columns(shape: tuple[int, ...]) -> NDArray[np.float64]:
        return np.moveaxis(rng.dirichlet(np.full(shape[0], 0.7), (agents, *shape[1:])), -1, 1).copy()

    def counts(shape: tuple[int, ...]) -> NDArray[np.float64]:
        return np.where(rng.random((agents, *shape)) < 0.2, 0.0, rng.uniform(0.2, 3.0, (agents, *shape))) + np.where(
            np.indices((agents, *shape))[1] == 0, 0.1, 0.0
        )

    def starts(f: int) -> NDArray[np.float64]:
        D = columns(model.D[f].shape)
        if f in model.learn_D:
            assert model.pD is not None
            D[:, model.pD[f] == 0.0] = 0.0
        return np.asarray(D / D.sum(axis=1, keepdims=True))

    def habits() -> NDArray[np.float64]:
        E = columns(model.E.shape)
        if model.learn_E:
            assert model.pE is not None
            E[:, model.pE == 0.0] = 0.0
        return np.asarray(E / E.sum(axis=1, keepdims=True))

    def some(entries: list[Any]) -> list[Any]:
        return [entry if rng.random() < 0.6 else None for entry in entries]

    return {
        "C": some([rng.normal(0.0, 1.5, (agents, *C.shape)) for C in model.C]),
        "D": some([starts(f) for f in range(len(model.D))]),
        "pA": some([counts(A.shape) for A in model.A]),
        "pB": some([counts(B.shape) for B in model.B]),
        **{
            name: array
            for name, array in (
                ("E", habits()),
                ("gamma", rng.uniform(0.5, 4.0, agents)),
                ("alpha", rng.uniform(0.5, 4.0, agents)),
            )
            if rng.random() < 0.6
        },
    }


def random_observation(
    rng: np.random.Generator, model: Model, missing: float = 0.0, categorical: float = 0.0
) -> list[int | NDArray[np.float64]]:
    """One entry per modality: -1 with probability `missing`, a distribution with `categorical`, else an index."""
    entries: list[int | NDArray[np.float64]] = []
    for n in model.num_obs:
        kind = rng.random()
        if kind < missing:
            entries.append(-1)
        elif kind < missing + categorical:
            entries.append(rng.dirichlet(np.ones(n)))
        else:
            entries.append(int(rng.integers(n)))
    return entries


def _subset(rng: np.random.Generator, num_factors: int) -> list[int]:
    """Some factors in any order, at least one: the order of a tensor's axes is the caller's choice."""
    count = int(rng.integers(1, num_factors + 1))
    return [int(f) for f in rng.permutation(num_factors)[:count]]


def _parents(rng: np.random.Generator, f: int, num_factors: int, coupled: bool | None) -> list[int]:
    if coupled is False or (coupled is None and rng.random() < 0.5):
        return [f]
    others = [p for p in range(num_factors) if p != f]
    parents = [f, *(p for p in others if coupled or rng.random() < 0.5)]
    return [int(p) for p in rng.permutation(parents)]


def _dense_columns(rng: np.random.Generator, n: int, shape: list[int]) -> NDArray[np.float64]:
    return np.moveaxis(rng.dirichlet(np.full(n, 0.7), size=shape), -1, 0).copy()


def _sharp_columns(rng: np.random.Generator, n: int, shape: list[int]) -> NDArray[np.float64]:
    tensor = np.empty((n, *shape))
    for index in np.ndindex(*shape):
        column = np.zeros(n)
        kind = rng.integers(5)
        if kind == 0:
            column[rng.integers(n)] = 1.0
        elif kind == 1:
            column[:] = 1e-12 / max(n - 1, 1)
            column[rng.integers(n)] = 1.0 - 1e-12
        elif kind == 2:
            column[rng.permutation(n)[: max(1, n // 2)]] = 1.0 / max(1, n // 2)
        elif kind == 3:
            column[:] = 1.0 / n
        else:
            column[:] = rng.dirichlet(np.ones(n))
        tensor[(slice(None), *index)] = column / column.sum()
    return tensor


def _preferences(rng: np.random.Generator, n: int, sharp: bool) -> NDArray[np.float64]:
    return rng.choice([-2.0, 0.0, 0.0, 3.0], n) if sharp else rng.normal(0.0, 1.5, n)


def turned_over(seed: int, **options: object) -> Model:
    """Three factors that one modality informs, with zeros: of most of these the sweeps do not settle."""
    rng = np.random.default_rng(seed)

    def columns(*shape: int) -> np.ndarray:
        p = rng.dirichlet(np.full(shape[0], 0.5), shape[1:]) * (rng.random((*shape[1:], shape[0])) < 0.6)
        p[..., 0] += p.sum(axis=-1) == 0.0
        return np.moveaxis(p / p.sum(axis=-1, keepdims=True), -1, 0)

    states = (3, 5, 4)
    B = [np.moveaxis(rng.dirichlet(np.ones(n), (n, 2)), -1, 0) for n in states]
    return Model([columns(2, *states)], B, **({"num_iter": 16, "dtype": "float32"} | options))  # type: ignore[arg-type]
