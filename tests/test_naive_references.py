"""The oracle against both generations of pymdp, feature by feature; see scripts/references."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from beliefd import parts
from beliefd.model import Model
from naive import NaiveAgent, NaiveStep

REFERENCES = Path(__file__).parent / "references"
sys.path.insert(0, str(REFERENCES))

from casefile import read  # noqa: E402 - it stands beside the scripts that write what it reads

CASES = 4
PYMDP = [
    "mmp",
    "mmp coupled",
    "mmp learning",
    "vmp",
    "vmp coupled",
    "vmp learning",
    "exact learning",
    "ovf learning",
    "novelty and learning",
    "inductive",
    "preferences over time",
    "controls",
    "sophisticated",
]
LEGACY = ["fpi", "fpi learning", "fpi novelty", "mmp", "mmp preferences over time"]
# pymdp keeps the probabilities of its tree in float32.
ATOL = {"sophisticated": 1e-5}


@functools.cache
def cases(name: str) -> list[tuple[str, Model, dict[str, NDArray[Any]]]]:
    found = []
    for feature, spec, arrays in read(str(REFERENCES / name)):
        names = parts.tensor_names(spec)
        model = Model.from_parts(spec, {name: arrays[name] for name in names})
        found.append((feature, model, {name: a for name, a in arrays.items() if name not in names}))
    return found


def replay(name: str, feature: str, number: int) -> None:
    _, model, reference = [case for case in cases(name) if case[0] == feature][number]
    agent = NaiveAgent(model)
    for t, forced in enumerate(reference["forced"]):
        # All zeros stand for a missing observation.
        given_now = [reference[f"given/{m}"][t] for m in range(len(model.A))]
        step = agent.step([p if p.any() else None for p in given_now], force=forced)
        compare(reference, agent, step, t, ATOL.get(feature, 1e-9))


def compare(reference: dict[str, NDArray[Any]], agent: NaiveAgent, step: NaiveStep, t: int, atol: float) -> None:
    found: dict[str, Any] = {"q_pi": step.q_pi, "neg_efe": step.neg_efe, "vfe": step.vfe}
    found |= {f"beliefs/{f}": q for f, q in enumerate(step.beliefs)}
    for name in reference:
        if name.startswith("learned/"):
            found[name] = getattr(agent.model, name[8:10])[int(name[10:])]
        elif name == "F":
            found[name] = agent.policy_free_energy
    for name in found.keys() & reference.keys():
        np.testing.assert_allclose(found[name], reference[name][t], rtol=atol, atol=atol, err_msg=f"{name}, tick {t}")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(CASES))
@pytest.mark.parametrize("feature", PYMDP)
def test_agrees_with_pymdp(feature: str, number: int) -> None:
    replay("pymdp-1.0.4-features.npz", feature, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(CASES))
@pytest.mark.parametrize("feature", LEGACY)
def test_agrees_with_the_older_pymdp(feature: str, number: int) -> None:
    replay("pymdp-0.0.7.1.npz", feature, number)


@pytest.mark.parametrize(("name", "features"), [("pymdp-1.0.4-features.npz", PYMDP), ("pymdp-0.0.7.1.npz", LEGACY)])
def test_references_cover_what_they_should(name: str, features: list[str]) -> None:
    assert Counter(feature for feature, _, _ in cases(name)) == dict.fromkeys(features, CASES)
    for feature, _, reference in cases(name):
        assert "q_pi" in reference, feature
        assert ("neg_efe" in reference) != (feature == "sophisticated"), feature
        assert any(output.startswith("learned/") for output in reference) >= ("learning" in feature), feature
    assert (REFERENCES / name).stat().st_size < 1_500_000
