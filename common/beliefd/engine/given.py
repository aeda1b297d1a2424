"""Parameters that each agent of a population was given: a row of numbers per agent, which no step changes.

The rows stand in ``parameters.bin`` beside the agents' records, in the model's dtype, as kernels read them: preferences
as the model's profile takes them, the logarithm of E, all else as it was given.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine.convention import log_habits, preferences
from beliefd.engine.own import OwnArray, own_arrays
from beliefd.engine.store import HEADER_BYTES, Store, storage_errors
from beliefd.model import Model
from beliefd_proto.model_info import ModelInfo

FILE_NAME = "parameters.bin"
_ALIGNMENT = 8


@dataclass(frozen=True)
class GivenLayout:
    """Where the parameters of an agent stand in its row; see `beliefd.engine.layout.RecordLayout`.

    Attributes
    ----------
    dtype : str
    names : tuple of str
        In their order.
    record_bytes : int
        Of a row, a multiple of 8.
    """

    dtype: str
    names: tuple[str, ...]
    record_bytes: int

    @classmethod
    def of(cls, info: ModelInfo) -> GivenLayout:
        numbers = sum(int(np.prod(shape)) for shape in info.per_agent.values())
        size = numbers * np.dtype(info.dtype).itemsize
        return cls(info.dtype, tuple(info.per_agent), -(-size // _ALIGNMENT) * _ALIGNMENT)

    @property
    def hash(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


def given_arrays(model: Model, info: ModelInfo) -> dict[str, OwnArray]:
    """The arrays that agents were given, by name, in the order in which they stand in a row."""
    return own_arrays(model, info.per_agent)


def given_rows(model: Model, info: ModelInfo, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.floating]:
    """Checked parameters of n agents as they stand in the file, shape (n, numbers in a row)."""
    layout = GivenLayout.of(info)
    columns = layout.record_bytes // np.dtype(info.dtype).itemsize
    found = given_arrays(model, info)
    agents = len(next(iter(arrays.values())))
    rows = np.zeros((agents, columns), dtype=info.dtype)
    for name, array in found.items():
        values = arrays[name].astype(np.float64)
        if name.startswith("C"):
            values = preferences(values, model.profile)
        elif name == "E":
            values = log_habits(values, model.profile)
        order = (0, *(1 + axis for axis in array.axes))
        rows[:, array.start : array.start + array.size] = values.transpose(order).reshape(agents, array.size)
    return rows


def given_in_memory(info: ModelInfo, rows: NDArray[np.floating]) -> Store:
    """Hold the parameters in this process alone."""
    store = Store.in_memory(GivenLayout.of(info), len(rows))
    store.real[:] = rows
    return store


def create_given(path: Path, info: ModelInfo, rows: NDArray[np.floating]) -> None:
    """Make the file.

    Raises
    ------
    DiskFull, FolderNotUsable
    """
    Store.create(path, GivenLayout.of(info), len(rows)).close()
    write_given(path, rows, 0)


def write_given(path: Path, rows: NDArray[np.floating], first: int) -> None:
    """Write, durably, the parameters of the agents from number `first` on, for whom the file has room.

    Raises
    ------
    DiskFull, FolderNotUsable
    """
    with storage_errors(path), open(path, "r+b", buffering=0) as file:
        content = memoryview(rows.tobytes())
        at = HEADER_BYTES + first * rows.shape[1] * rows.itemsize
        while content:
            written = os.pwrite(file.fileno(), content, at)
            content, at = content[written:], at + written
        os.fsync(file.fileno())


def copy_given(source: Path, target: Path, info: ModelInfo, agents: int) -> None:
    """Copy what agents of a population were given from its folder to another, synced; nothing where that is nothing.

    Raises
    ------
    CorruptStore, DiskFull, FolderNotUsable
    """
    if info.per_agent:
        with Store.open(source / FILE_NAME, GivenLayout.of(info), writable=False) as given:
            given.ensure(agents)
            given.copy_to(target / FILE_NAME, agents)


def open_given(folder: Path, info: ModelInfo) -> Store | None:
    """Map what agents of a population were given; None where that is nothing.

    Raises
    ------
    CorruptStore, FolderNotUsable
    """
    return Store.open(folder / FILE_NAME, GivenLayout.of(info)) if info.per_agent else None
