"""Random models and histories for what pymdp is run over; see casefile.py for what is written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.model import Model
from models import changed, random_model, random_observation, with_counts
from naive_maths import as_distribution

TICKS = 6
CASES = 4
Maker = Callable[[np.random.Generator, bool, int], Model]


def main(which: str, path: str) -> None:
    contents: dict[str, Any] = {}
    specs, features = [], []
    for feature, make in {"pymdp": PYMDP, "legacy": LEGACY}[which].items():
        for n in range(CASES):
            rng = np.random.default_rng([sum(feature.encode()), n])
            model = make(rng, n % 2 == 1, n)
            whole = feature == "sophisticated" or which == "legacy"
            arrays = model.tensors() | history(
                rng, model, missing=0.0 if whole else 0.1, categorical=0.0 if whole else 0.2
            )
            contents |= {f"case{len(specs)}/{name}": array for name, array in arrays.items()}
            specs.append(model.spec())
            features.append(feature)
    np.savez_compressed(path, spec=np.array(json.dumps(specs)), feature=np.array(json.dumps(features)), **contents)


def history(rng: np.random.Generator, model: Model, missing: float, categorical: float) -> dict[str, NDArray[Any]]:
    observed = [random_observation(rng, model, missing, categorical) for _ in range(TICKS)]
    arrays: dict[str, NDArray[Any]] = {
        f"given/{m}": np.array([as_distribution(observation[m], n) for observation in observed])
        for m, n in enumerate(model.num_obs)
    }
    arrays["forced"] = model.policies[rng.integers(len(model.policies), size=TICKS), 0]
    return arrays


def counts(rng: np.random.Generator, tensors: Any) -> list[NDArray[np.float64]]:
    """At least 1 where the probability is not 0: pymdp's floor under a mean would show below."""
    return [np.where(p > 0.0, rng.uniform(1.0, 4.0, p.shape), 0.0) for p in tensors]


def plain(rng: np.random.Generator, sharp: bool, n: int, **options: Any) -> Model:
    # Few sweeps leave the messages of the last one visible.
    return random_model(rng, sharp=sharp, **({"num_iter": int(rng.choice([1, 4, 16]))} | options))


def window(algo: str, coupled: bool, learns: bool) -> Maker:
    def make(rng: np.random.Generator, sharp: bool, n: int) -> Model:
        model = plain(rng, sharp, n, coupled=coupled, inference_algo=algo, inference_horizon=3)
        return learner(rng, model) if learns else model

    return make


def learner(rng: np.random.Generator, model: Model, **options: Any) -> Model:
    arguments = {"pA": counts(rng, model.A), "pB": counts(rng, model.B), "learn_A": True, "learn_B": True}
    rates = {"lr_pA": 0.7, "lr_pB": 1.3, "keep_zeros": False}
    return changed(model, **(arguments | rates | options))


def smoother(algo: str) -> Maker:
    def make(rng: np.random.Generator, sharp: bool, n: int) -> Model:
        one = algo == "exact"
        while len((model := plain(rng, sharp, n, coupled=False)).B) > 1 and one:
            pass
        # pymdp's floor under a mean makes what cannot be reached reachable, and smoothing divides by that: so no zeros.
        pB = [rng.uniform(1.0, 4.0, B.shape) for B in model.B]
        return learner(rng, changed(model, inference_algo=algo, inference_horizon=4, keep_zeros=False), pB=pB)

    return make


