from __future__ import annotations

import errno
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beliefd import modelfile
from beliefd.model import Model
from beliefd_proto.errors import CorruptStore, DiskFull, FolderNotUsable
from models import random_model, tmaze, with_counts


class Crash(BaseException):
    """Stands for a process that dies: nothing may catch it."""


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path: Path, seed: int, sharp: bool) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng, sharp=sharp)
    model = with_counts(rng, model) if rng.random() < 0.5 else model
    folder = tmp_path / "deep" / model.hash
    model.save(folder)
    assert Model.load(folder) == model
    assert Model.load(str(folder)).spec() == model.spec()
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "tensors.npz"]
    assert not list(folder.parent.glob(".*"))


def test_same_model_again_leaves_the_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tmaze().save(folder)
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    tmaze().save(folder)
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    tmaze().save(tmp_path)
    assert Model.load(tmp_path) == tmaze()


def test_another_model_is_not_overwritten(tmp_path: Path) -> None:
    tmaze().save(tmp_path / "model")
    with pytest.raises(FolderNotUsable, match="another model"):
        tmaze(gamma=2.0).save(tmp_path / "model")
    assert Model.load(tmp_path / "model") == tmaze()


def test_what_is_no_model_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep me")
    for folder in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(FolderNotUsable, match="no model folder"):
            tmaze().save(folder)
    with pytest.raises(FolderNotUsable):
        tmaze().save(tmp_path / "notes.txt" / "model")
    assert (tmp_path / "notes.txt").read_text() == "keep me"


def test_a_second_writer_that_comes_between_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def slow_rename(source: Any, target: Any) -> None:
        monkeypatch.setattr(os, "rename", rename)
        (tmaze(gamma=2.0) if other else tmaze()).save(target)
        rename(source, target)

    for other in (False, True):
        monkeypatch.setattr(os, "rename", slow_rename)
        if other:
            with pytest.raises(FolderNotUsable, match="another model"):
                tmaze().save(tmp_path / "b")
        else:
            tmaze().save(tmp_path / "a")
    assert Model.load(tmp_path / "a") == tmaze()
    assert Model.load(tmp_path / "b") == tmaze(gamma=2.0)


def test_a_crash_at_any_system_call_leaves_no_half_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == last:
                raise Crash
            return call(*args)

        return wrapped

    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
    for name in ("fsync", "rename"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    outcomes = []
    for last in range(1, 7):
        calls = 0
        folder = tmp_path / str(last)
        try:
            tmaze().save(folder)
            outcomes.append("saved")
        except Crash:
            outcomes.append("whole" if folder.exists() else "absent")
        if folder.exists():
            assert Model.load(folder) == tmaze()
    # spec, tensors and folder are synced before the rename, the parent after it.
    assert outcomes == ["absent", "absent", "absent", "absent", "whole", "saved"]


def test_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(DiskFull, match="No space left"):
        tmaze().save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.json", "tensors.npz"])
def test_missing_and_truncated_files(tmp_path: Path, name: str) -> None:
    tmaze().save(tmp_path / "model")
    path = tmp_path / "model" / name
    content = path.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 2):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptStore):
            Model.load(tmp_path / "model")
    path.unlink()
    with pytest.raises(CorruptStore, match=f"{name}.* is missing"):
        Model.load(tmp_path / "model")


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CorruptStore, match="is missing"):
        Model.load(tmp_path / "nothing")


@given(st.sampled_from(["model.json", "tensors.npz"]), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_altered_byte_is_refused_or_changes_nothing(tmp_path: Path, name: str, position: float, mask: int) -> None:
    folder = tmp_path / "model"
    tmaze().save(folder)
    content = bytearray((folder / name).read_bytes())
    content[int(position * len(content))] ^= mask
    (folder / name).write_bytes(content)
    try:
        # Some bytes of a zip archive and of JSON mean nothing, such as a time stamp or white space.
        assert Model.load(folder) == tmaze()
    except CorruptStore:
        pass
    finally:
        shutil.rmtree(folder)


def rewrite(folder: Path, change: Callable[[dict[str, bytes]], Any], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(folder / "tensors.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(folder / "tensors.npz", "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


class Trap:
    """Its unpickling would be seen."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise RuntimeError('unpickled')",)


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.update({"A9.npy": npy(np.zeros(3))}),
        lambda members: members.pop("C0.npy"),
        lambda members: members.update({"E.npy": npy(np.array([Trap()], dtype=object))}),
        lambda members: members.update({"E.npy": npy(np.full(16, 1 / 16, dtype=np.float64))[:-8]}),
        lambda members: members.update({"E.npy": npy(np.full(16, 1 / 16))[:64] + b"\x00" * 64}),
        lambda members: members.update({"E.npy": npy(np.broadcast_to(0.0, (1,))).replace(b"(1,)", b"(9**9,)")}),
        lambda members: members.update({"E.npy": npy(np.full(16, 0.5))}),
        lambda members: members.update({"E.npy": npy(np.linspace(0.0, 0.125, 16))}),
    ],
)
def test_members_that_are_not_expected_are_refused(tmp_path: Path, change: Callable[[dict[str, bytes]], Any]) -> None:
    tmaze().save(tmp_path / "model")
    rewrite(tmp_path / "model", change)
    with pytest.raises(CorruptStore):
        Model.load(tmp_path / "model")


def test_a_header_that_claims_more_than_there_is_allocates_nothing(tmp_path: Path) -> None:
    tmaze().save(tmp_path / "model")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**50,)})
    rewrite(tmp_path / "model", lambda members: members.update({"E.npy": header.getvalue()}))
    with pytest.raises(CorruptStore, match="cannot reshape"):
        Model.load(tmp_path / "model")


def test_compressed_members_are_refused_unread(tmp_path: Path) -> None:
    tmaze().save(tmp_path / "model")
    rewrite(tmp_path / "model", lambda members: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(CorruptStore, match="compressed"):
        Model.load(tmp_path / "model")


def test_changed_spec_does_not_match_the_hash(tmp_path: Path) -> None:
    tmaze().save(tmp_path / "model")
    path = tmp_path / "model" / modelfile.SPEC_NAME
    written = json.loads(path.read_text())
    written["spec"]["gamma"] = 2.0
    path.write_text(json.dumps(written))
    with pytest.raises(CorruptStore, match="hash"):
        Model.load(tmp_path / "model")


@pytest.mark.parametrize("content", ["[" * 100_000, " " * (modelfile.MAX_SPEC_BYTES + 1), "[]", '{"hash": 1}', "null"])
def test_spec_files_of_another_form(tmp_path: Path, content: str) -> None:
    tmaze().save(tmp_path / "model")
    (tmp_path / "model" / modelfile.SPEC_NAME).write_text(content)
    with pytest.raises(CorruptStore):
        Model.load(tmp_path / "model")
