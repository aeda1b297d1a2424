"""Jobs over whole populations on a real folder: each may be begun again, and is done once."""

import dataclasses
import secrets

import msgspec
import numpy as np
import pytest

from beliefd.engine.manifest import read_manifest
from beliefd.model import Model
from beliefd.wire import id_arrays, ids_from
from beliefd.worlds import tmaze
from beliefd_proto import Command, Want
from beliefd_proto import messages as m
from beliefd_proto.errors import (
    BeliefdError,
    CorruptStore,
    DiskFull,
    FolderNotUsable,
    InvalidArgument,
    InvalidModel,
    MalformedMessage,
    TooLarge,
    UnknownAgent,
)
from beliefd_service.lifecycle import make_folders
from beliefd_service.settings import Settings
from beliefd_worker import jobs
from beliefd_worker.execution import execute
from beliefd_worker.shelf import Shelf

MODEL = tmaze()
REQUEST = b"create a herd..."


class Herd:
    """A data folder, and workers' hands on it."""

    def __init__(self, data):
        self.settings = Settings.from_environment({"BELIEFD_DATA": str(data)})
        make_folders(self.settings)
        self.shelf = Shelf(self.settings)
        self.uid = m.population_uid(REQUEST)

    @property
    def folder(self):
        return self.settings.populations / self.uid

    def create(self, shelf=None, request=REQUEST, arrays=None, ids=None, **change):
        fields = {
            "name": "mice",
            "spec": msgspec.msgpack.encode(MODEL.spec()),
            "hash": MODEL.hash,
            "agents": 5,
            "seed": 3,
        }
        header = m.Create(id=request, deadline_ms=0, **(fields | change))
        arrays = {**(MODEL.tensors() if arrays is None else arrays), **(id_arrays(ids) if ids is not None else {})}
        return self.run(Command.CREATE, header, arrays, shelf=shelf)

    def add(self, count, request=None, ids=None, shelf=None, own=None):
        request = request or secrets.token_bytes(16)
        header = m.AddAgents(id=request, deadline_ms=0, population=self.uid, count=count)
        arrays = {} if ids is None else id_arrays(ids)
        return self.run(Command.ADD_AGENTS, header, arrays | (own or {}), shelf=shelf)

    def remove(self, numbers, request=None):
        header = m.RemoveAgents(id=request or secrets.token_bytes(16), deadline_ms=0, population=self.uid)
        return self.run(Command.REMOVE_AGENTS, header, {"agents": np.array(numbers, np.uint32)})

    def run(self, kind, header, arrays=None, shelf=None):
        uid = "" if kind is Command.CREATE else self.uid
        work = m.Work(
            epoch=1,
            batch=1,
            kind=kind,
            population=uid,
            parts=(m.Part(header.id, 0),),
            request=msgspec.msgpack.encode(header),
        )
        return execute(work, arrays or {}, shelf or self.shelf)

    def ticks(self, rows=5):
        return self.shelf.population(self.uid, rows).read(np.arange(rows), Want.NOTHING).ticks.tolist()

    def drafts(self):
        return [path.name for path in self.settings.populations.iterdir() if path.name.startswith(".")]


@pytest.fixture
def herd(tmp_path):
    made = Herd(tmp_path)
    yield made
    made.shelf.close()


def same(first, second):
    assert (first.info, first.first, first.count) == (second.info, second.first, second.count)
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name])


def test_a_population_is_made_whole_and_made_again_it_is_the_same(herd):
    made = herd.create()
    assert (made.info.uid, made.info.name, made.info.rows, made.info.live, made.info.seed) == (
        herd.uid,
        "mice",
        5,
        5,
        3,
    )
    assert made.info.model == MODEL.info
    assert made.arrays["members"].tolist() == [[0, 5]]
    assert Model.load(herd.settings.models / MODEL.hash) == MODEL
    assert herd.ticks() == [0] * 5
    before = (herd.folder / "agents.bin").stat()
    again = herd.create(shelf=Shelf(herd.settings))
    same(made, again)
    after = (herd.folder / "agents.bin").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert herd.drafts() == []


