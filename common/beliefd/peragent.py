"""Parameters per agent: agents of one model whose preferences, priors, counts or precisions differ.

A caller gives them as the model has them, with an axis of agents before the others; they are checked, and travel, one
array for each part of the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd import validation
from beliefd.model import Model
from beliefd.wire import PARAMETER_PREFIX
from beliefd_proto import Arrays, ModelInfo
from beliefd_proto.errors import InvalidArgument

_PER_MODALITY = ("C", "pA")
_PER_FACTOR = ("D", "pB")
_WHOLE = ("E", "gamma", "alpha")
_NAMES = ("C", "D", "E", "pA", "pB", "gamma", "alpha")
_LEAST_SUM = 1e-30
"""Of a column of counts, which is divided by it also in float32."""


def shapes_of(model: Model) -> dict[str, tuple[int, ...]]:
    """Name and shape, without the axis of agents, of all that agents of a model can have of their own."""
    shapes: dict[str, tuple[int, ...]] = {"E": model.E.shape, "gamma": (), "alpha": ()}
    for name, arrays in (("C", model.C), ("D", model.D), ("pA", model.A), ("pB", model.B)):
        shapes |= {f"{name}{i}": array.shape for i, array in enumerate(arrays)}
    return shapes


def of_model(value: Any, model: Model, agents: int) -> Arrays:
    """As `given`, for new agents of a model: what these agents have of their own is theirs to choose."""
    arrays = given(value, model.info, shapes_of(model), agents)
    check_starts(arrays, model)
    return arrays


def given(value: Any, info: ModelInfo, shapes: Mapping[str, tuple[int, ...]], agents: int) -> Arrays:
    """What a caller gives as ``per_agent``, checked: an array for each part of the model.

    Parameters
    ----------
    value : mapping or None
        ``"C"`` and ``"pA"``: a list with an entry per modality; ``"D"`` and ``"pB"``: per factor; an entry is an
        array_like (agents, ...), or None for what is the model's. ``"E"`` (agents, policies); ``"gamma"`` and
        ``"alpha"`` (agents,).
    info : ModelInfo
    shapes : mapping
        Of what may be given; see `shapes_of`.
    agents : int

    Raises
    ------
    InvalidArgument
        Naming the array, the agent, the value and what is allowed.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not set(value) <= set(_NAMES):
        unknown = sorted(map(str, set(value) - set(_NAMES))) if isinstance(value, Mapping) else type(value).__name__
        raise InvalidArgument(
            "parameters per agent come by name", field="per_agent", value=unknown, allowed=", ".join(_NAMES)
        )
    arrays: Arrays = {}
    for name in _NAMES:
        if value.get(name) is None:
            continue
        if name in _WHOLE:
            arrays[name] = _real(value[name], name)
            continue
        length = info.num_modalities if name in _PER_MODALITY else info.num_factors
        entries = value[name]
        if not isinstance(entries, (list, tuple)) or len(entries) != length:
            raise InvalidArgument(
                "a list with one entry each, None for what is the model's",
                field=f"per_agent[{name!r}]",
                value=len(entries) if isinstance(entries, (list, tuple)) else type(entries).__name__,
                allowed=f"{length} entries",
            )
        arrays |= {f"{name}{i}": _real(e, f"{name}{i}") for i, e in enumerate(entries) if e is not None}
    check(arrays, shapes, agents)
    return arrays


def check(arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], agents: int) -> None:
    """Refuse parameters that no agent can have.

    Raises
    ------
    InvalidArgument
    """
    for name, array in arrays.items():
        if name not in shapes:
            raise InvalidArgument(
                "agents of this population have no such parameter of their own",
                field=_field(name),
                value=array.shape,
                allowed=", ".join(shapes) or "none",
            )
        if array.dtype not in (np.float32, np.float64) or array.shape != (agents, *shapes[name]):
            raise InvalidArgument(
                "wrong type or shape",
                field=_field(name),
                value=f"{array.dtype} {array.shape}",
                allowed=f"float32 or float64 {(agents, *shapes[name])}",
            )
        _refuse(~(np.abs(array) <= validation.MAX_MAGNITUDE), array, name, "not a finite number", "up to 1e12")
        letter = name.rstrip("0123456789")
        if letter != "C":
            _refuse(array < 0, array, name, "negative", "0 or more")
        if letter in ("gamma", "alpha"):
            _refuse(array < _LEAST_SUM, array, name, "not above 0", "a number above 0, at most 1e12")
        elif letter != "C":
            _check_sums(array, name, letter)


