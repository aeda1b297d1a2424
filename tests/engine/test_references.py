"""The engine against what pymdp 0.0.7.1 computed: the profile "legacy", without the oracle between."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from beliefd import parts
from beliefd.engine import Engine
from beliefd.model import Model

REFERENCES = Path(__file__).parents[1] / "references"
sys.path.insert(0, str(REFERENCES))

from casefile import read  # noqa: E402 - it stands beside the scripts that write what it reads


def cases() -> list[tuple[str, Model, dict[str, NDArray[Any]]]]:
    found = []
    for feature, spec, arrays in read(str(REFERENCES / "pymdp-0.0.7.1.npz")):
        found.append((feature, Model.from_parts(spec, {n: arrays[n] for n in parts.tensor_names(spec)}), arrays))
    return found


@pytest.mark.parametrize("case", range(len(cases())))
def test_agrees_with_pymdp_0_0_7(case: int) -> None:
    _, model, reference = cases()[case]
    engine = Engine(model, 1)
    compared = 0
    executed = None
    for t, forced in enumerate(reference["forced"]):
        given = [np.asarray(reference[f"given/{m}"][t : t + 1], dtype=np.float64) for m in range(len(model.A))]
        assert all(p.any() for p in given)
        step = engine.step(given, executed_actions=executed, want=("beliefs", "q_pi", "neg_efe"))
        assert step.beliefs is not None
        assert step.q_pi is not None
        found: dict[str, Any] = {"q_pi": step.q_pi[0]} | {f"beliefs/{f}": q[0] for f, q in enumerate(step.beliefs)}
        learned = engine.parameters()
        for name in reference:
            if name.startswith("learned/"):
                found[name] = learned[name[8:10]][int(name[10:])][0]
        for name in found.keys() & reference.keys():
            np.testing.assert_allclose(found[name], reference[name][t], rtol=1e-9, atol=1e-9, err_msg=f"{name} {t}")
            compared += 1
        executed = forced[np.newaxis]
    assert compared >= 2 * len(reference["forced"])
