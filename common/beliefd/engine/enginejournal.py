"""The journal of the one population of an engine: a call is a batch, and an engine that opens it an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from beliefd.engine.batch import Begun, LoadedPopulation
from beliefd.engine.generations import last_generation
from beliefd.engine.journal import Journal, next_epoch

CHECKPOINT_BYTES = 64 * 2**20
"""Of journal after which a checkpoint is due: what a recovery has to replay at the most."""


class EngineJournal:
    """`Journal`, with generation, epoch and batch counted here."""

    def __init__(self, folder: Path, uid: str, population: LoadedPopulation) -> None:
        self._journal = Journal(folder, uid, population)
        self._generation = last_generation(folder)
        self._epoch = next_epoch(folder)
        self._batch = 0
        self._bytes = 0

    @property
    def due(self) -> bool:
        """Whether the journal has grown so long that a checkpoint should be made."""
        return self._bytes >= CHECKPOINT_BYTES

    def append(self, begun: Sequence[Begun]) -> None:
        """Write and sync a call.

        Raises
        ------
        DiskFull, FolderNotUsable
            It must not be committed.
        """
        self._batch += 1
        self._bytes += self._journal.append(begun, self._generation, self._epoch, self._batch)

    def begin_generation(self, number: int) -> None:
        """A checkpoint of this number was made."""
        self._generation, self._bytes = number, 0

    def close(self) -> None:
        self._journal.close()
