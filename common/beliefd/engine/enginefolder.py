"""The one population that an engine keeps in a data folder: found there, made, or rebuilt."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beliefd.engine.boot import is_stale, stamp, take_clean
from beliefd.engine.generations import make_generation
from beliefd.engine.given import FILE_NAME, create_given, open_given
from beliefd.engine.jit import fingerprint
from beliefd.engine.layout import RecordLayout
from beliefd.engine.manifest import Manifest, read_facts, write_manifest
from beliefd.engine.members import Members
from beliefd.engine.planfile import load_plan
from beliefd.engine.planner import CompiledModel
from beliefd.engine.recovery import Source, recover
from beliefd.engine.store import Store, storage_errors, sync_folder
from beliefd.model import Model
from beliefd_proto.errors import InvalidArgument, PopulationExists
from beliefd_proto.messages import Rebuilt
from beliefd_proto.model_info import ModelInfo

UID = "e" * 16
"""Of that population."""


def check_durability(durability: str, data: object) -> None:
    """Refuse a durability that is not known, or that agents in memory cannot have.

    Raises
    ------
    InvalidArgument
    """
    allowed = ("process",) if data is None else ("process", "disk")
    if not isinstance(durability, str) or durability not in allowed:
        why = "agents in memory are lost with it; pass data" if durability == "disk" else "this durability is not known"
        raise InvalidArgument(why, field="durability", value=durability, allowed=", ".join(allowed))


def open_folder(
    data: Path,
    model: Model,
    info: ModelInfo,
    agents: int,
    seed: int,
    durability: str,
    parameters: NDArray[np.floating] | None,
) -> tuple[CompiledModel, Store, Store | None, Rebuilt | None]:
    """Open the engine's population in a data folder, or make it; tells what was found where it had to be rebuilt.

    `info` is that of the model with what agents were given, and `parameters` are the rows of it.
    """
    model_folder = data / "models" / model.hash
    folder = data / "populations" / UID
    with storage_errors(data):
        model_folder.parent.mkdir(exist_ok=True)
        folder.parent.mkdir(exist_ok=True)
    model.save(model_folder)
    compiled = load_plan(model_folder, info)
    if not folder.exists():
        _create(folder, info, agents, seed, durability, parameters)
    manifest = read_facts(folder)
    for field, found, asked in (
        ("model", manifest.model.hash, model.hash),
        ("per_agent", tuple(manifest.model.per_agent), tuple(info.per_agent)),
        ("agents", manifest.rows, agents),
        ("seed", manifest.seed, seed),
        ("durability", manifest.durability, durability),
    ):
        if found != asked:
            raise PopulationExists(
                f"{data} holds other agents; open it with theirs, or choose another folder",
                field=field,
                value=asked,
                allowed=str(found),
            )
    given = open_given(folder, info)
    if given is not None and parameters is not None and not np.array_equal(given.real[:agents], parameters):
        raise PopulationExists(
            f"{data} holds agents with other parameters of their own; open it with theirs, or choose another folder",
            field="per_agent",
        )
    take_clean(data)
    rebuilt = None
    if is_stale(folder):
        source = Source(folder, seed, agents, np.arange(agents), durability == "disk")
        rebuilt = recover(source, compiled)
        if not rebuilt.whole:
            warnings.warn(f"{data} lost steps when the machine went down: {rebuilt.lost}", stacklevel=3)
    if manifest.fingerprint != fingerprint():
        warnings.warn(
            f"{data} was written by other kernels or on another CPU: the agents go on within the tolerance of "
            f"{model.dtype}, not bit for bit",
            stacklevel=3,
        )
    store = Store.open(folder / "agents.bin", compiled.layout)
    store.ensure(agents)
    return compiled, store, given, rebuilt


def _create(
    folder: Path, info: ModelInfo, agents: int, seed: int, durability: str, parameters: NDArray[np.floating] | None
) -> None:
    """Make the population's folder in one rename, so that a crash leaves all of it or nothing."""
    draft = folder.with_name(f".new-{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    manifest = Manifest(
        uid=UID,
        name="engine",
        seed=seed,
        durability=durability,
        model=info,
        rows=agents,
        created_by="0" * 32,
        fingerprint=fingerprint(),
    )
    try:
        with storage_errors(folder):
            draft.mkdir(mode=0o700)
            Store.create(draft / "agents.bin", RecordLayout.of(info), agents).close()
            if parameters is not None:
                create_given(draft / FILE_NAME, info, parameters)
            write_manifest(draft, manifest, Members.of(agents))
            make_generation(draft, 0)
            stamp(draft)
            draft.rename(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
