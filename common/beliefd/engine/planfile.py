"""Plans in files: one per model, dtype, kinds of parameters per agent, and fingerprint.

They are mapped read-only, so that all processes share their pages.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

from beliefd.engine.jit import fingerprint
from beliefd.engine.layout import RecordLayout
from beliefd.engine.planner import CompiledModel, compile_model
from beliefd.engine.store import storage_errors
from beliefd.model import Model
from beliefd_proto.model_info import ModelInfo

_HEADER_INTS = 4
"""Check number, length of ints, length of reals, scratch rows; all int64."""

_CHECK = int.from_bytes(b"beliefd1", "little")


def load_plan(folder: Path, info: ModelInfo) -> CompiledModel:
    """Map the plan of the model saved in a folder; compile and write it first where there is none.

    The model itself is read only to compile it: a worker that opens a population should not need its tensors.

    Parameters
    ----------
    folder : Path
        Named by the model's hash.
    info : ModelInfo
        Of that model, with the parameters that agents were given.

    Raises
    ------
    CorruptStore
        The model cannot be read.
    DiskFull, FolderNotUsable
    """
    path = folder / _name(info)
    with storage_errors(path):
        mapped = _mapped(path, info)
        if mapped is None:
            compiled = compile_model(Model.load(folder), info)
            _write(path, compiled)
            # Should the file have gone again, the arrays in memory serve as well.
            mapped = _mapped(path, info) or compiled
        return mapped


def _name(info: ModelInfo) -> str:
    own = f"-{hashlib.sha256(repr(tuple(info.per_agent)).encode()).hexdigest()[:16]}" if info.per_agent else ""
    return f"plan-{info.dtype}-{fingerprint()}{own}.bin"


def _write(path: Path, compiled: CompiledModel) -> None:
    header = np.array([_CHECK, compiled.ints.size, compiled.reals.size, compiled.scratch_rows], dtype=np.int64)
    # A name of its own: several workers may write the same plan at once, and the last rename wins.
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            for part in (header, compiled.ints, compiled.reals):
                file.write(part.tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _mapped(path: Path, info: ModelInfo) -> CompiledModel | None:
    """Map a plan; None where there is none, or not a whole one."""
    try:
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except (FileNotFoundError, ValueError):
        return None
    start = 8 * _HEADER_INTS
    if len(content) < start:
        return None
    check, ints, reals, scratch_rows = np.frombuffer(content, np.int64, count=_HEADER_INTS).tolist()
    if check != _CHECK or len(content) != start + 8 * ints + np.dtype(info.dtype).itemsize * reals:
        return None
    return CompiledModel(
        np.frombuffer(content, np.int64, count=ints, offset=start),
        np.frombuffer(content, info.dtype, count=reals, offset=start + 8 * ints),
        info,
        RecordLayout.of(info),
        scratch_rows,
    )
