"""Where the arrays of an agent's own stand: in its record or its row of parameters, and in the arrays of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import plan
from beliefd.engine.layout import COUNT_COPIES
from beliefd.engine.store import Store
from beliefd.model import Model

if TYPE_CHECKING:
    from beliefd.engine.planner import CompiledModel


@dataclass(frozen=True)
class OwnArray:
    """One array that each agent has of its own.

    Attributes
    ----------
    name : str
        As in `ModelInfo.learned` or `ModelInfo.per_agent`.
    axes : tuple of int
        What brings the model's array into the order in which its numbers are kept.
    shape : tuple of int
        After that.
    start : int
        Which of the agent's numbers is the first.
    """

    name: str
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def kept(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array of the model as it is kept, flat."""
        return array.transpose(self.axes).reshape(-1)

    @property
    def order(self) -> NDArray[np.int64]:
        """Per entry of the model's array, flat: which of the agent's counts."""
        kept = np.arange(self.start, self.start + self.size).reshape(self.shape)
        return kept.transpose(np.argsort(self.axes)).reshape(-1)


def learned_arrays(model: Model) -> dict[str, OwnArray]:
    """The arrays that each agent of a model learns, by name, in the order in which they are kept."""
    return own_arrays(model, model.info.learned)


def own_arrays(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, OwnArray]:
    """Arrays of these names and shapes, one after the other."""
    found: dict[str, OwnArray] = {}
    start = 0
    for name, shape in shapes.items():
        axes = kept_axes(model, name, len(shape))
        found[name] = OwnArray(name, axes, tuple(shape[axis] for axis in axes), start)
        start += found[name].size
    return found


def counts_of(
    compiled: CompiledModel, store: Store, given: Store | None, rows: NDArray[np.int64]
) -> dict[str, NDArray[np.floating]]:
    """What agents have learned as of their last tick: arrays (n, ...) by the names of `ModelInfo.learned`."""
    layout, ints = compiled.layout, compiled.ints
    ticks = store.int64[rows, 0]
    copies = layout.counts + ticks % COUNT_COPIES * layout.counts_bytes
    first = (copies + layout.counts_start) // np.dtype(layout.dtype).itemsize
    found: dict[str, NDArray[np.floating]] = {}
    start = int(ints[plan.COUNT_ORDER])
    for name, shape in compiled.info.learned.items():
        order = ints[start : start + math.prod(shape)]
        counts = store.real[rows[:, np.newaxis], np.add.outer(first, order)]
        new = ticks == 0
        parameters = ints[ints[plan.COUNT_PARAMETERS] + order]
        if given is not None and parameters[0] >= 0:
            counts[new] = given.real[rows[new][:, np.newaxis], parameters]
        else:
            counts[new] = compiled.reals[ints[plan.INITIAL_COUNTS] + order]
        found[name] = counts.reshape(len(rows), *shape)
        start += len(order)
    return found


def gamma_of(
    compiled: CompiledModel, store: Store, given: Store | None, rows: NDArray[np.int64]
) -> NDArray[np.floating]:
    """The precision of agents as of their last tick, (n,): what they begin with, until it is updated."""
    layout, info = compiled.layout, compiled.info
    gamma = np.full(len(rows), compiled.reals[compiled.ints[plan.GAMMA]])
    if given is not None and "gamma" in info.per_agent:
        names = list(info.per_agent)
        before = names[: names.index("gamma")]
        gamma = given.real[rows, sum(math.prod(info.per_agent[name]) for name in before)]
    if layout.rate is not None:
        ticks = store.int64[rows, 0]
        slots = layout.slot_start + (ticks & 1) * layout.slot_bytes
        rates = store.real[rows, (slots + layout.rate) // np.dtype(layout.dtype).itemsize]
        gamma[ticks > 0] = 1 / rates[ticks > 0]
    return gamma


def kept_axes(model: Model, name: str, rank: int) -> tuple[int, ...]:
    """What brings an array of the model into the order in which its counts are kept."""
    if name.startswith("pA"):
        return (0, *(1 + int(place) for place in np.argsort(model.A_dependencies[int(name[2:])])))
    if name.startswith("pB"):
        parents = model.B_dependencies[int(name[2:])]
        actions = range(1 + len(parents), rank)
        return (*actions, 0, *(1 + int(place) for place in np.argsort(parents)))
    return tuple(range(rank))
