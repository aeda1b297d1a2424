"""A small file system of a run's own, to be filled and to be made read-only.

It takes a mount, so it needs root and, lest anything stays, a mount namespace of its own: ``scripts/chaos`` runs in one
where that can be had (``unshare --mount``). Elsewhere the run is in an ordinary folder and without these faults.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_MIB = 512


class Filesystem:
    """A folder, on a tmpfs of its own where `mountable`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.mountable = os.environ.get("NEMESIS_MOUNTS") == "1"
        if self.mountable:
            _mount("-t", "tmpfs", "-o", f"size={_MIB}m,mode=0700", "none", str(folder))

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """No byte is free."""
        filler = self.folder / "filler"
        try:
            with open(filler, "wb", buffering=0) as file:
                for size in (2**24, 2**16, 4096):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(bytes(size))
            yield
        finally:
            filler.unlink()

    @contextlib.contextmanager
    def read_only(self, part: str) -> Iterator[None]:
        """Nothing below `part` can be opened for writing; what is open stays so."""
        folder = str(self.folder / part)
        _mount("--bind", folder, folder)
        try:
            _mount("-o", "remount,bind,ro", folder)
            yield
        finally:
            # Lazily: who opened a file below it meanwhile keeps it.
            subprocess.run(["umount", "--lazy", folder], check=True)

    def close(self) -> None:
        if self.mountable:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
