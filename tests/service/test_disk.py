"""What the broker finds on disk: its epoch, and every population that can be read."""

import contextlib
import os
import subprocess

import numpy as np
import pytest
import structlog

from beliefd.engine.folderlock import FolderLock
from beliefd.engine.manifest import Manifest, write_manifest
from beliefd.engine.members import Members
from beliefd.wire import ids_from
from beliefd.worlds import tmaze
from beliefd_broker.disk import load_populations, mark_quarantine, next_epoch
from beliefd_proto.errors import CorruptStore, FolderNotUsable
from beliefd_service.lifecycle import make_folders
from beliefd_service.settings import Settings


@pytest.fixture
def settings(tmp_path):
    made = Settings.from_environment({"BELIEFD_DATA": str(tmp_path)})
    make_folders(made)
    return made


@pytest.fixture
def log():
    with structlog.testing.capture_logs() as captured:
        yield captured


def write(settings, uid, agents=3, ids=None):
    folder = settings.populations / uid
    folder.mkdir()
    model = tmaze().info
    manifest = Manifest(
        uid=uid, name=f"m{uid}", seed=1, durability="process", model=model, rows=agents, created_by="", fingerprint=""
    )
    write_manifest(folder, manifest, Members.of(agents, ids))
    return folder


def load(settings):
    return {p.info.uid: p for p in load_populations(settings, structlog.get_logger())}


def test_epochs_only_grow(tmp_path):
    assert [next_epoch(tmp_path) for _ in range(3)] == [1, 2, 3]
    (tmp_path / "epoch.new").write_text("half")
    assert next_epoch(tmp_path) == 4


@pytest.mark.parametrize("content", ["", "many", "1 2"])
def test_an_epoch_that_cannot_be_read_is_not_guessed(tmp_path, content):
    """A number given twice would let work of an earlier broker pass for this one's."""
    (tmp_path / "epoch").write_text(content)
    with pytest.raises(CorruptStore) as caught:
        next_epoch(tmp_path)
    assert caught.value.field == str(tmp_path / "epoch")
    assert (tmp_path / "epoch").read_text() == content


def test_an_epoch_that_cannot_be_written_is_an_error_of_the_tree(tmp_path):
    (tmp_path / "epoch.new").mkdir()
    with pytest.raises(FolderNotUsable):
        next_epoch(tmp_path)


def test_a_broker_starts_again_on_a_full_disk(tmp_path):
    if os.getuid():
        pytest.skip("only root can mount")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        why = f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    try:
        FolderLock(tmp_path).release()
        assert next_epoch(tmp_path) == 1
        with open(tmp_path / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(bytes(4096)):
                pass
        with pytest.raises(OSError, match="No space"):
            (tmp_path / "more").write_bytes(bytes(4096))
        FolderLock(tmp_path).release()
        assert [next_epoch(tmp_path) for _ in range(2)] == [2, 3]
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_populations_are_found_with_their_members_and_quarantine(settings, log):
    write(settings, "a" * 16)
    write(settings, "b" * 16, agents=2, ids=["x", "y"])
    mark_quarantine(settings, "b" * 16, True)
    found = load(settings)
    assert set(found) == {"a" * 16, "b" * 16}
    first, second = found["a" * 16], found["b" * 16]
    assert (first.info.live, first.info.quarantined, ids_from(first.id_arrays)) == (3, False, None)
    assert (second.info.live, second.info.quarantined, ids_from(second.id_arrays)) == (2, True, ("x", "y"))
    np.testing.assert_array_equal(first.live, [True] * 3)
    mark_quarantine(settings, "b" * 16, False)
    mark_quarantine(settings, "b" * 16, False)
    assert not load(settings)["b" * 16].info.quarantined
    assert log == []


@pytest.mark.parametrize("damage", ["no manifest", "half a manifest", "no members", "noise in members", "a file"])
def test_one_that_cannot_be_read_is_told_and_logged(settings, log, damage):
    write(settings, "a" * 16)
    folder = write(settings, "b" * 16)
    manifest, members = folder / "population.json", folder / "members-0.npz"
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "half a manifest":
        manifest.write_bytes(manifest.read_bytes()[:40])
    elif damage == "no members":
        members.unlink()
    elif damage == "noise in members":
        members.write_bytes(b"noise")
    else:
        folder.rename(settings.data / "away")
        folder.write_text("")
    served, damaged = load_populations(settings, structlog.get_logger())
    assert served.info.uid == "a" * 16
    assert (damaged.uid, type(damaged.error)) == ("b" * 16, FolderNotUsable if damage == "a file" else CorruptStore)
    assert damaged.name == (None if damage == "a file" else "m" + "b" * 16)
    (line,) = log
    assert (line["event"], line["folder"], line["log_level"]) == ("population_not_readable", "b" * 16, "error")


def test_drafts_and_what_is_being_dropped_are_no_populations(settings, log):
    for name in (".new-" + "c" * 16, ".dropped-" + "d" * 16):
        write(settings, name)
    assert load(settings) == {}
    assert log == []
