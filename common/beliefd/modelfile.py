"""Models in folders: ``model.json`` (hash and spec) beside ``tensors.npz``."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from beliefd.model import Model
from beliefd.parts import tensor_names
from beliefd.validation import MAX_TENSOR_ENTRIES
from beliefd_proto.errors import CorruptStore, DiskFull, FolderNotUsable, InvalidModel, StorageError

SPEC_NAME = "model.json"
TENSORS_NAME = "tensors.npz"
MAX_SPEC_BYTES = 1 << 20
_MAX_HEADER_BYTES = 4096


def save(model: Model, folder: Path) -> None:
    """Writes `model` into `folder`, which must not exist, be empty, or hold the same model already.

    The folder appears whole or not at all: it is written beside its place, synced to disk and renamed. A process that
    dies meanwhile may leave a folder named ``.<name>.<number>.tmp`` behind; nothing reads such a folder.

    Raises
    ------
    FolderNotUsable
        `folder` holds something else, or cannot be written.
    CorruptStore
        `folder` holds a model that is damaged.
    DiskFull
    """
    draft = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.tmp"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not _holds(model, folder):
            draft.mkdir()
            _write(model, draft)
            # rename replaces an empty folder and fails on any other, so of two writers at once the second fails here.
            os.rename(draft, folder)
            _sync(folder.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and _holds(model, folder):
            return
        raise _storage_error(error, folder) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load(folder: Path) -> Model:
    """Reads the model in `folder`. Nothing in the files is executed, and no more is read than their sizes say.

    Raises
    ------
    CorruptStore
        A file is missing, truncated or altered, or holds no valid model.
    FolderNotUsable
        A file cannot be read.
    """
    try:
        written_hash, spec = _read_spec(folder / SPEC_NAME)
        model = Model.from_parts(spec, _read_tensors(folder / TENSORS_NAME, tensor_names(spec)))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _corrupt(folder, f"{error.filename} is missing") from error
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise _corrupt(folder, "the archive names an offset that no file has") from error
        raise _storage_error(error, folder) from error
    except (InvalidModel, zipfile.BadZipFile, ValueError, KeyError, EOFError, NotImplementedError) as error:
        raise _corrupt(folder, str(error)) from error
    if model.hash != written_hash:
        raise _corrupt(folder, f"its content has hash {model.hash}, {SPEC_NAME} says {written_hash}")
    return model


def _holds(model: Model, folder: Path) -> bool:
    """Whether `folder` holds exactly this model. False where it may be created, an error where it may not."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not folder.is_dir() or not (folder / SPEC_NAME).exists():
        raise FolderNotUsable("exists and is no model folder; choose another", field="folder", value=str(folder))
    found = load(folder)
    if found != model:
        raise FolderNotUsable(
            f"holds another model ({found.hash}); choose another folder", field="folder", value=str(folder)
        )
    return True


def _write(model: Model, draft: Path) -> None:
    with open(draft / SPEC_NAME, "w", encoding="utf-8") as file:
        json.dump({"hash": model.hash, "spec": model.spec()}, file, sort_keys=True, indent=1)
        file.write("\n")
        _flush(file)
    with open(draft / TENSORS_NAME, "wb") as binary:
        np.savez(binary, allow_pickle=False, **model.tensors())
        _flush(binary)
    _sync(draft)


def _flush(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_spec(path: Path) -> tuple[str, dict[str, Any]]:
    with open(path, "rb") as file:
        content = file.read(MAX_SPEC_BYTES + 1)
    if len(content) > MAX_SPEC_BYTES:
        raise ValueError(f"{SPEC_NAME} is larger than {MAX_SPEC_BYTES} bytes")
    try:
        written = json.loads(content)
    except RecursionError:
        raise ValueError(f"{SPEC_NAME} is nested too deeply") from None
    if not isinstance(written, dict) or set(written) != {"hash", "spec"}:
        raise ValueError(f"{SPEC_NAME} must hold exactly hash and spec")
    return written["hash"], written["spec"]


def _read_tensors(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sorted(member.filename for member in members) != sorted(f"{name}.npy" for name in names):
            raise ValueError(f"{TENSORS_NAME} does not hold exactly the arrays {names}")
        for member in members:
            stored = member.compress_type == zipfile.ZIP_STORED and member.file_size == member.compress_size
            if not stored or member.flag_bits & 1 or member.file_size > MAX_TENSOR_ENTRIES * 8 + _MAX_HEADER_BYTES:
                raise ValueError(f"{member.filename} is compressed, encrypted or too large")
        return {name: _read_npy(archive, f"{name}.npy") for name in names}


def _read_npy(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} has another format version")
        try:
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_MAX_HEADER_BYTES)
        except Exception as error:
            # Whatever NumPy's header parser stumbles over: it lets errors of the tokenizer and of dtype through.
            raise ValueError(f"{name} has a damaged header") from error
        # frombuffer takes what was read, whatever shape the header claims, and refuses objects.
        return np.frombuffer(file.read(), dtype=dtype).reshape(shape, order="F" if fortran_order else "C")


def _corrupt(folder: Path, problem: str) -> CorruptStore:
    return CorruptStore(f"no intact model in {folder}: {problem}; restore it or save the model again", field="folder")


def _storage_error(error: OSError, folder: Path) -> StorageError:
    kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else FolderNotUsable
    return kind(f"{error.strerror or error}; give a folder that can be used", field="folder", value=str(folder))
