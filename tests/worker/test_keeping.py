"""Jobs that keep a population and bring it back, on real folders: each may be begun again, and is done once."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from beliefd.engine import Engine, boot
from beliefd.engine.manifest import read_rebuilt
from beliefd.worlds import tmaze
from beliefd_proto import Command, StepStatus, Want
from beliefd_proto import messages as m
from beliefd_proto.errors import CorruptStore, DiskFull, FolderNotUsable, InvalidArgument
from beliefd_service.lifecycle import make_folders
from beliefd_service.settings import Settings
from beliefd_worker import keeping
from beliefd_worker.execution import execute
from beliefd_worker.shelf import Shelf

MODEL = tmaze()
AGENTS = 50
KEPT = Path(__file__).parents[1] / "references" / "snapshot-1"


class Herd:
    """A data folder, and a worker's hands on it."""

    def __init__(self, data, durability="disk"):
        self.settings = Settings.from_environment({"BELIEFD_DATA": str(data)})
        make_folders(self.settings)
        self.shelf = Shelf(self.settings)
        self.rng = np.random.default_rng(0)
        self.local = Engine(MODEL, agents=AGENTS, seed=3)
        self.generation, self.batch, self.tick = 0, 0, 0
        header = self.header(
            m.Create,
            name="mice",
            spec=msgspec.msgpack.encode(MODEL.spec()),
            hash=MODEL.hash,
            agents=AGENTS,
            seed=3,
            durability=durability,
        )
        self.uid = self.run(Command.CREATE, header, MODEL.tensors(), uid="").info.uid

    def header(self, kind, request=None, **fields):
        return kind(id=request or secrets.token_bytes(16), deadline_ms=0, **fields)

    def run(self, kind, header, arrays=None, uid=None, **change):
        self.batch += 1
        work = m.Work(
            epoch=1,
            batch=self.batch,
            kind=kind,
            population=self.uid if uid is None else uid,
            parts=(m.Part(header.id, 0),),
            request=msgspec.msgpack.encode(header),
            **change,
        )
        return execute(work, arrays or {}, self.shelf)

    def send(self, observations, request, uid=None, generation=None):
        self.batch += 1
        work = m.Work(
            epoch=1,
            batch=self.batch,
            kind=Command.STEP,
            population=uid or self.uid,
            rows=AGENTS,
            parts=(m.Part(request, AGENTS),),
            first=0,
            tick=self.tick + 1,
            generation=self.generation if generation is None else generation,
        )
        return execute(work, {"observations": observations}, self.shelf)

    def observations(self):
        return np.stack([self.rng.integers(0, n, AGENTS) for n in MODEL.num_obs], axis=1).astype(np.int8)

    def step(self, count=1):
        for _ in range(count):
            seen = self.observations()
            outcome = self.send(seen, secrets.token_bytes(16))
            np.testing.assert_array_equal(outcome.arrays["actions"], self.local.step(seen).actions)
            assert outcome.journal_bytes > 0
            self.tick += 1

    def same(self, uid):
        read = self.shelf.population(uid, AGENTS).read(np.arange(AGENTS), int(Want.BELIEFS))
        local = self.local.read(want=("beliefs",))
        np.testing.assert_array_equal(read.ticks, local.tick)
        np.testing.assert_array_equal(read.beliefs, np.concatenate(local.beliefs, axis=1))

    def checkpoint(self, request=None):
        header = self.header(m.Checkpoint, request, population=self.uid)
        self.generation = self.run(Command.CHECKPOINT, header).first


@pytest.fixture
def herd(tmp_path):
    made = Herd(tmp_path)
    yield made
    made.shelf.close()


def lose_power(herd, monkeypatch):
    herd.shelf.close()
    live = herd.shelf.folder(herd.uid) / "agents.bin"
    with open(live, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(live.stat().st_size - 4096))
    monkeypatch.setattr(boot, "boot_id", lambda: "the next boot")


