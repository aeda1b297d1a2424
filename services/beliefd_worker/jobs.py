"""Jobs over a whole population: make it, change who lives in it, tell its parameters, end it.

The broker gives such a job to one worker while nothing else touches the population. A job may be run again after its
worker died, or because a client repeats a request whose answer was lost, so each finds out first whether it was done.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd import peragent
from beliefd.engine.boot import stamp
from beliefd.engine.generations import make_generation
from beliefd.engine.given import FILE_NAME, GivenLayout, create_given, given_rows, write_given
from beliefd.engine.jit import fingerprint
from beliefd.engine.layout import RecordLayout
from beliefd.engine.manifest import Change, Manifest, read_facts, read_manifest, read_rebuilt, write_manifest
from beliefd.engine.members import Members
from beliefd.engine.planfile import load_plan
from beliefd.engine.store import Store, storage_errors, sync_folder
from beliefd.model import Model
from beliefd.wire import ID_ARRAYS, PARAMETER_PREFIX, id_arrays, ids_from
from beliefd_proto import Arrays, Command
from beliefd_proto import messages as m
from beliefd_proto.errors import CorruptStore, DiskFull, InvalidModel, MalformedMessage, TooLarge
from beliefd_service.population_info import population_info
from beliefd_worker import keeping
from beliefd_worker.execution import Outcome
from beliefd_worker.shelf import Shelf


def run(work: m.Work, arrays: Arrays, shelf: Shelf) -> Outcome:
    """Do one job."""
    request = work.parts[0].id
    match work.kind:
        case Command.CREATE:
            return _create(msgspec.msgpack.decode(work.request, type=m.Create), arrays, shelf)
        case Command.ADD_AGENTS:
            return _add(work.population, msgspec.msgpack.decode(work.request, type=m.AddAgents), arrays, shelf)
        case Command.REMOVE_AGENTS:
            return _remove(work.population, request, arrays["agents"].astype(np.int64), shelf)
        case Command.DROP:
            shelf.delete(work.population)
            return Outcome()
        case Command.PARAMETERS:
            return _parameters(work.population, shelf)
        case Command.CHECKPOINT:
            return Outcome(first=keeping.checkpoint(work.population, request, shelf))
        case Command.RECOVER:
            keeping.recover_live(work.population, shelf)
            return _described(work.population, shelf)
        case Command.SNAPSHOT:
            keeping.snapshot(work.population, msgspec.msgpack.decode(work.request, type=m.Snapshot), shelf)
            return Outcome()
        case Command.RESTORE:
            return _described(keeping.restore(msgspec.msgpack.decode(work.request, type=m.Restore), shelf), shelf)
        case Command.FORK:
            header = msgspec.msgpack.decode(work.request, type=m.Fork)
            return _described(keeping.fork(work.population, header, shelf), shelf)
    raise AssertionError(f"not a job: {work.kind!r}")


def _create(request: m.Create, arrays: Arrays, shelf: Shelf) -> Outcome:
    uid = m.population_uid(request.id)
    folder = shelf.folder(uid)
    if folder.exists():  # an earlier try got this far
        return _described(uid, shelf)
    try:
        spec = msgspec.msgpack.decode(request.spec)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidModel(f"not MessagePack: {error}", field="spec", allowed="what Model.spec() gives") from None
    given = peragent.from_message(arrays)
    tensors = {n: a for n, a in arrays.items() if n not in ID_ARRAYS and not n.startswith(PARAMETER_PREFIX)}
    model = Model.from_parts(spec, tensors)
    if model.hash != request.hash:
        raise InvalidModel("the model changed on its way", field="hash", value=model.hash, allowed=request.hash)
    _check_policies(model, shelf.settings.limits)
    peragent.check(given, peragent.shapes_of(model), request.agents)
    peragent.check_starts(given, model)
    info = msgspec.structs.replace(model.info, per_agent={name: a.shape[1:] for name, a in given.items()})
    members = _bounded(Members.of(request.agents, _ids(arrays)), shelf.settings.limits)
    manifest = Manifest(
        uid=uid,
        name=request.name,
        seed=request.seed,
        durability=request.durability,
        model=info,
        rows=request.agents,
        created_by=request.id.hex(),
        fingerprint=fingerprint(),
    )
    layout = RecordLayout.of(info)
    agent_bytes = layout.record_bytes + GivenLayout.of(info).record_bytes
    try:
        model.save(shelf.model_folder(model.hash))
        load_plan(shelf.model_folder(model.hash), info)  # so that no worker compiles it in its first batch
        _make_folder(folder, manifest, members, layout, given_rows(model, info, given) if given else None)
    except DiskFull as error:
        raise DiskFull(
            f"the data folder has no room for {request.agents} agents of {agent_bytes} bytes; free some",
            field="agents",
            value=f"{request.agents * agent_bytes} bytes",
        ) from error
    return _described(uid, shelf)


def _make_folder(
    folder: Path,
    manifest: Manifest,
    members: Members,
    layout: RecordLayout,
    parameters: NDArray[np.floating] | None,
) -> None:
    """Put a population's folder in its place whole: whoever finds it finds a complete population."""
    draft = folder.with_name(f".new-{manifest.uid}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with storage_errors(folder):
            draft.mkdir(mode=0o700)
            Store.create(draft / "agents.bin", layout, manifest.rows).close()
            if parameters is not None:
                create_given(draft / FILE_NAME, manifest.model, parameters)
            write_manifest(draft, manifest, members)
            make_generation(draft, 0)
            stamp(draft)
            draft.rename(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _add(uid: str, request: m.AddAgents, arrays: Arrays, shelf: Shelf) -> Outcome:
    manifest, members = read_manifest(shelf.folder(uid))
    done = manifest.change(request.id.hex())
    if done is None:
        members = _bounded(members.added(request.count, _ids(arrays)), shelf.settings.limits)
        first, rows = manifest.rows, manifest.rows + request.count
        # What they have stands before the manifest counts them: a death in between leaves room that the next try uses.
        given = peragent.from_message(arrays)
        peragent.check(given, manifest.model.per_agent, request.count)
        peragent.check_complete(given, manifest.model)
        population = shelf.population(uid, manifest.rows)
        if population.given is not None:
            model = _model(manifest, shelf)
            peragent.check_starts(given, model)
            population.given.grow(rows)
            write_given(shelf.folder(uid) / FILE_NAME, given_rows(model, manifest.model, given), first)
        population.store.grow(rows)
        done = Change(request=request.id.hex(), kind="add", first=first, count=request.count)
        write_manifest(shelf.folder(uid), manifest.changed(done, rows), members)
    return _described(uid, shelf, done)


def _remove(uid: str, request: bytes, numbers: Any, shelf: Shelf) -> Outcome:
    manifest, members = read_manifest(shelf.folder(uid))
    done = manifest.change(request.hex())
    if done is None:
        members = _bounded(members.removed(numbers), shelf.settings.limits)
        done = Change(request=request.hex(), kind="remove", first=0, count=len(numbers))
        write_manifest(shelf.folder(uid), manifest.changed(done, manifest.rows), members)
    return _described(uid, shelf, done)


def _parameters(uid: str, shelf: Shelf) -> Outcome:
    model = _model(read_facts(shelf.folder(uid)), shelf)
    return Outcome(arrays=model.tensors(), spec=msgspec.msgpack.encode(model.spec()))


def _model(manifest: Manifest, shelf: Shelf) -> Model:
    model = Model.load(shelf.model_folder(manifest.model.hash))
    if model.hash != manifest.model.hash:
        raise CorruptStore("the population's model is another one", field="model", value=model.hash)
    return model


def _described(uid: str, shelf: Shelf, done: Change | None = None) -> Outcome:
    manifest, members = read_manifest(shelf.folder(uid))
    return Outcome(
        arrays=_told(members),
        info=population_info(manifest, members, rebuilt=read_rebuilt(shelf.folder(uid))),
        first=done.first if done is not None else 0,
        count=done.count if done is not None else manifest.rows,
    )


def _ids(arrays: Arrays) -> tuple[str, ...] | None:
    try:
        return ids_from(arrays)
    except ValueError as error:
        raise MalformedMessage(f"these are no ids: {error}", field="agent_ids") from None


def _told(members: Members) -> Arrays:
    """Who lives, as clients are told."""
    return {"members": members.ranges, **({} if members.ids is None else id_arrays(members.ids))}


def _check_policies(model: Model, limits: m.Limits) -> None:
    if len(model.policies) > limits.policies:
        raise TooLarge(
            "this server takes models of fewer policies; its operator sets how many with BELIEFD_POLICIES",
            field="policies",
            value=len(model.policies),
            allowed=f"1..{limits.policies}",
        )


def _bounded(members: Members, limits: m.Limits) -> Members:
    """Refuse members that no frame would hold, before anything is changed: clients could not be told who lives."""
    for name, array in _told(members).items():
        if array.nbytes > limits.frame_bytes:
            raise TooLarge(
                "all ids of a population are to fit in one frame"
                if name in ID_ARRAYS
                else "what would be left is scattered over too many ranges of numbers; remove neighbours together",
                field="agent_ids" if name in ID_ARRAYS else "agents",
                value=f"{array.nbytes} bytes",
                allowed=f"{limits.frame_bytes} bytes",
            )
    return members
