"""Snapshots: a population and its model in a folder of their own, for another name or another machine.

``snapshot.json`` names every file with its size and CRC-32; it is read by this version and later ones. ``agents.bin``,
``parameters.bin``, ``population.json`` and ``members-0.npz`` are as in a population's folder, ``model/`` as in the
folder of models.
"""

from __future__ import annotations

import os
import shutil
import time
import zlib
from pathlib import Path

import msgspec

from beliefd.engine.given import copy_given
from beliefd.engine.manifest import Manifest, read_manifest, write_manifest
from beliefd.engine.members import Members
from beliefd.engine.store import Store, storage_errors, sync_folder
from beliefd_proto.errors import CorruptStore, InvalidArgument

FORMAT_VERSION = 1
MODEL_FOLDER = "model"
_FACTS = "snapshot.json"
_MODEL_FILES = ("model.json", "tensors.npz")
_BLOCK_BYTES = 2**20


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size and CRC-32 of a file."""

    size: int
    checksum: int


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a snapshot holds.

    Attributes
    ----------
    request : str
        Id of the request that made it, hexadecimal.
    time_s : float
        When, in Unix time.
    files : dict of str to File
        By path in the snapshot's folder.
    """

    format: int = FORMAT_VERSION
    request: str
    time_s: float
    files: dict[str, File]


def write_snapshot(
    target: Path, folder: Path, store: Store, manifest: Manifest, members: Members, model_folder: Path, request: str
) -> None:
    """Copy a population that nobody steps, from its folder. Where this request made the snapshot, it stays as it is.

    Raises
    ------
    InvalidArgument
        There is another snapshot at `target`.
    DiskFull, FolderNotUsable
        Nothing stands at `target`.
    """
    if target.exists():
        if _read_facts(target).request == request:
            return
        raise InvalidArgument("there is a snapshot of this name; choose another", field="name", value=target.name)
    draft = target.with_name(f".new-{target.name}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with storage_errors(target):
            (draft / MODEL_FOLDER).mkdir(mode=0o700, parents=True)
            store.copy_to(draft / "agents.bin", manifest.rows)
            copy_given(folder, draft, manifest.model, manifest.rows)
            write_manifest(draft, msgspec.structs.replace(manifest, members="members-0.npz", changes=()), members)
            for name in _MODEL_FILES:
                shutil.copyfile(model_folder / name, draft / MODEL_FOLDER / name)
            files = {str(path.relative_to(draft)): _synced(path) for path in sorted(draft.rglob("*")) if path.is_file()}
            with open(draft / _FACTS, "wb") as file:
                facts = Snapshot(request=request, time_s=time.time(), files=files)
                file.write(msgspec.json.format(msgspec.json.encode(facts), indent=2))
                file.flush()
                os.fsync(file.fileno())
            sync_folder(draft / MODEL_FOLDER)
            sync_folder(draft)
            draft.rename(target)
            sync_folder(target.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read_snapshot(folder: Path) -> tuple[Snapshot, Manifest, Members]:
    """Check every file of a snapshot, and read who is in it.

    Raises
    ------
    InvalidArgument
        There is no such snapshot.
    CorruptStore
        A file is missing or not what was written, or the format is of a later version.
    FolderNotUsable
    """
    if not folder.exists():
        known = sorted(path.name for path in folder.parent.glob("[!.]*"))
        raise InvalidArgument(
            "there is no snapshot of this name",
            field="snapshot",
            value=folder.name,
            allowed=", ".join(known[:20]) or f"a folder in {folder.parent}",
        )
    facts = _read_facts(folder)
    with storage_errors(folder):
        for name, expected in facts.files.items():
            path = folder / name
            if not path.is_file() or _checked(path) != expected:
                raise CorruptStore("this file of the snapshot is not what was written", field=str(path))
    manifest, members = read_manifest(folder)
    return facts, manifest, members


def _read_facts(folder: Path) -> Snapshot:
    path = folder / _FACTS
    with storage_errors(path):
        try:
            facts = msgspec.json.decode(path.read_bytes(), type=Snapshot)
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CorruptStore(f"this is no whole snapshot ({error})", field=str(path)) from error
    if facts.format != FORMAT_VERSION:
        raise CorruptStore(
            "this snapshot was written in another format", field=str(path), value=facts.format, allowed="1"
        )
    return facts


def _synced(path: Path) -> File:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return _checked(path)


def _checked(path: Path) -> File:
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return File(path.stat().st_size, checksum)
