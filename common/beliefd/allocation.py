"""What becomes of the memory of arrays that are no longer needed."""

from __future__ import annotations

import contextlib

import numpy as np

_BYTES_PER_AGENT = 32
"""Of one agent in the largest array of a step: four modalities in int64, or eight in int32."""
_MOST_BYTES = 31 * 2**20
"""glibc learns from nothing that is larger than 32 MiB."""


def keep_freed_memory(agents: int) -> None:
    """Have glibc keep memory that steps of so many agents free for the steps that come next.

    It gives the memory of a large array back to the system, and each page that is had anew costs a fault, until the
    program has freed one as large: from then on each of its arenas, about one per thread, keeps up to twice as much
    (mallopt(3), M_MMAP_THRESHOLD; who sets MALLOC_MMAP_THRESHOLD_ decides otherwise). So one is freed here whose pages
    nobody has touched.

    Parameters
    ----------
    agents : int
        32 bytes of each count, up to 31 MiB in all.
    """
    with contextlib.suppress(MemoryError):
        np.empty(min(_BYTES_PER_AGENT * agents, _MOST_BYTES), np.uint8)