def novelty(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    return learner(rng, plain(rng, sharp, n), use_param_info_gain=True)


def inductive(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    model = plain(rng, sharp, n, coupled=False)
    model = with_counts(rng, model, pC=None, pD=None, pE=None, learn_D=False, learn_E=False)
    options: dict[str, Any] = {"pB": counts(rng, model.B), "keep_zeros": False, "learn_A": False}
    return changed(model, use_inductive=True, learn_B=n % 3 == 0, **options)


def preferences_over_time(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    model = plain(rng, sharp, n)
    return changed(model, C=[rng.normal(size=(model.policy_len, num_obs)) for num_obs in model.num_obs])


def controls(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    """Two factors of 3 and 2 states; two controls of 2 and 3 actions that move them in every way."""
    dependencies = [[[0, 1], [1]], [[1, 0], []], [[1], [0]], [[0, 1], [1, 0]]][n % 4]
    sizes = (2, 3)
    shapes = [(3, 3, *(sizes[c] for c in dependencies[0])), (2, 2, *(sizes[c] for c in dependencies[1]))]
    B = [np.moveaxis(rng.dirichlet(np.full(s[0], 0.5), s[1:]), -1, 0) for s in shapes]
    A = [np.moveaxis(rng.dirichlet(np.full(4, 0.5), (3, 2)), -1, 0)]
    options = {"num_controls": sizes, "policy_len": 2, "dtype": "float64"}
    return Model(A, B, C=[rng.normal(size=4)], B_action_dependencies=dependencies, **options)


def small_tree(rng: np.random.Generator, sharp: bool, n: int) -> Model:
    """Few states and actions: pymdp holds all products of observations, and no more than 400 nodes here."""
    actions, num_obs, depth = (3, (2, 2), 2) if n % 2 else (2, (3,), 3)
    states = (3,) if n < 2 else (2, 2)
    sizes = [(s, actions if f == 0 else 1) for f, s in enumerate(states)]
    B = [np.moveaxis(rng.dirichlet(np.full(size[0], 0.4), size), -1, 0) for size in sizes]
    A = [np.moveaxis(rng.dirichlet(np.full(o, 0.4), states), -1, 0) for o in num_obs]
    C = [rng.normal(scale=0.7, size=o) for o in num_obs]
    return Model(A, B, C=C, planner="sophisticated", policy_len=depth, gamma=1.5, dtype="float64")


def over_all_factors(model: Model) -> Model:
    """The same model with every likelihood given over all factors, as the older pymdp learns it."""
    factors = list(range(len(model.B)))
    A = []
    for tensor, parents in zip(model.A, model.A_dependencies, strict=True):
        shape = [n if f in parents else 1 for f, n in enumerate(model.num_states)]
        ordered = tensor.transpose([0, *(1 + i for i in np.argsort(parents))]).reshape(len(tensor), *shape)
        A.append(np.broadcast_to(ordered, (len(tensor), *model.num_states)))
    return changed(model, A=A, A_dependencies=[factors] * len(A))


def legacy(**options: Any) -> Maker:
    def make(rng: np.random.Generator, sharp: bool, n: int) -> Model:
        model = plain(rng, sharp, n, coupled=False, profile="legacy", num_iter=10, dtype="float64")
        if options.get("inference_horizon"):
            while len(model.policies) > 16 or model.policy_len > 2:
                model = plain(rng, sharp, n, coupled=False, profile="legacy", num_iter=10, dtype="float64")
        changes = {name: value for name, value in options.items() if name not in ("counts", "times")}
        if options.get("learn_A"):
            model = over_all_factors(model)
        if "times" in options:
            changes["C"] = [rng.normal(size=(model.policy_len + 1, size)) for size in model.num_obs]
        if "counts" in options:
            changes |= {"pA": counts(rng, model.A), "pB": counts(rng, model.B), "pD": counts(rng, model.D)}
        return changed(model, **changes)

    return make


PYMDP: dict[str, Maker] = {
    "mmp": window("mmp", coupled=False, learns=False),
    "mmp coupled": window("mmp", coupled=True, learns=False),
    "mmp learning": window("mmp", coupled=False, learns=True),
    "vmp": window("vmp", coupled=False, learns=False),
    "vmp coupled": window("vmp", coupled=True, learns=False),
    "vmp learning": window("vmp", coupled=False, learns=True),
    "exact learning": smoother("exact"),
    "ovf learning": smoother("ovf"),
    "novelty and learning": novelty,
    "inductive": inductive,
    "preferences over time": preferences_over_time,
    "controls": controls,
    "sophisticated": small_tree,
}

LEGACY: dict[str, Maker] = {
    "fpi": legacy(),
    "fpi learning": legacy(counts=True, learn_A=True, learn_B=True, learn_D=True, lr_pA=0.7, lr_pB=1.3),
    "fpi novelty": legacy(counts=True, use_param_info_gain=True),
    "mmp": legacy(inference_algo="mmp", inference_horizon=3),
    "mmp preferences over time": legacy(times=True, inference_algo="mmp", inference_horizon=3),
}


if __name__ == "__main__":
    main(*sys.argv[1:])
