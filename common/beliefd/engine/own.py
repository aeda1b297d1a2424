"""Where the counts of an agent's own stand: among its counts, in scratch, and in the arrays of the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine.store import Store
from beliefd.model import Model

if TYPE_CHECKING:
    from beliefd.engine.planner import CompiledModel


@dataclass(frozen=True)
class Learned:
    """One learned array.

    Attributes
    ----------
    name : str
        As in `ModelInfo.learned`.
    axes : tuple of int
        What brings the model's array into the order in which its counts are kept.
    shape : tuple of int
        After that.
    start : int
        Which of the agent's counts is the first.
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

    def given(self, counts: NDArray[Any]) -> NDArray[Any]:
        """Kept counts of n agents, shape (n, size), as arrays of the model, shape (n, ...)."""
        back = (0, *(1 + int(axis) for axis in np.argsort(self.axes)))
        return counts.reshape(len(counts), *self.shape).transpose(back)


def learned_arrays(model: Model) -> dict[str, Learned]:
    """The arrays that each agent of a model has of its own, by name, in the order in which they are kept."""
    found: dict[str, Learned] = {}
    start = 0
    for name, shape in model.info.learned.items():
        axes = _axes(model, name, len(shape))
        found[name] = Learned(name, axes, tuple(shape[axis] for axis in axes), start)
        start += found[name].size
    return found


def learned_parameters(
    model: Model, compiled: CompiledModel, store: Store, rows: NDArray[np.int64]
) -> dict[str, list[NDArray[np.floating] | None]]:
    """What agents have learned, as `Engine.parameters` returns it."""
    layout = compiled.layout
    ticks = store.int64[rows, 0]
    itemsize = np.dtype(layout.dtype).itemsize
    first = (layout.slot_start + (ticks & 1) * layout.slot_bytes + layout.counts) // itemsize
    tensors = model.tensors()
    found: dict[str, list[NDArray[np.floating] | None]] = {}
    for name, array in learned_arrays(model).items():
        places = np.add.outer(first + array.start, np.arange(array.size))
        counts = store.real[rows[:, np.newaxis], places]
        counts[ticks == 0] = array.kept(tensors[name])
        letter, index = name[:2], int(name[2:])
        entries = found.setdefault(letter, [None] * (len(model.num_obs) if letter == "pA" else len(model.num_states)))
        entries[index] = array.given(counts)
    return found


def _axes(model: Model, name: str, rank: int) -> tuple[int, ...]:
    if name.startswith("pA"):
        return (0, *(1 + int(place) for place in np.argsort(model.A_dependencies[int(name[2:])])))
    if name.startswith("pB"):
        parents = model.B_dependencies[int(name[2:])]
        actions = range(1 + len(parents), rank)
        return (*actions, 0, *(1 + int(place) for place in np.argsort(parents)))
    return tuple(range(rank))
