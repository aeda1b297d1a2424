"""A population's facts: before or after a change, never between, and refused when damaged."""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from pathlib import Path

import msgspec
import numpy as np
import pytest

from beliefd.engine.manifest import CHANGES_KEPT, MANIFEST_NAME, Change, Manifest, read_manifest, write_manifest
from beliefd.engine.members import Members
from beliefd_proto.errors import CorruptStore, DiskFull, FolderNotUsable
from models import tmaze


def _manifest(rows: int = 5) -> Manifest:
    return Manifest(
        uid="0" * 16,
        name="mice",
        seed=3,
        durability="process",
        model=tmaze().info,
        rows=rows,
        created_by="ab" * 16,
        fingerprint="f" * 16,
    )


def _add(number: int) -> Change:
    return Change(request=f"{number:032x}", kind="add", first=5, count=2)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    members = Members.of(5, list("abcde")).removed(np.array([2]))
    write_manifest(tmp_path, _manifest(), members)
    manifest, found = read_manifest(tmp_path)
    assert manifest == _manifest()
    assert found.ids == ("a", "b", "d", "e")
    assert found.live.tolist() == [0, 1, 3, 4]


def test_a_change_is_found_again_and_the_old_ones_are_forgotten() -> None:
    manifest = _manifest()
    for number in range(CHANGES_KEPT + 1):
        manifest = manifest.changed(_add(number), 7)
    assert manifest.change(f"{0:032x}") is None
    assert manifest.change(f"{CHANGES_KEPT:032x}") == _add(CHANGES_KEPT)
    assert len(manifest.changes) == CHANGES_KEPT


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_change_that_fails_leaves_the_old_state(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = Members.of(5)
    write_manifest(tmp_path, _manifest(), members)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(DiskFull):
            write_manifest(tmp_path, _manifest().changed(_add(1), 7), members.added(2))
    manifest, found = read_manifest(tmp_path)
    assert manifest == _manifest()
    assert len(found) == 5


def test_one_members_file_remains(tmp_path: Path) -> None:
    members = Members.of(5)
    write_manifest(tmp_path, _manifest(), members)
    write_manifest(tmp_path, _manifest().changed(_add(1), 7), members.added(2))
    assert len(list(tmp_path.glob("members-*.npz"))) == 1
    assert len(read_manifest(tmp_path)[1]) == 7


def test_changes_while_it_is_read_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = [(_manifest(), Members.of(5))]
    for number in (1, 2):
        manifest, members = states[-1]
        states.append((manifest.changed(_add(number), manifest.rows + 2), members.added(2)))
    write_manifest(tmp_path, *states[0])
    changes = iter(states[1:])
    read_bytes = Path.read_bytes

    def read_before_a_change(path: Path) -> bytes:
        content = read_bytes(path)
        for change in changes:
            write_manifest(tmp_path, *change)
            break
        return content

    monkeypatch.setattr(Path, "read_bytes", read_before_a_change)
    manifest, members = read_manifest(tmp_path)
    assert manifest == states[2][0]
    assert len(members) == 9


@pytest.mark.parametrize("name", [MANIFEST_NAME, "members-0.npz"])
@pytest.mark.parametrize("keep_bytes", [None, 0, 30, -5])
def test_missing_and_cut_off_files_are_refused(tmp_path: Path, name: str, keep_bytes: int | None) -> None:
    write_manifest(tmp_path, _manifest(), Members.of(5, list("abcde")))
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if keep_bytes is not None:
        path.write_bytes(content[:keep_bytes])
    with pytest.raises(CorruptStore):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", [MANIFEST_NAME, "members-0.npz"])
def test_altered_files_are_refused_or_read(tmp_path: Path, name: str) -> None:
    """Every byte in turn: nothing but errors of the tree ever comes of it, whichever reader stumbles."""
    write_manifest(tmp_path, _manifest(), Members.of(5, list("abcde")))
    path = tmp_path / name
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :])
        with contextlib.suppress(CorruptStore, FolderNotUsable), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_manifest(tmp_path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, msgspec.structs.replace(_manifest(), format=99), Members.of(5))
    with pytest.raises(CorruptStore):
        read_manifest(tmp_path)
