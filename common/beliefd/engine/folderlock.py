"""One process at a time owns a data folder: an exclusive flock on ``<data>/lock``.

The kernel releases the lock when its holder dies, however it dies, so a stale lock cannot exist. The file holds the
pid of the holder, for the error message alone.

Workers may outlive their broker: each holds a flock on a file in `LEASES` as long as it may write. The next broker
settles them; whoever else takes the folder must find none.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from beliefd.engine.store import storage_error
from beliefd_proto.errors import FolderLocked

_PID_BYTES = 20
LEASES = Path("run", "leases")
"""Where the workers of a data folder hold their leases, relative to it."""


class FolderLock:
    """Hold the lock of a data folder, which is made where it does not exist.

    Raises
    ------
    FolderLocked
        Another process holds it; the message names its pid.
    FolderNotUsable, DiskFull
    """

    def __init__(self, data: Path) -> None:
        path = data / "lock"
        try:
            data.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error(error, path) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, _PID_BYTES, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise FolderLocked(
                f"{data} is in use by the process with pid {holder}; stop it, or choose another folder",
                field="data",
                value=str(data),
            ) from None
        try:
            # Of one length, and over what is there: that takes no room on a disk that is full.
            os.pwrite(self._descriptor, f"{os.getpid():<{_PID_BYTES}}\n".encode(), 0)
        except OSError as error:
            os.close(self._descriptor)
            raise storage_error(error, path) from error

    def release(self) -> None:
        """Give the folder free. Harmless when it has been done."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def refuse_workers(data: Path) -> None:
    """Make sure that no worker of an earlier broker can still write.

    Raises
    ------
    FolderLocked
        One holds its lease.
    """
    for path in sorted((data / LEASES).glob("*.lease")):
        with open(path, "rb") as lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderLocked(
                    "a worker of a server still runs on this folder; stop it, or choose another folder",
                    field="data",
                    value=path.stem,
                ) from None
