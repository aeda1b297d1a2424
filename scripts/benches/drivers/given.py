"""The work that a driver is given: a model and a forced history, as plain arrays in one file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Given:
    """A model as `beliefd.Model` has it, and a history as `benches.history.History` has it."""

    A: list[NDArray[np.float64]]
    B: list[NDArray[np.float64]]
    C: list[NDArray[np.float64]]
    D: list[NDArray[np.float64]]
    E: NDArray[np.float64]
    pA: list[NDArray[np.float64]]
    pB: list[NDArray[np.float64]]
    A_dependencies: list[list[int]]
    B_dependencies: list[list[int]]
    control_fac_idx: list[int]
    policies: NDArray[np.int32]
    policy_len: int
    planner: str
    inference_algo: str
    inference_horizon: int | None
    learn_A: bool
    learn_B: bool
    num_iter: int
    gamma: float
    alpha: float
    observations: NDArray[np.int64]
    actions: NDArray[np.int32]

    @classmethod
    def load(cls, path: str | Path) -> Given:
        with np.load(path) as contents:
            arrays = {name: contents[name] for name in contents.files}
        return cls(
            A=_numbered(arrays, "A"),
            B=_numbered(arrays, "B"),
            C=_numbered(arrays, "C"),
            D=_numbered(arrays, "D"),
            E=arrays["E"],
            pA=_numbered(arrays, "pA"),
            pB=_numbered(arrays, "pB"),
            policies=arrays["policies"],
            observations=arrays["observations"],
            actions=arrays["actions"],
            **json.loads(str(arrays["rest"])),
        )


def save_given(path: Path, model: Any, observations: NDArray[np.int64], actions: NDArray[np.int32]) -> None:
    """Write the file. `model` is a `beliefd.Model`."""
    rest = {
        "A_dependencies": model.A_dependencies,
        "B_dependencies": model.B_dependencies,
        "control_fac_idx": model.control_fac_idx,
        "policy_len": model.policy_len,
        "planner": model.planner,
        "inference_algo": model.inference_algo,
        "inference_horizon": model.inference_horizon,
        "learn_A": model.learn_A,
        "learn_B": model.learn_B,
        "num_iter": model.num_iter,
        "gamma": model.gamma,
        "alpha": model.alpha,
    }
    np.savez(path, observations=observations, actions=actions, rest=json.dumps(rest), **model.tensors())


def _numbered(arrays: dict[str, Any], name: str) -> list[Any]:
    names = [f"{name}{n}" for n in range(len(arrays))]
    return [arrays[name] for name in names if name in arrays]
