"""What the broker reads and keeps on disk: its epoch, the populations, and which of them are quarantined."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from beliefd.engine.boot import is_stale
from beliefd.engine.generations import generation_folder, last_generation, size_bytes
from beliefd.engine.manifest import read_manifest, read_name, read_rebuilt
from beliefd.engine.store import storage_errors
from beliefd.wire import id_arrays
from beliefd_broker.population import Damaged, Population
from beliefd_proto.errors import CorruptStore, StorageError
from beliefd_service.logging import Logger
from beliefd_service.population_info import population_info
from beliefd_service.settings import Settings

_QUARANTINE = "quarantined"
_EPOCH_DIGITS = 20


def next_epoch(folder: Path) -> int:
    """Count this start of the broker. Results of work that an earlier broker gave out carry an older number.

    Raises
    ------
    CorruptStore
        The file holds no number.
    DiskFull, FolderNotUsable
    """
    path = folder / "epoch"
    with storage_errors(path):
        try:
            epoch = int(path.read_text()) + 1
        except FileNotFoundError:
            epoch = 1
        except ValueError:
            raise CorruptStore(
                "this file counts the starts of the broker and holds no number; stop all workers and remove it",
                field=str(path),
            ) from None
        content = f"{epoch:0{_EPOCH_DIGITS}}\n".encode()
        if epoch == 1:
            temporary = path.with_suffix(".new")
            temporary.write_bytes(content)
            os.replace(temporary, path)
        else:
            # In place, in one write of one length: a full disk must not keep a broker from starting again.
            with open(path, "r+b", buffering=0) as file:
                file.write(content)
    return epoch


def load_populations(settings: Settings, logger: Logger) -> Iterator[Population | Damaged]:
    """Every population in the data folder. One that cannot be read is logged; the others are served."""
    for folder in sorted(settings.populations.glob("[0-9a-f]*")):
        try:
            manifest, members = read_manifest(folder)
        except StorageError as error:
            logger.error("population_not_readable", folder=folder.name, code=error.code, reason=str(error))
            yield Damaged(folder.name, read_name(folder), error)
            continue
        except Exception:  # whatever is wrong with one, the others are to be served
            logger.exception("population_not_readable", folder=folder.name)
            yield Damaged(folder.name, read_name(folder), CorruptStore("cannot be read; the log says why"))
            continue
        info = population_info(
            manifest, members, quarantined=(folder / _QUARANTINE).exists(), rebuilt=read_rebuilt(folder)
        )
        generation = last_generation(folder)
        yield Population(
            info,
            members.ranges,
            {} if members.ids is None else id_arrays(members.ids),
            generation,
            size_bytes(generation_folder(folder, generation)),
            is_stale(folder),
        )


def clear_leftovers(settings: Settings) -> None:
    """Delete what a worker that died left of a population half made or half deleted.

    Only while no worker can be at it: after those that outlived the last broker are settled, and before work is given.
    """
    for pattern in (".new-*", ".dropped-*"):
        for folder in settings.populations.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def mark_quarantine(settings: Settings, uid: str, quarantined: bool) -> None:
    path = settings.populations / uid / _QUARANTINE
    if quarantined:
        path.touch()
    else:
        path.unlink(missing_ok=True)