def _check_sums(array: NDArray[Any], name: str, letter: str) -> None:
    sums = array.sum(axis=1, dtype=np.float64)
    if letter in ("pA", "pB"):
        _refuse(sums < _LEAST_SUM, sums, name, "a column of counts that are all 0", "a sum above 0")
    else:
        off = np.abs(sums - 1.0) > validation.COLUMN_SUM_TOLERANCE
        _refuse(off, sums, name, "does not sum to 1; normalise it", "a sum within 1e-6 of 1")


def check_starts(arrays: Mapping[str, NDArray[Any]], model: Model) -> None:
    """Refuse a D, or an E, that the counts which it is learned by rule out.

    Raises
    ------
    InvalidArgument
    """
    for f in model.learn_D:
        D, counts = arrays.get(f"D{f}"), None if model.pD is None else model.pD[f]
        if D is not None and counts is not None:
            _refuse((D > 0) & (counts == 0), D, f"D{f}", f"a probability above 0 where pD[{f}] is 0", "0 there")
    if model.learn_E and model.pE is not None and (E := arrays.get("E")) is not None:
        _refuse((E > 0) & (model.pE == 0), E, "E", "a probability above 0 where pE is 0", "0 there")


def check_complete(arrays: Mapping[str, Any], info: ModelInfo) -> None:
    """Refuse new agents of a population whose agents have parameters of their own, where theirs are not given.

    Raises
    ------
    InvalidArgument
    """
    missing = [name for name in info.per_agent if name not in arrays]
    if missing:
        raise InvalidArgument(
            "agents of this population have parameters of their own: give those of the new ones",
            field="per_agent",
            value=f"without {', '.join(missing)}",
            allowed=", ".join(info.per_agent),
        )


def pieces(arrays: Mapping[str, NDArray[Any]], agents: int, most_bytes: int) -> list[slice]:
    """Cut new agents into as many messages as their parameters take; at least one agent each."""
    if not arrays:
        return [slice(0, agents)]
    row_bytes = sum(math.prod(array.shape[1:]) * array.itemsize for array in arrays.values())
    step = max(1, most_bytes // row_bytes)
    return [slice(start, min(start + step, agents)) for start in range(0, agents, step)]


def to_message(arrays: Mapping[str, NDArray[Any]], agents: slice) -> Arrays:
    # Copies: what is sent again is what was checked, whatever the caller does now.
    return {f"{PARAMETER_PREFIX}{name}": array[agents].copy() for name, array in arrays.items()}


def from_message(arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    named = {name: array for name, array in arrays.items() if name.startswith(PARAMETER_PREFIX)}
    return {name.removeprefix(PARAMETER_PREFIX): array for name, array in named.items()}


def _real(value: Any, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"cannot be made into an array ({error})", field=_field(name)) from None
    if array.dtype.kind not in "iuf":
        raise InvalidArgument("not numbers", field=_field(name), value=str(array.dtype), allowed="real numbers")
    return np.ascontiguousarray(array, dtype="<f4" if array.dtype.itemsize == 4 and array.dtype.kind == "f" else "<f8")


def _field(name: str) -> str:
    letter = name.rstrip("0123456789")
    return f"per_agent[{letter!r}]" + (f"[{name[len(letter) :]}]" if letter != name else "")


def _refuse(bad: NDArray[np.bool_], array: NDArray[Any], name: str, problem: str, allowed: str) -> None:
    if bad.any():
        index = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise InvalidArgument(problem, field=_field(name), index=index, value=float(array[index]), allowed=allowed)
