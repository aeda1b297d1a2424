"""Whether what stands in a population's live file can be trusted after the machine was started again.

Live files are written through memory. The death of a process loses none of it, but a power loss loses what was not
written back, in no order. So a population's folder names the boot of the machine in which its live file came to be; in
any other boot the file is rebuilt. A server that stops in good order syncs the live files, and leaves a mark that names
its boot: then nothing has to be rebuilt after the machine was restarted.
"""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from pathlib import Path

from beliefd.engine.store import storage_errors, sync_folder

_STAMP = "boot"
_CLEAN = "clean"


@functools.cache
def boot_id() -> str:
    """The identity of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stamp(folder: Path) -> None:
    """Say that a population's live file is of this boot.

    Not synced: should it be lost, so may be what the live file holds.

    Raises
    ------
    DiskFull, FolderNotUsable
    """
    with storage_errors(folder):
        draft = folder / f"{_STAMP}.new"
        draft.write_text(boot_id())
        os.replace(draft, folder / _STAMP)


def is_stale(folder: Path) -> bool:
    """Whether a population's live file is of another boot. One without a stamp is of a version that wrote none."""
    with storage_errors(folder):
        try:
            return (folder / _STAMP).read_text() != boot_id()
        except FileNotFoundError:
            return False


def mark_clean(data: Path) -> None:
    """Sync the live files of all populations in a data folder, and say there that they are whole.

    Only by who holds the folder's lock, and while nobody can write to them.

    Raises
    ------
    DiskFull, FolderNotUsable
    """
    with storage_errors(data):
        for folder in _populations(data):
            with suppress(FileNotFoundError), open(folder / "agents.bin", "rb") as file:
                os.fsync(file.fileno())
        with open(data / _CLEAN, "w") as mark:
            mark.write(boot_id())
            mark.flush()
            os.fsync(mark.fileno())
        sync_folder(data)


def take_clean(data: Path) -> None:
    """Trust the populations that a clean stop left, whichever boot this is, and take the mark away.

    Before anybody writes to them.

    Raises
    ------
    DiskFull, FolderNotUsable
    """
    with storage_errors(data):
        try:
            clean = (data / _CLEAN).read_text()
        except FileNotFoundError:
            return
        for folder in _populations(data):
            with suppress(FileNotFoundError):
                if (folder / _STAMP).read_text() == clean:
                    stamp(folder)
        (data / _CLEAN).unlink()
        # Before anything is written to a live file: with the mark still there, a power loss would go unnoticed.
        sync_folder(data)


def _populations(data: Path) -> list[Path]:
    return [folder for folder in data.glob("populations/[0-9a-f]*") if folder.is_dir()]
