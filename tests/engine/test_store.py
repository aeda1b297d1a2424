"""The record file: created whole or not at all, allocated, grown in place, refused when it is not ours."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from beliefd.engine.layout import RecordLayout
from beliefd.engine.store import HEADER_BYTES, Store
from beliefd_proto.errors import CorruptStore, DiskFull, FolderNotUsable
from models import grid, tmaze


@pytest.fixture
def layout() -> RecordLayout:
    return RecordLayout.of(tmaze().info)


def _no_space(*_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_new_store_is_zeros_and_takes_its_space_on_disk(tmp_path: Path, layout: RecordLayout) -> None:
    path = tmp_path / "agents.bin"
    with Store.create(path, layout, 1000) as store:
        assert store.rows == 1000
        assert not store.bytes.any()
    assert path.stat().st_blocks * 512 >= HEADER_BYTES + 1000 * layout.record_bytes


def test_views_show_the_same_bytes(layout: RecordLayout) -> None:
    store = Store.in_memory(layout, 3)
    store.int64[1, 0] = 7
    assert store.bytes[1, 0] == 7
    assert store.int32[1, 0] == 7
    assert store.real.shape == (3, layout.record_bytes // 4)


def test_what_was_written_is_there_after_opening_again(tmp_path: Path, layout: RecordLayout) -> None:
    path = tmp_path / "agents.bin"
    with Store.create(path, layout, 5) as store:
        store.int64[4, 2] = 99
    with Store.open(path, layout) as store:
        assert store.int64[4, 2] == 99


def test_growth_keeps_the_old_rows_and_reaches_other_openers(tmp_path: Path, layout: RecordLayout) -> None:
    path = tmp_path / "agents.bin"
    one, two = Store.create(path, layout, 2), Store.open(path, layout)
    one.int64[1, 0] = 5
    one.grow(1000)
    old_view = two.int64
    two.ensure(1000)
    assert two.int64[1, 0] == 5
    assert not two.bytes[2:].any()
    one.int64[1, 0] = 6
    assert two.int64[1, 0] == old_view[1, 0] == 6


def test_growth_in_memory_keeps_the_old_rows(layout: RecordLayout) -> None:
    store = Store.in_memory(layout, 2)
    store.int64[1, 0] = 5
    store.grow(10)
    assert store.rows == 10
    assert store.int64[:, 0].tolist() == [0, 5] + [0] * 8


def test_ensure_refuses_rows_that_do_not_exist(tmp_path: Path, layout: RecordLayout) -> None:
    store = Store.create(tmp_path / "agents.bin", layout, 2)
    with pytest.raises(CorruptStore):
        store.ensure(3)


def test_a_full_disk_leaves_no_file(tmp_path: Path, layout: RecordLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", _no_space)
    with pytest.raises(DiskFull) as caught:
        Store.create(tmp_path / "agents.bin", layout, 2)
    assert caught.value.field == str(tmp_path / "agents.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_rows(tmp_path: Path, layout: RecordLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.create(tmp_path / "agents.bin", layout, 2)
    store.int64[1, 0] = 5
    monkeypatch.setattr(os, "posix_fallocate", _no_space)
    with pytest.raises(DiskFull):
        store.grow(100)
    assert store.rows == 2
    assert store.int64[1, 0] == 5
    assert Store.open(tmp_path / "agents.bin", layout).int64[1, 0] == 5


def test_a_folder_that_is_none_is_refused(tmp_path: Path, layout: RecordLayout) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderNotUsable) as caught:
        Store.create(tmp_path / "file" / "agents.bin", layout, 2)
    assert caught.value.field == str(tmp_path / "file" / "agents.bin")


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"x" * 10_000])
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, layout: RecordLayout, content: bytes) -> None:
    path = tmp_path / "agents.bin"
    path.write_bytes(content)
    with pytest.raises(CorruptStore):
        Store.open(path, layout)


def test_a_missing_file_and_another_layout_are_refused(tmp_path: Path, layout: RecordLayout) -> None:
    with pytest.raises(CorruptStore):
        Store.open(tmp_path / "agents.bin", layout)
    Store.create(tmp_path / "agents.bin", layout, 2)
    with pytest.raises(CorruptStore):
        Store.open(tmp_path / "agents.bin", RecordLayout.of(grid().info))
