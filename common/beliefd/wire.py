"""Observations and ids as the arrays of a message, and back. Client, broker and worker share these few lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beliefd.observations import Observations
from beliefd_proto import Arrays, ModelInfo
from beliefd_proto.errors import MalformedMessage

ID_ARRAYS = ("id_bytes", "id_ends")
PARAMETER_PREFIX = "per_agent."
"""Of the names of arrays that hold parameters of new agents' own."""
_OBSERVATION_DTYPES = {np.dtype(name): name for name in ("|i1", "<i2", "<i4")}


def observation_arrays(observations: Observations) -> Arrays:
    """`observations` (n, modalities), of their `wire_dtype`, and ``distribution<m>`` for what is categorical."""
    arrays: Arrays = {"observations": observations.indices}
    for m, distribution in enumerate(observations.distributions):
        if distribution is not None:
            arrays[f"distribution{m}"] = distribution
    return arrays


def observations_from(arrays: Arrays, info: ModelInfo) -> Observations:
    """The observations that a message carries. Their entries are not checked here: `beliefd.observations.check` does.

    Raises
    ------
    MalformedMessage
        Where the array of indices is missing or of a type that does not travel as one.
    """
    indices = arrays.get("observations")
    if indices is None or indices.dtype not in _OBSERVATION_DTYPES:
        raise MalformedMessage(
            "a step carries its observations as small integers",
            field="observations",
            value=None if indices is None else indices.dtype.str,
            allowed=", ".join(_OBSERVATION_DTYPES.values()),
        )
    if len(arrays) == 1:
        return Observations(indices, (None,) * info.num_modalities)
    distributions = [arrays.get(f"distribution{m}") for m in range(info.num_modalities)]
    for m, distribution in enumerate(distributions):
        if distribution is not None and distribution.dtype.kind != "f":
            raise MalformedMessage(
                "a distribution is of floats", field=f"distribution{m}", value=distribution.dtype.str
            )
    return Observations(indices, tuple(distributions))


def id_arrays(ids: Sequence[str]) -> Arrays:
    """Agents' ids: `id_bytes`, all of them in UTF-8, one after the other, and `id_ends`, where each ends.

    Raises
    ------
    UnicodeEncodeError
    """
    encoded = [name.encode() for name in ids]
    return {
        "id_bytes": np.frombuffer(b"".join(encoded), np.uint8),
        "id_ends": np.cumsum([len(name) for name in encoded], dtype=np.int64),
    }


def ids_from(arrays: Arrays) -> tuple[str, ...] | None:
    """The ids that a message or a file carries; None where it carries none.

    Raises
    ------
    ValueError
        For what `id_arrays` never makes.
    """
    content, ends = (arrays.get(name) for name in ID_ARRAYS)
    if content is None and ends is None:
        return None
    if content is None or ends is None or content.dtype != np.uint8 or ends.dtype != np.int64:
        raise ValueError("id_bytes is of uint8, id_ends of int64, and neither comes alone")
    if content.ndim != 1 or ends.ndim != 1 or (np.diff(ends, prepend=0, append=len(content)) < 0).any():
        raise ValueError("the ends of ids ascend, and none is beyond the bytes")
    text, stops = content.tobytes(), ends.tolist()
    return tuple(text[start:stop].decode() for start, stop in zip([0, *stops], stops, strict=False))
