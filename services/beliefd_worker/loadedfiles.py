"""Whether the files that this process has loaded are still what it loaded."""

from __future__ import annotations

import os
import sys


class LoadedFiles:
    """All files behind the modules of this process, as they are when this is made.

    Kept as two blocks of bytes: to look at a thousand strings all over the heap would, in a process that forks, give
    every child a copy of the pages that they are on.

    Parameters
    ----------
    since_s : float
        When the process began to load (Unix time). A file that changed since may have been loaded before it did.
    """

    def __init__(self, since_s: float) -> None:
        files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        paths = [os.fsencode(path) for path in files if path]
        self._since_ns = int(since_s * 1e9)
        self._paths = b"\0".join(paths)
        self._stamps = b"\0".join(_stamp(path) for path in paths)
        self._late = next((path for path in paths if _changed_ns(path) > self._since_ns), None)

    def changed(self) -> str | None:
        """A file that is not what was loaded any more, or may not be; None where all are. Takes about 2 ms."""
        if self._late is not None:
            return os.fsdecode(self._late)
        for path, stamp in zip(self._paths.split(b"\0"), self._stamps.split(b"\0"), strict=True):
            if _stamp(path) != stamp:
                return os.fsdecode(path)
        return None


def _changed_ns(path: bytes) -> int:
    """When the file was changed, in ns of Unix time; for ever where there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return sys.maxsize


def _stamp(path: bytes) -> bytes:
    """Time of the last change, size and inode."""
    try:
        found = os.stat(path)
    except OSError:
        return b"missing"
    return b"%d %d %d" % (found.st_mtime_ns, found.st_size, found.st_ino)
