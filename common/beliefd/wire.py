"""Observations and models as the arrays of a message, and back. Client, broker and worker share these few lines."""

from __future__ import annotations

from beliefd.observations import Observations, wire_dtype
from beliefd_proto import Arrays, ModelInfo
from beliefd_proto.errors import MalformedMessage

_OBSERVATION_DTYPES = frozenset({"|i1", "<i2", "<i4"})


def observation_arrays(observations: Observations, info: ModelInfo) -> Arrays:
    """`observations` (n, modalities) in the smallest integer type, and ``distribution<m>`` for what is categorical."""
    arrays: Arrays = {"observations": observations.indices.astype(wire_dtype(info))}
    for m, distribution in enumerate(observations.distributions):
        if distribution is not None:
            # A copy: what is sent again, after a loss or by `retry`, is what was checked, whatever the caller does now.
            arrays[f"distribution{m}"] = distribution.copy()
    return arrays


def observations_from(arrays: Arrays, info: ModelInfo) -> Observations:
    """The observations that a message carries. Their entries are not checked here: `beliefd.observations.check` does.

    Raises
    ------
    MalformedMessage
        Where the array of indices is missing or of a type that does not travel as one.
    """
    indices = arrays.get("observations")
    if indices is None or indices.dtype.str not in _OBSERVATION_DTYPES:
        raise MalformedMessage(
            "a step carries its observations as small integers",
            field="observations",
            value=None if indices is None else indices.dtype.str,
            allowed=", ".join(sorted(_OBSERVATION_DTYPES)),
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
