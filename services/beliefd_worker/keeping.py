"""Jobs that keep a population and bring it back: checkpoints, recovery, snapshots, and populations made from others.

Like all jobs, each may be begun again by another worker, and finds out first whether it was done.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from beliefd.engine.boot import is_stale, stamp
from beliefd.engine.checkpoint import trim, write_checkpoint
from beliefd.engine.given import copy_given
from beliefd.engine.jit import fingerprint
from beliefd.engine.layout import RecordLayout
from beliefd.engine.manifest import Manifest, read_manifest, write_manifest, write_rebuilt
from beliefd.engine.members import Members
from beliefd.engine.planfile import load_plan
from beliefd.engine.recovery import Source, rebuild, recover
from beliefd.engine.snapshot import MODEL_FOLDER, read_snapshot, write_snapshot
from beliefd.engine.store import Store, storage_errors, sync_folder
from beliefd.model import Model
from beliefd_proto import messages as m
from beliefd_proto.errors import CorruptStore, InvalidArgument
from beliefd_worker.shelf import Shelf


def checkpoint(uid: str, request: bytes, shelf: Shelf) -> int:
    """Copy the records to a checkpoint, and trim what is older; returns the checkpoint's number."""
    folder = shelf.folder(uid)
    manifest, members = read_manifest(folder)
    store = shelf.population(uid, manifest.rows).store
    made = write_checkpoint(folder, store, manifest.rows, members.live, request.hex())
    trim(folder, shelf.settings.history_bytes if manifest.durability == "disk" else 0)
    return made.number


def recover_live(uid: str, shelf: Shelf) -> None:
    """Make the live file anew, unless that was done in this boot of the machine."""
    folder = shelf.folder(uid)
    if is_stale(folder):
        shelf.forget(uid)
        manifest, members = read_manifest(folder)
        recover(_source(folder, manifest, members), load_plan(shelf.model_folder(manifest.model.hash), manifest.model))


def snapshot(uid: str, request: m.Snapshot, shelf: Shelf) -> None:
    """Copy the population and its model to a folder of their own."""
    manifest, members = read_manifest(shelf.folder(uid))
    folder = shelf.settings.snapshots
    with storage_errors(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    store = shelf.population(uid, manifest.rows).store
    model_folder = shelf.model_folder(manifest.model.hash)
    home = shelf.folder(uid)
    write_snapshot(folder / request.name, home, store, manifest, members, model_folder, request.id.hex())


def restore(request: m.Restore, shelf: Shelf) -> str:
    """Make a population from a snapshot; returns its uid."""
    uid = m.population_uid(request.id)
    if not shelf.folder(uid).exists():
        folder = shelf.settings.snapshots / request.snapshot
        facts, manifest, members = read_snapshot(folder)
        model = Model.load(folder / MODEL_FOLDER)
        if model.hash != manifest.model.hash:
            raise CorruptStore("the snapshot's model is another one", field="model", value=model.hash)
        model.save(shelf.model_folder(model.hash))
        layout = load_plan(shelf.model_folder(model.hash), manifest.model).layout

        def records(target: Path) -> m.Rebuilt:
            with Store.open(folder / "agents.bin", layout, writable=False) as copy:
                copy.ensure(manifest.rows)
                copy.copy_to(target, manifest.rows)
            same = manifest.fingerprint == fingerprint()
            return m.Rebuilt(why="restored", time_s=time.time(), checkpoint_time_s=facts.time_s, same_kernels=same)

        _make(shelf, uid, request, folder, manifest, members, records)
    return uid


def fork(source_uid: str, request: m.Fork, shelf: Shelf) -> str:
    """Make a population whose agents stand where those of another do, or did after a tick; returns its uid."""
    uid = m.population_uid(request.id)
    if not shelf.folder(uid).exists():
        manifest, members = read_manifest(shelf.folder(source_uid))
        if request.at_tick is not None and manifest.durability != "disk":
            raise InvalidArgument(
                "only what is journalled has a past; fork it as it stands now, or make it with durability='disk'",
                field="at_tick",
                value=request.at_tick,
            )
        compiled = load_plan(shelf.model_folder(manifest.model.hash), manifest.model)

        def records(target: Path) -> m.Rebuilt:
            if request.at_tick is None:
                shelf.population(source_uid, manifest.rows).store.copy_to(target, manifest.rows)
                return m.Rebuilt(why="forked", time_s=time.time())
            source = _source(shelf.folder(source_uid), manifest, members)
            return rebuild(source, compiled, target, "forked", request.at_tick)

        _make(shelf, uid, request, shelf.folder(source_uid), manifest, members, records)
    return uid


def _source(folder: Path, manifest: Manifest, members: Members) -> Source:
    return Source(folder, manifest.seed, manifest.rows, members.live, manifest.durability == "disk")


def _make(
    shelf: Shelf,
    uid: str,
    request: m.Restore | m.Fork,
    home: Path,
    like: Manifest,
    members: Members,
    records: Callable[[Path], m.Rebuilt],
) -> None:
    """Put a population in its place whole, with the records that `records` writes, and a checkpoint of them.

    `like` is the manifest of the population or snapshot in `home`.
    """
    folder = shelf.folder(uid)
    draft = folder.with_name(f".new-{uid}")
    shutil.rmtree(draft, ignore_errors=True)
    manifest = msgspec.structs.replace(
        like,
        uid=uid,
        name=request.name,
        created_by=request.id.hex(),
        fingerprint=fingerprint(),
        members="members-0.npz",
        changes=(),
    )
    try:
        with storage_errors(folder):
            draft.mkdir(mode=0o700)
            rebuilt = records(draft / "agents.bin")
            copy_given(home, draft, like.model, like.rows)
            write_manifest(draft, manifest, members)
            with Store.open(draft / "agents.bin", RecordLayout.of(like.model)) as store:
                made = write_checkpoint(draft, store, manifest.rows, members.live, request.id.hex())
            span = {"lowest_tick": made.lowest_tick, "highest_tick": made.highest_tick}
            write_rebuilt(draft, msgspec.structs.replace(rebuilt, **span))
            stamp(draft)
            draft.rename(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
