"""Checks of single arguments of a model. Each gives back the canonical value or raises `InvalidModel`."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd_proto.errors import InvalidModel

MAX_FACTORS = 32
MAX_MODALITIES = 32
MAX_AXIS = 65_536
MAX_TENSOR_ENTRIES = 2**27
MAX_MAGNITUDE = 1e12
"""Largest preference, gamma and alpha: gamma times a sum of preferences stays finite in float32."""

COLUMN_SUM_TOLERANCE = 1e-6


def sequence(
    value: Any, field: str, *, length: int | None = None, shortest: int = 1, longest: int = MAX_FACTORS
) -> list[Any]:
    """A list with one entry per modality or factor; arrays count as lists along their first axis."""
    if isinstance(value, np.ndarray) and value.ndim > 0:
        value = list(value)
    if not isinstance(value, (list, tuple)):
        raise InvalidModel("not a list", field=field, value=_brief(value), allowed="a list with one entry each")
    if length is not None and len(value) != length:
        raise InvalidModel("wrong number of entries", field=field, value=len(value), allowed=f"exactly {length}")
    if length is None and not shortest <= len(value) <= longest:
        raise InvalidModel("wrong number of entries", field=field, value=len(value), allowed=f"{shortest}..{longest}")
    return list(value)


def numbers(value: Any, field: str, rank: int, longest: int = MAX_AXIS) -> NDArray[np.float64]:
    """An owned, read-only, C-contiguous float64 array of `rank` axes whose entries are all finite."""
    raw = _to_array(value, field, kinds="biuf", allowed="real numbers")
    if raw.ndim != rank:
        why = "; what is each agent's own, with an axis of agents, goes into per_agent" if raw.ndim == rank + 1 else ""
        raise InvalidModel(f"wrong number of axes{why}", field=field, value=raw.shape, allowed=f"{rank} axes")
    if raw.size > MAX_TENSOR_ENTRIES:
        raise InvalidModel("too large", field=field, value=raw.shape, allowed=f"at most {MAX_TENSOR_ENTRIES} entries")
    for axis, length in enumerate(raw.shape):
        if not 1 <= length <= longest:
            raise InvalidModel(f"axis {axis} has a wrong length", field=field, value=length, allowed=f"1..{longest}")
    array = np.array(raw, dtype=np.float64, order="C")
    refuse_where(~np.isfinite(array), array, field, "not a finite number", "finite numbers")
    # -0.0 becomes 0.0, so that equal models have equal bytes and one hash.
    array += 0.0
    return freeze(array)


def distribution(value: Any, field: str, rank: int, longest: int = MAX_AXIS) -> NDArray[np.float64]:
    """As `numbers`, with every column along the first axis a probability distribution."""
    array = numbers(value, field, rank, longest)
    refuse_where(array < 0.0, array, field, "negative probability", "0..1")
    sums = np.asarray(array.sum(axis=0))
    off = ~(np.abs(sums - 1.0) <= COLUMN_SUM_TOLERANCE)
    if off.any():
        column = tuple(int(i) for i in np.argwhere(off)[0])
        total = float(sums[column])
        where = "[:" + "".join(f", {i}" for i in column) + "]"
        problem = "is all zero" if total == 0.0 else "does not sum to 1"
        raise InvalidModel(
            f"column {where} {problem}; normalise it",
            field=field,
            index=column,
            value=total,
            allowed=f"a sum within {COLUMN_SUM_TOLERANCE:g} of 1",
        )
    return array


def preferences(value: Any, field: str, at_once: tuple[int, ...], steps: int) -> NDArray[np.float64]:
    """Of shape `at_once`, or of (steps, *at_once) where preferences change over the steps of a policy."""
    raw = _to_array(value, field, kinds="biuf", allowed="real numbers")
    timed = raw.ndim == len(at_once) + 1
    array = numbers(raw, field, rank=len(at_once) + timed)
    shape(array, field, (steps, *at_once) if timed else at_once)
    refuse_where(np.abs(array) > MAX_MAGNITUDE, array, field, "too large", f"-{MAX_MAGNITUDE:g}..{MAX_MAGNITUDE:g}")
    return array


def integers(value: Any, field: str) -> NDArray[np.int64]:
    """An int64 array of any rank; booleans and floats are refused, even where they hold whole numbers."""
    raw = _to_array(value, field, kinds="iu", allowed="integers")
    if raw.size and raw.dtype.kind == "u":
        refuse_where(raw > np.uint64(2**62), raw, field, "too large", f"at most {2**62}")
    return raw.astype(np.int64)


def shape(array: NDArray[Any], field: str, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise InvalidModel("wrong shape", field=field, value=array.shape, allowed=str(expected))


def dependencies(
    value: Any, field: str, count: int, num_factors: int, shortest: int = 1
) -> tuple[tuple[int, ...], ...]:
    """Parent factors of each of `count` tensors: at least `shortest` each, none twice."""
    rows = sequence(value, field, length=count)
    return tuple(
        distinct_factors(sequence(row, f"{field}[{i}]", shortest=shortest), f"{field}[{i}]", num_factors)
        for i, row in enumerate(rows)
    )


def goals(value: Any, num_states: tuple[int, ...]) -> tuple[NDArray[np.float64], ...]:
    """Goal states per factor, 1 or 0 each, shape (num_states[f],); all zeros where a factor has no goal."""
    entries = sequence(value, "H", length=len(num_states))
    H = tuple(
        freeze(np.zeros(n)) if entry is None else numbers(entry, f"H[{f}]", rank=1)
        for f, (entry, n) in enumerate(zip(entries, num_states, strict=True))
    )
    for f, (row, n) in enumerate(zip(H, num_states, strict=True)):
        shape(row, f"H[{f}]", (n,))
        refuse_where((row != 0.0) & (row != 1.0), row, f"H[{f}]", "neither a goal nor none", "0 or 1")
    if not any(row.any() for row in H):
        raise InvalidModel("no factor has a goal state", field="H", value=0.0, allowed="at least one 1, or no H")
    return H


def distinct_factors(value: list[Any], field: str, num_factors: int) -> tuple[int, ...]:
    factors = tuple(whole(entry, f"{field}[{i}]", 0, num_factors - 1) for i, entry in enumerate(value))
    for position, factor in enumerate(factors):
        if factor in factors[:position]:
            raise InvalidModel(
                "a factor stands twice",
                field=field,
                index=(position,),
                value=factor,
                allowed="each factor at most once",
            )
    return factors


def whole(value: Any, field: str, low: int, high: int) -> int:
    allowed = f"an integer {low}..{high}"
    if isinstance(value, (bool, np.bool_)):
        raise InvalidModel("not an integer", field=field, value=value, allowed=allowed)
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidModel("not an integer", field=field, value=_brief(value), allowed=allowed) from None
    if not low <= number <= high:
        raise InvalidModel("out of range", field=field, value=number, allowed=allowed)
    return number


def positive(value: Any, field: str, largest: float = MAX_MAGNITUDE, least: float = 0.0) -> float:
    """A number above 0, at least `least` and at most `largest`."""
    allowed = f"a number from {least:g} to {largest:g}" if least else f"a number above 0, at most {largest:g}"
    if isinstance(value, (bool, np.bool_, str, bytes)):
        raise InvalidModel("not a number", field=field, value=value, allowed=allowed)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidModel("not a number", field=field, value=_brief(value), allowed=allowed) from None
    if not (math.isfinite(number) and 0.0 < number <= largest and least <= number):
        raise InvalidModel("out of range", field=field, value=number, allowed=allowed)
    return number


def flag(value: Any, field: str) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidModel("not a boolean", field=field, value=_brief(value), allowed="True or False")
    return bool(value)


def choice(value: Any, field: str, options: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in options:
        raise InvalidModel("unknown option", field=field, value=_brief(value), allowed=" | ".join(options))
    return value


def freeze(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def _to_array(value: Any, field: str, kinds: str, allowed: str) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidModel(f"cannot be made into an array ({error})", field=field, allowed=allowed) from None
    if array.dtype.kind not in kinds:
        raise InvalidModel("wrong type of entries", field=field, value=str(array.dtype), allowed=allowed)
    return array


def refuse_where(bad: NDArray[np.bool_], array: NDArray[Any], field: str, problem: str, allowed: str) -> None:
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InvalidModel(problem, field=field, index=index, value=array[index].item(), allowed=allowed)


def _brief(value: Any) -> Any:
    """What an error shows of an arbitrary object: errors may have to travel, so never the object itself."""
    if isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
