"""The kernels beside both generations of pymdp, run by their own environments on the same models and histories."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cases
import numpy as np
from casefile import read
from numpy.typing import NDArray

from beliefd import parts
from beliefd.engine import Engine
from beliefd.model import Model
from benches.environments import python_of
from conforming.features import Feature
from conforming.gaps import gap, worst
from conforming.history import History, engine_steps, is_unstable
from models import changed, redrawn

FAMILIES = 8
"""Models of a feature with options and sizes of their own. The members of a family differ in their numbers."""

_CHECKOUT = Path(__file__).resolve().parents[2]
_RUNNERS = {"pymdp-1.0.4": "run_pymdp.py", "pymdp-0.0.7.1": "run_legacy.py"}
ALIKE = ("forced", "policies")
"""What the members of a family have in common."""
_ONE_BY_ONE = ("B_action_dependencies",)
"""Options with which pymdp takes no batch of different models."""


def from_peer(peer: str, known: dict[str, Feature], models: int, folder: Path) -> dict[str, dict[str, Any]]:
    """How far the kernels are from a peer, by feature: ``models``, ``excluded`` ones, and ``gaps`` by output.

    Excluded are models that are unstable, or at one of whose steps a tie decides.
    """
    path, answered = folder / f"{peer}.npz", folder / f"{peer}-answered.npz"
    contents: dict[str, NDArray[Any]] = {}
    specs: list[dict[str, Any]] = []
    features: list[str] = []
    for feature, entry in known.items():
        for spec, arrays in families(peer, feature, entry, models):
            contents |= {f"case{len(specs)}/{name}": array for name, array in arrays.items()}
            specs.append(spec)
            features.append(feature)
    contents |= {"spec": np.array(json.dumps(specs)), "feature": np.array(json.dumps(features))}
    np.savez(path, allow_pickle=False, **contents)
    references = _CHECKOUT / "tests" / "references"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": ""}
    subprocess.run(
        [str(python_of(peer)), str(references / _RUNNERS[peer]), str(path), str(answered)],
        check=True,
        env=environment,
    )
    nothing = {"models": 0, "excluded": 0, "gaps": {}}
    found: dict[str, dict[str, Any]] = {feature: dict(nothing) for feature in known}
    for feature, spec, arrays in read(str(answered)):
        told, members = found[feature], list(members_of(spec, arrays))
        engine = population([model for model, *_ in members]) if known[feature].own else None
        for i, member in enumerate(members):
            gaps = replayed(*member, engine, i if engine else 0)
            told["models"] += 1
            told["excluded"] += gaps is None
            told["gaps"] = worst(told["gaps"], gaps or {})
    return found


def families(peer: str, feature: str, entry: Feature, models: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Specs and arrays of cases; where they have members, these are the first axis of all arrays but two."""
    maker = entry.maker(peer)
    assert maker is not None
    for n in range(FAMILIES):
        rng = np.random.default_rng([sum(feature.encode()), n])
        sharp = n % 2 == 1
        model = maker(rng, sharp, n)
        members = [model, *(redrawn(rng, model, sharp) for _ in range(1, round(models * entry.drawn) // FAMILIES))]
        members = [by_counts(member) for member in members] if entry.own else members
        plain = model.planner != "policies" or peer == "pymdp-0.0.7.1"
        unclear = (0.0, 0.0) if plain else (0.1, 0.2)
        histories = [cases.history(rng, member, *unclear) for member in members]
        arrays = [member.tensors() | history for member, history in zip(members, histories, strict=True)]
        for one in arrays:
            one["forced"] = arrays[0]["forced"]
        if peer == "pymdp-0.0.7.1" or any(option in model.spec() for option in _ONE_BY_ONE):
            yield from ((model.spec(), one) for one in arrays)
        else:
            yield (
                model.spec(),
                {
                    name: arrays[0][name] if name in ALIKE else np.stack([one[name] for one in arrays])
                    for name in arrays[0]
                },
            )


def by_counts(model: Model) -> Model:
    """The same model with A and B the means of its counts."""
    means = {letter: [counts / counts.sum(axis=0) for counts in getattr(model, f"p{letter}")] for letter in ("A", "B")}
    made: Model = changed(model, **means)
    return made


def members_of(
    spec: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> Iterator[tuple[Model, list[NDArray[Any]], dict[str, NDArray[Any]]]]:
    """Model, observations and outputs of each member of a case; all but the model have the ticks first."""
    names = parts.tensor_names(spec)
    batched = arrays["given/0"].ndim == 3
    for member in range(len(arrays["given/0"]) if batched else 1):

        def own(name: str, axis: int, member: int = member) -> NDArray[Any]:
            return arrays[name].take(member, axis) if batched and name not in ALIKE else arrays[name]

        model = Model.from_parts(spec, {name: own(name, 0) for name in names})
        given = [own(f"given/{m}", 0) for m in range(len(model.num_obs))]
        yield model, given, {name: own(name, 1) for name in arrays if name not in names and "given" not in name}


def population(models: list[Model]) -> Engine:
    """Agents of the first model, each with what its own model has otherwise; A and B are the means of its counts."""
    names = ("C", "D", "pA", "pB")
    own: dict[str, Any] = {
        name: [np.stack(entries) for entries in zip(*(getattr(model, name) for model in models), strict=True)]
        for name in names
    }
    return Engine(models[0], len(models), per_agent=own | {"E": np.stack([model.E for model in models])})


def replayed(
    model: Model,
    given: list[NDArray[Any]],
    outputs: dict[str, NDArray[Any]],
    engine: Engine | None = None,
    agent: int = 0,
) -> dict[str, float] | None:
    """The gaps of one model along its history; None where ties or its instability make them meaningless.

    It may be that of one of the agents of an engine.
    """
    forced = outputs["forced"]
    # All zeros stand for a missing observation. Nothing was executed before the first step.
    history = History(
        observations=[[p[t][None] if p[t].any() else np.array([-1]) for p in given] for t in range(len(forced))],
        reset=[np.zeros(1, dtype=bool)] * len(forced),
        executed=[action[None] for action in (np.full_like(forced[0], -1), *forced[:-1])],
    )
    engine = engine or Engine(model, 1)
    learned, steps = [], []
    for t in range(len(forced)):
        now = slice(t, t + 1)
        part = History(history.observations[now], history.reset[now], history.executed[now])
        steps += engine_steps(engine, part, [agent])
        learned.append(engine.parameters([agent]))
    beliefs = [[q[0] for q in step.beliefs or []] for step in steps]
    if is_unstable(model, history, "float64", 1e-10) or (model.use_inductive and any(map(tied, beliefs))):
        return None
    gaps: dict[str, float] = {}
    for t, step in enumerate(steps):
        found: dict[str, Any] = {name: getattr(step, name)[0] for name in ("q_pi", "neg_efe", "vfe")}
        found |= {f"beliefs/{f}": q for f, q in enumerate(beliefs[t])}
        for name, arrays in learned[t].items():
            found |= {f"learned/{name}{i}": array[0] for i, array in enumerate(arrays) if array is not None}
        for name in found.keys() & outputs.keys():
            gaps = worst(gaps, {name.partition("/")[0]: gap(found[name], outputs[name][t])})
    return gaps


def tied(beliefs: list[NDArray[np.floating]]) -> bool:
    """Whether rounding says which state of a factor is the likeliest, where inductive inference starts."""
    return any(np.diff(np.sort(q)[-2:])[0] < 1e-8 for q in beliefs)
