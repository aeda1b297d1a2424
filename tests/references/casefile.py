"""The files of cases: a case is a feature, a model, observations and actions, and what pymdp computed of them.

Layout: ``spec`` and ``feature`` are JSON lists; ``case3/A0`` and so on are the tensors of the model of case 3,
``case3/given/0`` (ticks, num_obs[0]) and so on the observations as distributions, zeros where one is missing, and
``case3/forced`` (ticks, controls) the actions. The scripts that run pymdp add, per tick, ``beliefs/0`` and so on,
``q_pi``, ``neg_efe``, ``vfe``, ``F`` and ``learned/pA0`` and so on, as far as they have them.

This file needs NumPy alone, so that every environment can read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read(path: str) -> Iterator[tuple[str, dict[str, Any], dict[str, NDArray[Any]]]]:
    """Feature, spec and arrays of each case."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    pairs = zip(json.loads(str(arrays["feature"])), json.loads(str(arrays["spec"])), strict=True)
    for n, (feature, spec) in enumerate(pairs):
        prefix = f"case{n}/"
        yield feature, spec, {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}
