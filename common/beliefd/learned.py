"""What agents learned, as a caller gets it: counts by the names that `Model` has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from beliefd_proto import ModelInfo

LearnedCounts = dict[str, Any]
"""``"pA"`` to ``"pD"``: a list with an array per modality or factor, None for one that is not learned; ``"pE"``: an
array. Shapes are (n, ...), as the model has them behind n."""


def learned_counts(info: ModelInfo, arrays: Mapping[str, NDArray[Any]]) -> LearnedCounts:
    """Gather arrays named as in `ModelInfo.learned`."""
    found: LearnedCounts = {}
    for name in info.learned:
        letter, number = name[:2], name[2:]
        if not number:
            found[letter] = arrays[name]
            continue
        size = info.num_modalities if letter in ("pA", "pC") else info.num_factors
        found.setdefault(letter, [None] * size)[int(number)] = arrays[name]
    return found
