"""What becomes of the memory of arrays that are no longer needed."""

from __future__ import annotations

import functools

import numpy as np

_LARGE_BYTES = 31 * 2**20


@functools.cache
def keep_freed_memory() -> None:
    """Have glibc keep the memory of large arrays for those that come next, up to some 60 MiB, once in a process.

    Steps of a hundred thousand agents come and go as arrays of about a megabyte. glibc gives those back to the system,
    and each page that is had anew costs a fault, until the program has freed an array as large: from then on it keeps
    twice as much (mallopt(3), M_MMAP_THRESHOLD). So one is freed here, of nearly the size up to which it learns, whose
    pages nobody has touched.
    """
    np.empty(_LARGE_BYTES, np.uint8)