def test_a_recovery_begun_twice_is_done_once(herd, monkeypatch):
    herd.step(3)
    herd.checkpoint()
    herd.step(3)
    lose_power(herd, monkeypatch)
    header = herd.header(m.Recover, population=herd.uid)
    told = herd.run(Command.RECOVER, header).info.rebuilt
    assert (told.checkpoint, told.steps, told.whole) == (1, 3 * AGENTS, True)
    assert herd.run(Command.RECOVER, header).info.rebuilt == told
    herd.same(herd.uid)
    herd.step(2)


def test_jobs_that_run_again_are_done_once(herd):
    herd.step(2)
    request = secrets.token_bytes(16)
    herd.checkpoint(request)
    herd.checkpoint(request)
    assert herd.generation == 1
    snapshot = herd.header(m.Snapshot, population=herd.uid, name="kept")
    herd.run(Command.SNAPSHOT, snapshot)
    herd.run(Command.SNAPSHOT, snapshot)
    for kind, header in (
        (Command.RESTORE, herd.header(m.Restore, snapshot="kept", name="rats")),
        (Command.FORK, herd.header(m.Fork, population=herd.uid, name="voles", at_tick=2)),
    ):
        one, other = herd.run(kind, header).info, herd.run(kind, header).info
        assert one == other
        assert one.rebuilt == read_rebuilt(herd.shelf.folder(one.uid))
        assert (one.rebuilt.lowest_tick, one.rebuilt.highest_tick) == (2, 2)
        herd.same(one.uid)
        seen = herd.observations()
        outcome = herd.send(seen, secrets.token_bytes(16), one.uid, generation=1)
        assert not outcome.arrays.get("status", np.zeros(1)).any()
    assert not [p for p in herd.settings.populations.iterdir() if p.name.startswith(".")]


def test_history_is_as_long_as_the_settings_say(tmp_path, monkeypatch):
    for history_mib, reaches in ((0, False), (256, True)):
        data = tmp_path / str(history_mib)
        monkeypatch.setenv("BELIEFD_HISTORY", str(history_mib))
        herd = Herd(data)
        herd.settings = Settings.from_environment({"BELIEFD_DATA": str(data), "BELIEFD_HISTORY": str(history_mib)})
        herd.shelf.settings = herd.settings
        herd.step(2)
        herd.checkpoint()
        herd.step(2)
        fork = herd.header(m.Fork, population=herd.uid, name="past", at_tick=1)
        if reaches:
            assert herd.run(Command.FORK, fork).info.rebuilt.highest_tick == 1
        else:
            with pytest.raises(InvalidArgument) as caught:
                herd.run(Command.FORK, fork)
            assert caught.value.allowed == "2 or more"
        herd.shelf.close()


@pytest.mark.parametrize(
    "name", ["agents.bin", "population.json", "members-0.npz", "model/tensors.npz", "snapshot.json"]
)
def test_a_snapshot_that_was_altered_is_refused(herd, name):
    herd.step()
    herd.run(Command.SNAPSHOT, herd.header(m.Snapshot, population=herd.uid, name="kept"))
    path = herd.settings.snapshots / "kept" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptStore):
        herd.run(Command.RESTORE, herd.header(m.Restore, snapshot="kept", name="rats"), uid="")
    assert [p.name for p in herd.settings.populations.iterdir()] == [herd.uid]


def test_a_snapshot_of_other_kernels_goes_on_and_says_so(herd, tmp_path, monkeypatch):
    herd.step(3)
    herd.run(Command.SNAPSHOT, herd.header(m.Snapshot, population=herd.uid, name="kept"))
    other = Herd(tmp_path / "another machine")
    shutil.copytree(herd.settings.snapshots, other.settings.snapshots)
    monkeypatch.setattr(keeping, "fingerprint", lambda: "other kernels")
    info = other.run(Command.RESTORE, other.header(m.Restore, snapshot="kept", name="rats"), uid="").info
    assert not info.rebuilt.same_kernels
    herd.shelf, herd.uid, herd.generation = other.shelf, info.uid, 1
    herd.same(info.uid)
    herd.step(2)


