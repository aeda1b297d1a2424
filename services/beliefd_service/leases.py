"""Leases: which worker processes may still write to the data folder.

A worker holds an exclusive flock on ``run/leases/<name>.lease`` from before it maps anything until it dies; the kernel
lets go of the lock with the process, however it ends. The file says who holds it. A broker that starts dispatches
nothing until every held lease belongs to a worker that has registered idle with it, or to nobody.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from beliefd.engine.store import storage_errors
from beliefd_proto.errors import FolderLocked
from beliefd_service.process import ProcessIdentity

_POLL_S = 0.002


class Lease:
    """An exclusively held lease file."""

    def __init__(self, folder: Path, name: str, patience_s: float = 0.0) -> None:
        """Take the lease `name`.

        Raises
        ------
        FolderLocked
            Where another process holds it, and still does after `patience_s`.
        DiskFull, FolderNotUsable
        """
        self.path = folder / f"{name}.lease"
        with storage_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(self._fd, patience_s):
            holder = os.pread(self._fd, 4096, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise FolderLocked(
                f"another process runs as {name!r} on this data folder; stop it, or choose another name",
                field=str(self.path),
                value=holder or "a process that has not written its name yet",
            ) from None
        with storage_errors(self.path):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, msgspec.json.encode(ProcessIdentity.own()), 0)

    def release(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def held_leases(folder: Path) -> Iterator[tuple[str, ProcessIdentity | None]]:
    """Every lease that a process holds: its name, and the holder (None while the holder has not written it yet)."""
    for path in sorted(folder.glob("*.lease")):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            # Taken and let go at once: a worker that starts in between sees it as held and is started again.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield path.stem, _holder(os.pread(fd, 4096, 0))
        finally:
            os.close(fd)


def _lock(fd: int, patience_s: float) -> bool:
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_POLL_S)
        else:
            return True


def _holder(content: bytes) -> ProcessIdentity | None:
    try:
        return msgspec.json.decode(content, type=ProcessIdentity)
    except msgspec.DecodeError:
        return None