def test_a_create_that_died_half_way_is_done_again(herd):
    draft = herd.settings.populations / f".new-{herd.uid}"
    draft.mkdir()
    (draft / "agents.bin").write_bytes(b"half")
    (draft / "population.json").write_text("{")
    assert herd.create().info.live == 5
    assert herd.drafts() == []
    assert herd.ticks() == [0] * 5


def test_a_create_that_fails_leaves_nothing_and_may_be_tried_again(herd, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("beliefd.engine.store.os.posix_fallocate", full)
        with pytest.raises(DiskFull) as caught:
            herd.create()
    assert caught.value.value == f"{5 * herd.create().info.record_bytes} bytes"
    assert herd.drafts() == []


def test_a_disk_that_is_full_before_the_first_byte(herd, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.mkdir", full)
        with pytest.raises(DiskFull):
            herd.create()
    assert list(herd.settings.populations.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        ({"spec": b"\xc1"}, InvalidModel, "spec"),
        ({"spec": b""}, InvalidModel, "spec"),
        ({"spec": b"\xa1\xff"}, InvalidModel, "spec"),
        ({"spec": b"\x91" * 5000 + b"\x01"}, InvalidModel, "spec"),
        ({"spec": b"\x80"}, InvalidModel, "format"),
        ({"spec": b"\x05"}, InvalidModel, "spec"),
        ({"hash": "0" * 64}, InvalidModel, "hash"),
        ({"arrays": {"A0": np.zeros(1)}}, InvalidModel, "tensors"),
        ({"ids": ("a",)}, InvalidArgument, "agent_ids"),
        ({"ids": ("a", "b", "c", "d", "a")}, InvalidArgument, "agent_ids"),
    ],
)
def test_a_create_with_bad_input_leaves_nothing(herd, change, kind, field):
    with pytest.raises(kind) as caught:
        herd.create(**change)
    assert caught.value.field == field
    assert list(herd.settings.populations.iterdir()) == []
    assert list(herd.settings.models.iterdir()) == []


def test_agents_are_added_once_per_request(herd):
    herd.create()
    request = secrets.token_bytes(16)
    first = herd.add(3, request)
    assert (first.first, first.count, first.info.rows, first.info.live) == (5, 3, 8, 8)
    second = herd.add(2)
    assert (second.first, second.count) == (8, 2)
    again = herd.add(3, request, shelf=Shelf(herd.settings))
    assert (again.first, again.count, again.info.live) == (5, 3, 10)
    assert herd.ticks(10) == [0] * 10


def test_agents_are_removed_once_per_request_and_their_numbers_stay_theirs(herd):
    herd.create()
    request = secrets.token_bytes(16)
    first = herd.remove([1, 4], request)
    assert (first.count, first.info.rows, first.info.live) == (2, 5, 3)
    assert first.arrays["members"].tolist() == [[0, 1], [2, 4]]
    same(first, herd.remove([1, 4], request))
    with pytest.raises(UnknownAgent):
        herd.remove([1])
    assert herd.add(1).first == 5


def test_an_add_that_died_after_the_file_grew_is_done_again(herd, monkeypatch):
    """The manifest is what counts: records that it does not count are room that the next try uses."""
    herd.create()
    request = secrets.token_bytes(16)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            herd.add(3, request)
    assert read_manifest(herd.folder)[0].rows == 5
    other = Shelf(herd.settings)
    again = herd.add(3, request, shelf=other)
    assert (again.first, again.count, again.info.rows) == (5, 3, 8)
    other.close()


def test_ids_follow_their_agents(herd):
    herd.create(agents=3, ids=("a", "b", "c"))
    assert ids_from(herd.remove([1]).arrays) == ("a", "c")
    assert ids_from(herd.add(1, ids=("d",)).arrays) == ("a", "c", "d")
    for ids in (("a",), None, ("",), ("x", "y")):
        with pytest.raises(InvalidArgument):
            herd.add(1, ids=ids)
    assert read_manifest(herd.folder)[1].ids == ("a", "c", "d")


def limited(herd, **limits):
    changed = msgspec.structs.replace(herd.settings.limits, **limits)
    herd.shelf.settings = dataclasses.replace(herd.settings, limits=changed)


def test_a_model_of_more_policies_than_the_server_takes_is_refused_and_leaves_nothing(herd):
    limited(herd, policies=len(MODEL.policies) - 1)
    with pytest.raises(TooLarge) as caught:
        herd.create()
    assert (caught.value.field, caught.value.value) == ("policies", len(MODEL.policies))
    assert not herd.folder.exists()
    assert not list(herd.settings.models.iterdir())
    limited(herd, policies=len(MODEL.policies))
    herd.create()


def test_ids_that_no_frame_would_hold_are_refused_before_anything_is_changed(herd):
    limited(herd, frame_bytes=40)
    herd.create(agents=3, ids=("a" * 12, "b" * 12, "c" * 12))
    before = (herd.folder / "population.json").read_bytes()
    with pytest.raises(TooLarge) as caught:
        herd.add(1, ids=("d" * 12,))
    assert caught.value.field == "agent_ids"
    assert (herd.folder / "population.json").read_bytes() == before
    herd.remove([1])
    assert ids_from(herd.add(1, ids=("d" * 12,)).arrays) == ("a" * 12, "c" * 12, "d" * 12)


def test_members_scattered_over_more_ranges_than_a_frame_holds_are_refused(herd):
    limited(herd, frame_bytes=32)
    herd.create(agents=9)
    assert herd.remove([1, 2]).arrays["members"].tolist() == [[0, 1], [3, 9]]
    with pytest.raises(TooLarge) as caught:
        herd.remove([5])
    assert caught.value.field == "agents"
    assert herd.remove([3, 8]).arrays["members"].tolist() == [[0, 1], [4, 8]]


@pytest.mark.parametrize(
    "arrays",
    [
        {"id_bytes": np.zeros(3, np.uint8)},
        {"id_ends": np.array([1, 2, 3, 4, 5])},
        {"id_bytes": np.frombuffer(b"abcde", np.uint8), "id_ends": np.array([1, 2, 3, 4, 6])},
        {"id_bytes": np.frombuffer(b"abcde", np.uint8), "id_ends": np.array([1, 3, 2, 4, 5])},
        {"id_bytes": np.frombuffer(b"abcde", np.uint8), "id_ends": np.array([-1, 2, 3, 4, 5])},
        {"id_bytes": np.frombuffer(b"abcd\xff", np.uint8), "id_ends": np.array([1, 2, 3, 4, 5])},
        {"id_bytes": np.zeros((1, 5), np.uint8), "id_ends": np.array([1, 2, 3, 4, 5])},
        {"id_bytes": np.zeros(5, np.int8), "id_ends": np.array([1, 2, 3, 4, 5])},
    ],
)
def test_arrays_that_are_no_ids_are_malformed(herd, arrays):
    with pytest.raises(MalformedMessage) as caught:
        herd.create(arrays={**MODEL.tensors(), **arrays})
    assert caught.value.field == "agent_ids"
    assert not herd.folder.exists()


def test_parameters_are_the_model(herd):
    herd.create()
    told = herd.run(Command.PARAMETERS, m.Parameters(id=REQUEST, deadline_ms=0, population=herd.uid))
    assert Model.from_parts(msgspec.msgpack.decode(told.spec), told.arrays) == MODEL


def test_a_drop_is_whole_and_may_be_repeated(herd):
    herd.create()
    herd.ticks()
    drop = m.Drop(id=secrets.token_bytes(16), deadline_ms=0, population=herd.uid)
    herd.run(Command.DROP, drop)
    assert list(herd.settings.populations.iterdir()) == []
    herd.run(Command.DROP, drop)
    with pytest.raises(CorruptStore):
        herd.ticks()


def test_a_drop_that_died_half_way_is_ended_by_the_next_try(herd):
    herd.create()
    herd.folder.rename(herd.settings.populations / f".dropped-{herd.uid}")
    herd.run(Command.DROP, m.Drop(id=secrets.token_bytes(16), deadline_ms=0, population=herd.uid))
    assert list(herd.settings.populations.iterdir()) == []


@pytest.mark.parametrize("damage", ["gone", "empty", "header", "short", "no model"])
def test_damaged_files_are_told_and_not_served(herd, damage):
    herd.create()
    path = herd.folder / "agents.bin"
    if damage == "gone":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "header":
        path.write_bytes(b"x" + path.read_bytes()[1:])
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        for part in (herd.settings.models / MODEL.hash).iterdir():
            part.unlink()
    with pytest.raises(BeliefdError) as caught:
        herd.ticks()
    assert isinstance(caught.value, CorruptStore)


def test_a_shelf_sees_agents_that_another_worker_added(herd):
    herd.create()
    assert herd.ticks() == [0] * 5
    other = Shelf(herd.settings)
    herd.add(2000, shelf=other)
    assert herd.ticks(2005) == [0] * 2005
    with pytest.raises(CorruptStore):
        herd.shelf.population(herd.uid, 10**6)
    other.close()


def test_a_shelf_lets_go_of_what_it_forgets(herd):
    """No mapping of a dropped population stays in the process."""
    herd.create()
    herd.ticks()

    def mapped():
        with open("/proc/self/maps") as maps:
            return any(herd.uid in line for line in maps)

    assert mapped()
    herd.shelf.forget(herd.uid)
    herd.shelf.forget(herd.uid)
    assert not mapped()


def test_a_folder_that_cannot_be_used_is_told(herd):
    herd.create()
    (herd.folder / "agents.bin").unlink()
    (herd.folder / "agents.bin").mkdir()
    with pytest.raises(FolderNotUsable):
        herd.ticks()


def precisions(*values):
    return {"per_agent.gamma": np.array(values, np.float64), "per_agent.C0": np.zeros((len(values), 4), np.float32)}


def test_agents_with_parameters_of_their_own_come_whole_and_once(herd):
    made = herd.create(arrays={**MODEL.tensors(), **precisions(1, 2, 3, 4, 5)})
    assert made.info.model.per_agent == {"gamma": (), "C0": (4,)}
    request = secrets.token_bytes(16)
    added = herd.add(2, request=request, own=precisions(6, 7))
    same(added, herd.add(2, request=request, own=precisions(8, 9), shelf=Shelf(herd.settings)))
    given = herd.shelf.population(herd.uid, 7).given
    assert given.real[:7, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("own", [{}, precisions(1, 2, 3), precisions(1, -2), {"per_agent.E": np.full((2, 16), 1 / 16)}])
def test_new_agents_without_their_parameters_change_nothing(herd, own):
    herd.create(arrays={**MODEL.tensors(), **precisions(1, 2, 3, 4, 5)})
    before = {path.name: path.stat().st_size for path in herd.folder.iterdir()}
    with pytest.raises(InvalidArgument):
        herd.add(2, own=own)
    assert {path.name: path.stat().st_size for path in herd.folder.iterdir()} == before
    assert read_manifest(herd.folder)[0].rows == 5


def test_a_model_takes_no_parameters_that_it_has_not(herd):
    with pytest.raises(InvalidArgument) as caught:
        herd.create(arrays={**MODEL.tensors(), "per_agent.D7": np.ones((5, 1))})
    assert caught.value.field == "per_agent['D'][7]"
    assert herd.drafts() == []
