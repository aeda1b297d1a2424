"""Observations of a call in one canonical form, whatever form the caller chose."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray

from beliefd.indices import MISSING, all_known
from beliefd_proto.errors import InvalidObservation
from beliefd_proto.model_info import ModelInfo, smallest_int

DISTRIBUTION = -2
ROW_SUM_TOLERANCE = 1e-5

_FIELD = "observations"


class Observations(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The observations of n agents in M modalities.

    Attributes
    ----------
    indices : ndarray of a signed integer type, shape (n, M), C-contiguous and aligned
        The index of what was observed; -1 where it is missing, -2 where the modality came as a distribution. Kernels
        take any; the wire carries `wire_dtype`, and journals int32.
    distributions : tuple of length M
        Per modality ``None``, or float32 or float64 of shape (n, num_obs[m]), C-contiguous: a probability per
        outcome. A modality comes as a distribution for all agents of a call or for none.
    """

    indices: NDArray[np.signedinteger]
    distributions: tuple[NDArray[np.floating] | None, ...]

    def select(self, rows: slice | NDArray[Any]) -> Observations:
        """The observations of some agents: a slice, or an array of row numbers or booleans."""
        return Observations(
            np.ascontiguousarray(self.indices[rows]),
            tuple(None if p is None else np.ascontiguousarray(p[rows]) for p in self.distributions),
        )


def canonical(
    observations: Any, info: ModelInfo, agents: int, dtype: DTypeLike = np.int32, *, copy: bool = False
) -> Observations:
    """Brings what a caller passes into canonical form and checks every entry.

    Parameters
    ----------
    observations : array_like of int, or list or tuple
        Integers of shape (n, M), or (n,) where the model has one modality: a row per agent, -1 for a missing
        observation. Or a list or tuple with one entry per modality: integers (n,) as above, or floats
        (n, num_obs[m]), a probability per outcome.

        A list or tuple of length M counts as one entry per modality where M differs from n, or where any entry
        is an array. A list of n rows for n = M is therefore read as rows while its entries are plain lists or
        tuples. To be safe from that rule pass an array for rows, and arrays as the entries per modality.
    info : ModelInfo
        The model of the agents.
    agents : int
        n, the number of agents of the call.
    dtype : dtype
        Of the indices that are returned: int32, or `wire_dtype`.
    copy : bool
        What is returned shares no memory with `observations`.

    Returns
    -------
    Observations

    Raises
    ------
    InvalidObservation
        Wrong shape or type; an index outside 0..num_obs[m]-1 that is not -1; a distribution with an entry that is
        negative or NaN, or a row that is not within 1e-5 of 1. ``index`` is (row of the call, modality).
    """
    modalities = len(info.num_obs)
    if _is_per_modality(observations, modalities, agents):
        return _from_modalities(observations, info, agents, dtype, copy)
    rows = _to_array(observations, None)
    if rows.dtype.kind not in "iu":
        at = np.unravel_index(int(np.argmax(rows != np.floor(rows))), rows.shape) if rows.size else ()
        raise InvalidObservation(
            f"indices are integers, not {rows.dtype}; pass probabilities as a list with one float array per modality",
            field=_FIELD,
            index=tuple(int(i) for i in at),
            value=float(rows[at]) if rows.size else None,
            allowed="an integer type",
        )
    if rows.ndim == 1 and modalities == 1:
        rows = rows[:, np.newaxis]
    _check_shape(rows, None, (agents, modalities))
    indices: NDArray[np.signedinteger] = _laid_out(rows, dtype, copy)
    _check_indices(rows, info.num_obs, indices)
    return Observations(indices, (None,) * modalities)


def check(observations: Observations, info: ModelInfo) -> None:
    """Checks canonical observations that came from elsewhere, such as a client's frames.

    Raises
    ------
    InvalidObservation
        As `canonical`; also where an index column and a distribution contradict each other.
    """
    indices, distributions, num_modalities = observations.indices, observations.distributions, info.num_modalities
    agents = len(indices)
    _check_shape(indices, None, (agents, num_modalities))
    if len(distributions) != num_modalities:
        raise InvalidObservation(
            "wrong number of modalities", field=_FIELD, value=len(distributions), allowed=str(num_modalities)
        )
    for probabilities in distributions:
        if probabilities is not None:
            break
    else:
        _check_indices(indices, info.num_obs)
        return
    for m, (num_obs, probabilities) in enumerate(zip(info.num_obs, distributions, strict=True)):
        column = indices[:, m]
        if probabilities is None:
            _check_column(column, m, num_obs)
            continue
        _check_shape(probabilities, m, (agents, num_obs))
        _check_rows(probabilities, m)
        if (column != DISTRIBUTION).any():
            agent = int(np.argmax(column != DISTRIBUTION))
            raise _invalid("an index and a distribution for one modality", agent, m, int(column[agent]), "-2")


