"""What a population's folder says of it: ``population.json``, who lives in ``members-<k>.npz``, and its ``name``.

The manifest is the one place that counts: it is replaced whole, by a rename, and whatever else a change needs (longer
``agents.bin``, a new members file) stands complete before the manifest names it. A death in between leaves files that
nobody reads.

The last changes are kept with the ids of the requests that made them, so that a request repeated because its answer was
lost is answered and not done again.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from beliefd.engine.members import Members
from beliefd.engine.store import storage_errors, sync_folder
from beliefd_proto.errors import CorruptStore
from beliefd_proto.messages import Rebuilt
from beliefd_proto.model_info import ModelInfo

FORMAT_VERSION = 1
CHANGES_KEPT = 256
# What the readers of JSON, zip archives and arrays raise on files that are cut off or altered.
_UNREADABLE = (
    FileNotFoundError,
    msgspec.MsgspecError,
    zipfile.BadZipFile,
    zlib.error,
    KeyError,
    ValueError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
MANIFEST_NAME = "population.json"
_NAME = "name"
_REBUILT = "rebuilt.json"


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A change of who lives in a population, and the request (id, hexadecimal) that made it."""

    request: str
    kind: str
    first: int
    count: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A population.

    Attributes
    ----------
    rows : int
        How many agents it ever had: the number that the next one gets.
    created_by : str
        Id of the request that made it, hexadecimal.
    fingerprint : str
        Of the kernels under which its state came to be: bits repeat only under the same one.
    members : str
        The members file in force.
    changes : tuple of Change
        The last `CHANGES_KEPT`, oldest first.
    """

    format: int = FORMAT_VERSION
    uid: str
    name: str
    seed: int
    durability: str
    model: ModelInfo
    rows: int
    created_by: str
    fingerprint: str
    members: str = "members-0.npz"
    changes: tuple[Change, ...] = ()

    def change(self, request: str) -> Change | None:
        """The change that this request made, if it did."""
        return next((change for change in self.changes if change.request == request), None)

    def changed(self, change: Change, rows: int) -> Manifest:
        """The manifest after `change`, with a members file of its own."""
        number = int(self.members.removeprefix("members-").removesuffix(".npz")) + 1
        changes = (*self.changes, change)[-CHANGES_KEPT:]
        return msgspec.structs.replace(self, rows=rows, changes=changes, members=f"members-{number}.npz")


def read_manifest(folder: Path) -> tuple[Manifest, Members]:
    """Read a population's manifest and members, as they stood together, also while another process changes them.

    Raises
    ------
    CorruptStore
        A file is missing or not what was written.
    FolderNotUsable
    """
    with _reading(folder):
        missing = None
        while True:
            manifest = _read_facts(folder / MANIFEST_NAME)
            try:
                return manifest, _read_members(folder / manifest.members)
            except FileNotFoundError:
                # A change since the manifest was read removes the file that it named; the new one names another.
                if manifest.members == missing:
                    raise
                missing = manifest.members


def read_facts(folder: Path) -> Manifest:
    """Read a population's manifest alone.

    Raises
    ------
    CorruptStore
        The file is missing or not what was written.
    FolderNotUsable
    """
    with _reading(folder):
        return _read_facts(folder / MANIFEST_NAME)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    with storage_errors(folder):
        try:
            yield
        except _UNREADABLE as error:
            raise CorruptStore(
                f"{folder} holds no whole population ({error}); restore it from a copy, or remove it",
                field=str(folder),
            ) from error


def _read_facts(path: Path) -> Manifest:
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    if manifest.format != FORMAT_VERSION:
        raise CorruptStore(
            "this population was written in another format",
            field=str(path),
            value=manifest.format,
            allowed=str(FORMAT_VERSION),
        )
    return manifest


def _read_members(path: Path) -> Members:
    # np.load leaves a file open that it opened itself and then refused.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Members.from_arrays(dict(arrays))


def read_name(folder: Path) -> str | None:
    """A population's name, where its manifest cannot be read; None where that cannot be told either."""
    try:
        return (folder / _NAME).read_text()
    except (OSError, ValueError):
        return None


def read_rebuilt(folder: Path) -> Rebuilt | None:
    """How a population's live file was last made anew; None where it never was, or that cannot be read."""
    try:
        return msgspec.json.decode((folder / _REBUILT).read_bytes(), type=Rebuilt)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def write_rebuilt(folder: Path, rebuilt: Rebuilt) -> None:
    """Keep how a population's live file was made.

    Raises
    ------
    DiskFull, FolderNotUsable
    """
    with storage_errors(folder):
        draft = folder / f"{_REBUILT}.new"
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(rebuilt), indent=2))
        os.replace(draft, folder / _REBUILT)


def write_manifest(folder: Path, manifest: Manifest, members: Members) -> None:
    """Put a manifest and its members in place, durably; the old ones stay in force until the very end.

    Raises
    ------
    DiskFull, FolderNotUsable
        The old manifest is in force.
    """
    with storage_errors(folder):
        with open(folder / manifest.members, "wb") as file:
            np.savez(file, allow_pickle=False, **members.arrays())
            file.flush()
            os.fsync(file.fileno())
        (folder / _NAME).write_text(manifest.name)  # known even where the manifest cannot be read
        temporary = folder / f"{MANIFEST_NAME}.new"
        with open(temporary, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / MANIFEST_NAME)
        sync_folder(folder)
        for stale in folder.glob("members-*.npz"):
            if stale.name != manifest.members:
                stale.unlink(missing_ok=True)
