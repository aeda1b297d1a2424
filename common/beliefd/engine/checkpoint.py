"""Checkpoints of a population: its records, copied while nothing stepped it, in its own folder.

``checkpoints/<k>/`` holds ``agents.bin``, a copy of the live file, and ``checkpoint.json``, which says what it is. It
is put in place by a rename, after all of it is on disk. What is stepped from then on is journalled in generation k; so
checkpoint k, with the journal of generation k and all later ones, gives the state now, and every one in between.

Who lives, and the rest of the manifest, is no part of it: those files are synced at every change.
"""

from __future__ import annotations

import os
import shutil
import time
import zlib
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd.engine.generations import (
    checkpoint_folder,
    checkpoint_numbers,
    generation_folder,
    make_generation,
    size_bytes,
)
from beliefd.engine.jit import fingerprint
from beliefd.engine.layout import RecordLayout
from beliefd.engine.store import Store, storage_errors, sync_folder
from beliefd_proto.errors import CorruptStore

FORMAT_VERSION = 1
_FACTS = "checkpoint.json"
_RECORDS = "agents.bin"


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a checkpoint holds.

    Attributes
    ----------
    number : int
        1 and up.
    request : str
        Id of the request that made it, hexadecimal.
    time_s : float
        When, in Unix time.
    lowest_tick, highest_tick : int
        Of the agents that lived.
    checksum : int
        CRC-32 of the records.
    seal : int
        CRC-32 of all other fields, as JSON.
    """

    format: int = FORMAT_VERSION
    number: int
    request: str
    time_s: float
    rows: int
    lowest_tick: int
    highest_tick: int
    fingerprint: str
    checksum: int
    seal: int = 0


def write_checkpoint(folder: Path, store: Store, rows: int, live: NDArray[np.int64], request: str) -> Checkpoint:
    """Copy the records of a population that nobody steps. Where this request has made a checkpoint, it is that one.

    Raises
    ------
    DiskFull, FolderNotUsable
        The earlier checkpoints and the journal are as they were.
    """
    numbers = checkpoint_numbers(folder)
    if numbers:
        last = read_checkpoint(folder, numbers[-1])
        if last is not None and last.request == request:
            return last
    number = (numbers[-1] if numbers else 0) + 1
    target = checkpoint_folder(folder, number)
    draft = target.with_name(f".new-{number}")
    shutil.rmtree(draft, ignore_errors=True)
    ticks = store.int64[live, 0]
    try:
        with storage_errors(folder):
            draft.mkdir(mode=0o700, parents=True)
            facts = Checkpoint(
                number=number,
                request=request,
                time_s=time.time(),
                rows=rows,
                lowest_tick=int(ticks.min(initial=2**62)) if len(ticks) else 0,
                highest_tick=int(ticks.max(initial=0)),
                fingerprint=fingerprint(),
                checksum=store.copy_to(draft / _RECORDS, rows),
            )
            with open(draft / _FACTS, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(_sealed(facts)), indent=2))
                file.flush()
                os.fsync(file.fileno())
            sync_folder(draft)
            # Before the checkpoint counts: a generation that has no folder counts as lost.
            make_generation(folder, number)
            draft.rename(target)
            sync_folder(target.parent)
            sync_folder(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return _sealed(facts)


def read_checkpoint(folder: Path, number: int) -> Checkpoint | None:
    """What a checkpoint says of itself; None where it cannot be read."""
    try:
        facts = msgspec.json.decode((checkpoint_folder(folder, number) / _FACTS).read_bytes(), type=Checkpoint)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return facts if (facts.number, facts.format) == (number, FORMAT_VERSION) and facts == _sealed(facts) else None


def _sealed(facts: Checkpoint) -> Checkpoint:
    return msgspec.structs.replace(facts, seal=zlib.crc32(msgspec.json.encode(msgspec.structs.replace(facts, seal=0))))


def load_checkpoint(folder: Path, facts: Checkpoint, store: Store, layout: RecordLayout) -> None:
    """Fill a store with the records of a checkpoint.

    Raises
    ------
    CorruptStore
        They are not what was written. The store holds whatever it holds.
    """
    path = checkpoint_folder(folder, facts.number) / _RECORDS
    with Store.open(path, layout, writable=False) as copy:
        if copy.rows != facts.rows or store.copy_from(copy) != facts.checksum:
            raise CorruptStore("the records of this checkpoint are not what was written", field=str(path))


def trim(folder: Path, history_bytes: int) -> None:
    """Delete the oldest checkpoints and their journals, until those before the last take `history_bytes` at the most.

    Raises
    ------
    FolderNotUsable
    """
    with storage_errors(folder):
        numbers = checkpoint_numbers(folder)
        generations = {int(path.name) for path in folder.glob("journal/*") if path.name.isdecimal()}
        kept = 0
        for number in sorted({*numbers, *generations}, reverse=True):
            if numbers and number >= numbers[-1]:
                continue
            kept += size_bytes(checkpoint_folder(folder, number)) + size_bytes(generation_folder(folder, number))
            if kept > history_bytes:
                _delete(checkpoint_folder(folder, number))
                _delete(generation_folder(folder, number))


def _delete(folder: Path) -> None:
    """Delete a folder, which leaves its place first: half of it would pass for all that there was."""
    if folder.exists():
        doomed = folder.with_name(f".old-{folder.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