def test_a_snapshot_of_the_first_format_is_read(tmp_path):
    """It was written by `tests/references/keep_snapshot.py`, and stays as it is."""
    expected = json.loads((KEPT / "expected.json").read_text())
    herd = Herd(tmp_path)
    shutil.copytree(KEPT / "snapshot", herd.settings.snapshots / "old")
    info = herd.run(Command.RESTORE, herd.header(m.Restore, snapshot="old", name="rats"), uid="").info
    assert (info.rows, info.live, info.seed) == (expected["rows"], expected["live"], expected["seed"])
    population = herd.shelf.population(info.uid, info.rows)
    read = population.read(np.array(expected["agents"]), int(Want.BELIEFS))
    assert read.ticks.tolist() == expected["ticks"]
    assert read.actions.tolist() == expected["actions"]
    np.testing.assert_allclose(read.beliefs, expected["beliefs"], rtol=0, atol=1e-6)
    facts = herd.settings.snapshots / "old" / "snapshot.json"
    facts.write_text(facts.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(CorruptStore, match="another format"):
        herd.run(Command.RESTORE, herd.header(m.Restore, snapshot="old", name="voles"), uid="")


@pytest.fixture
def small_disk(tmp_path):
    if os.getuid():
        pytest.skip("only root can mount")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        why = f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def until_full(herd):
    """Step until a step finds the disk full, when what is left of the segment's last page is used; returns that one."""
    for _ in range(100):
        seen, request = herd.observations(), secrets.token_bytes(16)
        try:
            herd.send(seen, request)
        except DiskFull:
            return seen, request
        herd.local.step(seen)
        herd.tick += 1
    pytest.fail("the disk is not full")


def test_a_step_that_finds_the_disk_full_is_made_once_when_there_is_room(small_disk, tmp_path):
    herd = Herd(small_disk)
    herd.step(3)
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    seen, request = until_full(herd)
    herd.same(herd.uid)
    for kind, header in (
        (Command.CHECKPOINT, herd.header(m.Checkpoint, population=herd.uid)),
        (Command.SNAPSHOT, herd.header(m.Snapshot, population=herd.uid, name="kept")),
        (Command.FORK, herd.header(m.Fork, population=herd.uid, name="fork")),
    ):
        with pytest.raises(DiskFull):
            herd.run(kind, header)
    filler.unlink()
    assert not herd.send(seen, request).arrays.get("status", np.zeros(1)).any()
    assert set(herd.send(seen, request).arrays["status"]) == {StepStatus.RECORDED}
    herd.local.step(seen)
    herd.tick += 1
    herd.same(herd.uid)
    herd.step(2)
    fork = herd.header(m.Fork, population=herd.uid, name="again", at_tick=2**40)
    info = herd.run(Command.FORK, fork).info
    herd.same(info.uid)
    assert info.rebuilt.whole


def test_a_folder_that_cannot_be_written_to_refuses_the_step_and_the_worker_lives_on(small_disk):
    herd = Herd(small_disk)
    herd.step(2)
    herd.checkpoint()  # so that the next entry begins a segment
    journal = herd.shelf.folder(herd.uid) / "journal"
    for options in (["--bind", str(journal)], ["-o", "remount,bind,ro"]):
        subprocess.run(["mount", *options, str(journal)], check=True)
    seen, request = herd.observations(), secrets.token_bytes(16)
    try:
        with pytest.raises(FolderNotUsable, match="Read-only"):
            herd.send(seen, request)
    finally:
        subprocess.run(["umount", str(journal)], check=True)
    herd.same(herd.uid)
    herd.step(2)
    herd.same(herd.uid)
