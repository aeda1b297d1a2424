"""Counts that broker and workers share: how many tiles of a piece its two workers have taken.

A file in the run folder that all of them map. Nobody waits for a count to change, and none tells what was done: that
messages say. A worker counts a tile before it takes it, so that the other takes another one.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beliefd.engine.store import storage_errors

TALLIES = 256
_APART = 64
"""Bytes: a cache line each, so that two pieces' workers never wait for each other's."""


class Tallies:
    """The counts of the data folder whose file is `path`.

    With `create` it is made where there is none, which is the broker's to do; it is never replaced, since workers that
    were started before go on with it.

    Raises
    ------
    DiskFull, FolderNotUsable
    """

    def __init__(self, path: Path, create: bool = False) -> None:
        with storage_errors(path):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
            try:
                if create:
                    os.posix_fallocate(fd, 0, TALLIES * _APART)
                self._map = mmap.mmap(fd, TALLIES * _APART)
            finally:
                os.close(fd)
        self._counts = np.frombuffer(self._map, np.int64).reshape(TALLIES, -1)

    def reset(self, number: int) -> None:
        """Begin a count anew. Nobody may be counting by it."""
        self._counts[number, 0] = 0

    def of(self, number: int) -> NDArray[np.int64]:
        """The count of this number, int64 (1,), as `LoadedPopulation.step_part` takes it."""
        return self._counts[number, :1]