def wire_dtype(info: ModelInfo) -> np.dtype[np.signedinteger]:
    """The smallest of int8, int16 and int32 that holds every index of every modality, and -1 and -2."""
    return smallest_int(max(info.num_obs) - 1)


def _is_per_modality(observations: Any, modalities: int, agents: int) -> bool:
    if not isinstance(observations, (list, tuple)) or len(observations) != modalities:
        return False
    if any(_is_array(entry) for entry in observations):
        return True
    return modalities != agents and all(isinstance(entry, (list, tuple)) for entry in observations)


def _is_array(entry: Any) -> bool:
    # NumPy scalars have __array__ too; only what has an axis is an array here.
    return hasattr(entry, "__array__") and getattr(entry, "ndim", 0) > 0


def _from_modalities(observations: Any, info: ModelInfo, agents: int, dtype: DTypeLike, copy: bool) -> Observations:
    indices = np.full((agents, info.num_modalities), DISTRIBUTION, dtype)
    distributions: list[NDArray[np.floating] | None] = []
    for m, num_obs in enumerate(info.num_obs):
        entry = _to_array(observations[m], m)
        if entry.dtype.kind == "f":
            _check_shape(entry, m, (agents, num_obs))
            dtype = np.float32 if entry.dtype.itemsize <= 4 else np.float64
            probabilities: NDArray[np.floating] = _laid_out(entry, dtype, copy)
            _check_rows(probabilities, m)
            distributions.append(probabilities)
        else:
            _check_shape(entry, m, (agents,))
            _check_column(entry, m, num_obs)
            indices[:, m] = entry
            distributions.append(None)
    return Observations(indices, tuple(distributions))


def _to_array(value: Any, modality: int | None) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        field = _field(modality)
        if (ragged := _ragged(value)) is not None:
            raise InvalidObservation(
                "all rows are to be of one length",
                field=field,
                index=(ragged,),
                value=len(value[ragged]),
                allowed=str(len(value[0])),
            ) from None
        raise InvalidObservation(f"cannot be made into an array ({error})", field=field) from None
    if array.dtype.kind not in "iuf":
        raise InvalidObservation(
            "wrong type",
            field=_field(modality),
            value=str(array.dtype),
            allowed="integers, or floats for a distribution",
        )
    return array


def _laid_out(array: NDArray[Any], dtype: DTypeLike, copy: bool) -> NDArray[Any]:
    """The array as kernels and messages take it: of this type, in C order, and aligned."""
    return array.astype(dtype, order="C", copy=copy or not array.flags.aligned)


def _ragged(value: Any) -> int | None:
    """The first row that is not as long as the one before it; None where that is not what is wrong."""
    try:
        lengths = [len(row) for row in value]
    except TypeError:
        return None
    return next((i for i, length in enumerate(lengths) if length != lengths[0]), None)


def _field(modality: int | None) -> str:
    return _FIELD if modality is None else f"{_FIELD}[{modality}]"


def _check_shape(array: NDArray[Any], modality: int | None, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise InvalidObservation("wrong shape", field=_field(modality), value=array.shape, allowed=str(expected))


def _check_indices(rows: NDArray[Any], num_obs: tuple[int, ...], narrow: NDArray[Any] | None = None) -> None:
    """Check all modalities at once, and one by one only where something is wrong, to say what."""
    if not all_known(rows, num_obs, narrow):
        for m, outcomes in enumerate(num_obs):
            _check_column(rows[:, m], m, outcomes)


def _check_column(column: NDArray[Any], modality: int, num_obs: int) -> None:
    if column.size and (column.min() < MISSING or column.max() >= num_obs):
        bad = (column < MISSING) | (column >= num_obs)
        agent = int(np.argmax(bad))
        allowed = f"0..{num_obs - 1}, or -1 for a missing one"
        raise _invalid("no such observation", agent, modality, int(column[agent]), allowed)


def _check_rows(probabilities: NDArray[np.floating], modality: int) -> None:
    if not probabilities.size:
        return
    # Written so that NaN fails: every comparison with it is false.
    if not probabilities.min() >= 0.0:
        bad = ~(probabilities >= 0.0)
        agent, outcome = (int(i) for i in np.argwhere(bad)[0])
        value = float(probabilities[agent, outcome])
        raise _invalid(f"not a probability at outcome {outcome}", agent, modality, value, "0..1")
    sums = probabilities.sum(axis=1, dtype=np.float64)
    bad_rows = ~(np.abs(sums - 1.0) <= ROW_SUM_TOLERANCE)
    if bad_rows.any():
        agent = int(np.argmax(bad_rows))
        allowed = f"a sum within {ROW_SUM_TOLERANCE:g} of 1"
        raise _invalid("the probabilities do not sum to 1", agent, modality, float(sums[agent]), allowed)


def _invalid(problem: str, agent: int, modality: int, value: float, allowed: str) -> InvalidObservation:
    return InvalidObservation(problem, field=_FIELD, index=(agent, modality), value=value, allowed=allowed)
