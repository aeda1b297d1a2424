"""The journal of one population: what its steps take, on disk before they are acknowledged.

Each process that steps the population writes segments of its own, one writer to a file, so that nothing is locked. A
segment belongs to a generation: those of generation k hold what came after checkpoint k (see `checkpoint`), those of
generation 0 what came after the population was made.

A step is journalled between its computation and its commit word. So the order of events is: tick checked, idle slot
written, entry written and synced, commit word written, answer sent. What was acknowledged is on disk; what was not may
be there too, and counts where nothing with a higher (epoch, batch) does for its agent and tick.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine.batch import Begun, LoadedPopulation, StepInputs
from beliefd.engine.generations import generation_folder
from beliefd.engine.jit import fingerprint
from beliefd.engine.journalentry import Entry, SegmentHead, encode_entry, segment_start
from beliefd.engine.store import storage_errors, sync_folder, write_all
from beliefd.observations import Observations

_SEGMENT = re.compile(r"(\d{10})-[0-9a-f]{16}\.log")


class Journal:
    """The segments that this process writes for a population.

    Parameters
    ----------
    folder : Path
        The population's.
    uid : str
    population : LoadedPopulation
    """

    def __init__(self, folder: Path, uid: str, population: LoadedPopulation) -> None:
        self._root = folder
        self._population = population
        self._head = SegmentHead(uid=uid, layout=population.compiled.layout.hash, fingerprint=fingerprint())
        self._place = (-1, -1)
        self._fd = -1
        self._path = folder
        self._bytes = 0

    def append(self, begun: Sequence[Begun], generation: int, epoch: int, batch: int) -> int:
        """Write what will be committed, and sync all of it at once; returns how many bytes that took.

        Raises
        ------
        DiskFull, FolderNotUsable
            The step must not be committed. Whether its entry is on disk is not known.
        """
        pieces: list[Any] = []
        for part in begun:
            if len(part.picked):
                pieces += encode_entry(entry_of(self._population, part, epoch, batch))
        if not pieces:
            return 0
        data = b"".join(pieces)
        try:
            with storage_errors(self._root):
                self._open(generation, epoch)
                write_all(self._fd, data)
                os.fdatasync(self._fd)
        except BaseException:
            # After a failed sync nobody knows what of the file is on disk: the next entry goes to another one.
            self._abandon()
            raise
        self._bytes += len(data)
        return len(data)

    def close(self) -> None:
        """Let go of the segment."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._place = (-1, -1)

    def _open(self, generation: int, epoch: int) -> None:
        """Have a segment of this generation and epoch open. Its name is on disk before anything in it counts."""
        if self._place == (generation, epoch):
            return
        self.close()
        folder = generation_folder(self._root, generation)
        self._path = folder / f"{epoch:010}-{secrets.token_hex(8)}.log"
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._bytes = 0
        start = segment_start(self._head)
        write_all(self._fd, start)
        self._bytes = len(start)
        sync_folder(folder)
        self._place = (generation, epoch)

    def _abandon(self) -> None:
        """Cut off what was not written whole, as far as that goes, and go on in another segment."""
        if self._fd >= 0:
            with suppress(OSError):  # readers step over half an entry
                os.ftruncate(self._fd, self._bytes)
        self.close()


def entry_of(population: LoadedPopulation, begun: Begun, epoch: int, batch: int) -> Entry:
    """What is written of a step: the inputs of the agents that it will commit, and what they chose."""
    inputs, actions, picked = begun.inputs, begun.actions, begun.picked
    if begun.count < len(begun.rows):
        inputs, actions = selected(inputs, picked), actions[picked]
    return Entry(epoch, batch, inputs, population.store.request_ids(inputs.rows), actions)


def selected(inputs: StepInputs, picked: NDArray[np.integer] | NDArray[np.bool_]) -> StepInputs:
    """The inputs of some agents of a call."""

    def of(value: object) -> object:
        if isinstance(value, Observations):
            return value.select(picked)
        return value[picked] if isinstance(value, np.ndarray) else value

    return StepInputs(**{name: of(getattr(inputs, name)) for name in StepInputs.__struct_fields__})  # type: ignore[arg-type]


def segments(folder: Path, generation: int) -> list[Path]:
    """The segments of a generation."""
    return sorted(path for path in generation_folder(folder, generation).glob("*.log") if _SEGMENT.fullmatch(path.name))


def next_epoch(folder: Path) -> int:
    """A number above the epochs of all segments of a population that one process alone has open."""
    names = (_SEGMENT.fullmatch(path.name) for path in folder.glob("journal/*/*.log"))
    return max((int(name[1]) for name in names if name), default=0) + 1
