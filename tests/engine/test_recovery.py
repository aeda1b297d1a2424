"""Records made anew from checkpoint and journal: the beginning of what happened, however much of it is left."""

import errno
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journalled import Herd, random_inputs, slot_of, small_model

from beliefd.engine import boot, recovery
from beliefd.engine.checkpoint import read_checkpoint, trim
from beliefd.engine.generations import generation_folder
from beliefd_proto.errors import CorruptStore, DiskFull, FolderNotUsable, InvalidArgument

MODELS = {
    "learning": {},
    "plain": {"learns": False},
    "window": {"inference_algo": "mmp", "inference_horizon": 3},
    "smoothing": {"inference_algo": "ovf", "inference_horizon": 3, "coupled": False},
}


@pytest.fixture
def herd(tmp_path, request):
    return Herd(tmp_path / "herd", model=small_model(**MODELS[getattr(request, "param", "learning")]))


@pytest.mark.parametrize("herd", MODELS, indirect=True)
def test_all_that_was_acknowledged_comes_back_bit_for_bit(herd):
    for _ in range(12):
        herd.step()
    herd.checkpoint()
    for _ in range(12):
        herd.step()
    told, store = herd.rebuilt()
    assert herd.ticks_if_past(store) == herd.store.int64[:, 0].tolist()
    assert (told.checkpoint, told.whole, told.lost) == (1, True, "")
    assert (told.torn_bytes, told.steps_lost, told.differing_actions, told.same_kernels) == (0, 0, 0, True)
    ticks = herd.store.int64[:, 0]
    assert (told.lowest_tick, told.highest_tick) == (ticks.min(), ticks.max())


@pytest.mark.parametrize("herd", MODELS, indirect=True)
def test_agents_go_on_after_a_recovery_as_if_nothing_had_happened(herd):
    for _ in range(8):
        herd.step()
    _, store = herd.rebuilt()
    rows = np.arange(herd.agents)
    again = type(herd.population)(herd.population.scratch, store, herd.seed)
    for _ in range(4):
        inputs = random_inputs(herd.rng, herd.model, rows, herd.store.int64[:, 0] + 1)
        herd.population.step(inputs)
        again.step(inputs)
    assert [slot_of(store, row) for row in rows] == [slot_of(herd.store, row) for row in rows]


@pytest.mark.slow
def test_power_is_lost_at_every_byte_of_the_last_segment(herd):
    """Cut anywhere, the rest is what had been synced by then, and it says whether a step was cut off."""
    herd.step(worker=0)
    herd.checkpoint()
    for _ in range(4):
        herd.step(worker=0)
    (last,) = [path for path in herd.segments() if path.parent.name == "00000001"]
    data = last.read_bytes()
    for cut in range(len(data), -1, -1):
        os.truncate(last, cut)
        told, store = herd.rebuilt()
        synced = [ticks for ticks, sizes in herd.synced if sizes.get(last, 0) <= cut]
        assert herd.ticks_if_past(store) == synced[-1]
        assert told.whole
        ends = {sizes[last] for _, sizes in herd.synced if last in sizes} | {0}
        if cut > 200:  # behind the head of the segment
            assert (told.torn_bytes == 0) == (cut in ends)


def cut_at_every_byte(content):
    return (content[:length] for length in range(len(content)))


def flipped_at_every_byte(content):
    for at in range(len(content)):
        yield content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("damages", [cut_at_every_byte, flipped_at_every_byte])
def test_a_checkpoint_cut_or_flipped_at_every_byte_costs_nothing_that_was_synced(tmp_path, damages):
    """What is left of it is not believed: the steps before it are taken from the journal, and it says which it took."""
    herd = Herd(tmp_path / "herd", agents=2, model=small_model(learns=False))
    herd.step()
    herd.checkpoint()
    herd.step()
    herd.checkpoint()
    herd.step(np.arange(herd.agents))
    files = sorted(herd.folder.glob("checkpoints/00000002/*"))
    assert len(files) > 1
    facts = read_checkpoint(herd.folder, 2)
    for path in files:
        whole = path.read_bytes()
        for damaged in damages(whole):
            path.write_bytes(damaged)
            if read_checkpoint(herd.folder, 2) == facts and path.suffix == ".json":
                continue  # another way to write the same number
            told, store = herd.rebuilt()
            assert herd.ticks_if_past(store) == herd.store.int64[:, 0].tolist()
            assert told.checkpoint == 1
            assert told.damaged_bytes > 0
            assert told.steps_lost == 0
        path.write_bytes(whole)
    assert herd.rebuilt()[0].checkpoint == 2


@pytest.mark.slow
@pytest.mark.parametrize("damages", [cut_at_every_byte, flipped_at_every_byte])
def test_the_only_checkpoint_and_a_journal_that_began_after_it_are_refused_and_not_guessed_at(tmp_path, damages):
    herd = Herd(tmp_path / "herd", agents=2, model=small_model(learns=False))
    herd.step()
    herd.checkpoint()
    herd.step()
    trim(herd.folder, 0)
    facts = read_checkpoint(herd.folder, 1)
    for path in sorted(herd.folder.glob("checkpoints/00000001/*")):
        whole = path.read_bytes()
        for damaged in damages(whole):
            path.write_bytes(damaged)
            if read_checkpoint(herd.folder, 1) == facts and path.suffix == ".json":
                continue
            with pytest.raises(CorruptStore):
                herd.rebuilt()
        path.write_bytes(whole)
    assert herd.ticks_if_past(herd.rebuilt()[1]) == herd.store.int64[:, 0].tolist()


@pytest.mark.slow
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_altered_journals_and_checkpoints_give_a_past_of_every_agent(tmp_path_factory, seed):
    herd = Herd(tmp_path_factory.mktemp("flip") / "herd", agents=4, seed=seed)
    for _ in range(5):
        herd.step()
    herd.checkpoint()
    for _ in range(5):
        herd.step()
    paths = sorted([*herd.segments(), *herd.folder.glob("checkpoints/*/*")], key=lambda path: path.read_bytes())
    path = paths[herd.rng.integers(len(paths))]
    content = bytearray(path.read_bytes())
    content[herd.rng.integers(len(content))] ^= 1 << herd.rng.integers(8)
    path.write_bytes(content)
    told, store = herd.rebuilt()
    ticks = herd.ticks_if_past(store)
    # A step that is missing is either told of, or was at the very end, where it could have been cut off.
    if ticks != herd.store.int64[:, 0].tolist():
        assert told.damaged_bytes or told.torn_bytes


@pytest.mark.parametrize("herd", MODELS, indirect=True)
def test_of_two_requests_for_a_tick_the_later_one_counts(herd):
    """The first was journalled by a worker that died before its commit, and its client gave up."""
    herd.step(np.arange(herd.agents))
    herd.begin(np.array([0, 1, 2]), worker=0)
    herd.step(np.array([1, 2, 3]), worker=1)
    herd.step(np.array([1]), worker=1)
    told, store = herd.rebuilt()
    ticks = store.int64[:, 0].tolist()
    assert ticks[1:] == herd.store.int64[1:, 0].tolist()
    assert ticks[0] == 2  # nobody else stepped it: what was journalled and not acknowledged may count
    for row in range(1, herd.agents):
        assert slot_of(store, row) == slot_of(herd.store, row)
    assert told.whole


def test_a_step_whose_place_another_took_does_not_come_back_where_that_one_is_missing(herd):
    herd.step(np.arange(herd.agents))
    herd.begin(np.array([0]), worker=0)
    herd.step(np.array([0]), worker=1)
    damaged = herd.workers[1]._path
    start = herd.synced[-1][1][damaged]
    herd.step(np.array([0]), worker=1)
    content = bytearray(damaged.read_bytes())
    content[start - 1] ^= 1
    damaged.write_bytes(content)
    told, store = herd.rebuilt()
    assert herd.ticks_if_past(store)[0] == 1
    assert told.steps_lost == 1
    assert not told.whole
    assert "damaged" in told.lost


def test_a_request_that_ran_again_after_a_death_is_applied_once(herd):
    herd.step(np.arange(herd.agents))
    request = bytes(range(16))
    state = herd.rng.bit_generator.state
    herd.begin(np.array([2, 4]), request, worker=0)
    herd.rng.bit_generator.state = state  # the same request has the same inputs
    herd.population.commit(herd.begin(np.array([2, 4]), request, worker=1))
    told, store = herd.rebuilt()
    assert store.int64[:, 0].tolist() == herd.store.int64[:, 0].tolist()
    assert [slot_of(store, row) for row in (2, 4)] == [slot_of(herd.store, row) for row in (2, 4)]
    assert (told.steps, told.steps_lost) == (herd.agents + 2, 0)


def test_what_a_broken_checkpoint_held_comes_from_the_one_before(herd):
    for _ in range(2):
        for _ in range(5):
            herd.step()
        herd.checkpoint()
    herd.step()
    records = herd.folder / "checkpoints" / "00000002" / "agents.bin"
    records.write_bytes(records.read_bytes()[:-1])
    told, store = herd.rebuilt()
    assert herd.ticks_if_past(store) == herd.store.int64[:, 0].tolist()
    assert told.checkpoint == 1
    assert not told.whole
    trim(herd.folder, 0)
    with pytest.raises(CorruptStore):
        herd.rebuilt()


def test_every_past_tick_is_there_until_it_is_trimmed(herd):
    for i in range(20):
        herd.step()
        if i in (6, 13):
            herd.checkpoint()
    now = herd.store.int64[:, 0]
    for tick in range(int(now.max()) + 1):
        _, store = herd.rebuilt(at_tick=tick)
        assert herd.ticks_if_past(store) == np.minimum(now, tick).tolist()
    trim(herd.folder, 0)
    assert [p.name for p in (herd.folder / "checkpoints").iterdir()] == ["00000002"]
    with pytest.raises(InvalidArgument) as caught:
        herd.rebuilt(at_tick=1)
    assert caught.value.field == "at_tick"
    _, store = herd.rebuilt(at_tick=int(now.max()))
    assert herd.ticks_if_past(store) == now.tolist()


def test_history_is_kept_up_to_its_bound_and_the_last_checkpoint_always(herd):
    for _ in range(4):
        herd.step()
        herd.checkpoint()
    one = sum(p.stat().st_size for p in herd.folder.glob("*/00000003/*"))
    trim(herd.folder, one)
    assert sorted(p.name for p in (herd.folder / "checkpoints").iterdir()) == ["00000003", "00000004"]
    assert sorted(p.name for p in (herd.folder / "journal").iterdir()) == ["00000003", "00000004"]


def test_other_kernels_go_on_from_what_was_chosen_and_say_so(herd, monkeypatch):
    for _ in range(6):
        herd.step(np.arange(herd.agents))
    monkeypatch.setattr(recovery, "fingerprint", lambda: "other kernels")
    told, store = herd.rebuilt()
    assert not told.same_kernels
    assert told.differing_actions == 0
    choose = recovery.LoadedPopulation.begin

    def begin(population, inputs):
        begun = choose(population, inputs)
        begun.actions[:, 0] = (begun.actions[:, 0] + 1) % herd.model.num_controls[0]
        return begun

    monkeypatch.setattr(recovery.LoadedPopulation, "begin", begin)
    told, store = herd.rebuilt()
    assert told.differing_actions == 6 * herd.agents
    herd.ticks_if_past(store)


def test_records_of_another_layout_are_not_guessed_at(herd, tmp_path):
    herd.step()
    other = Herd(tmp_path / "other", model=herd.model)
    (segment,) = herd.segments()
    content = segment.read_bytes().replace(herd.compiled.layout.hash.encode(), b"0" * 16)
    target = generation_folder(other.folder, 0) / segment.name
    target.write_bytes(content)
    told, _ = other.rebuilt()
    assert told.entries == 1  # its first frame is damaged, and so says nothing
    assert not told.whole


class TestCommitProtocol:
    """The writes of a step, cut off after each byte: what is there is the state before it, or after it."""

    @pytest.mark.slow
    @pytest.mark.parametrize("herd", MODELS, indirect=True)
    def test_bytes_of_the_idle_slot_do_not_count_before_the_commit_word(self, herd):
        for _ in range(3):
            herd.step(np.arange(herd.agents))
        rows = np.arange(herd.agents)
        before = herd.store.bytes.copy()
        inputs = random_inputs(herd.rng, herd.model, rows, herd.store.int64[:, 0] + 1)
        begun = herd.population.begin(inputs)
        computed = herd.store.bytes.copy()
        assert (computed[:, :8] == before[:, :8]).all()
        herd.population.commit(begun)
        after = [slot_of(herd.store, row) for row in rows]
        changed = np.argwhere(before != computed)
        for cut in range(len(changed) + 1):
            herd.store.bytes[:] = before
            written = tuple(changed[:cut].T)
            herd.store.bytes[written] = computed[written]
            assert [slot_of(herd.store, row) for row in rows] == [herd.past[row][3] for row in rows]
            herd.population.step(inputs)
            assert [slot_of(herd.store, row) for row in rows] == after

    def test_commit_words_that_were_not_written_are_written_by_the_retry(self, herd):
        herd.step(np.arange(herd.agents))
        rows = np.arange(herd.agents)
        inputs = random_inputs(herd.rng, herd.model, rows, herd.store.int64[:, 0] + 1)
        herd.population.step(inputs)
        whole = [slot_of(herd.store, row) for row in rows]
        for committed in range(herd.agents):
            herd.store.int64[:, 0] = np.where(rows < committed, 2, 1)
            outputs = herd.population.step(inputs)
            assert (outputs.status == (rows < committed)).all()
            assert [slot_of(herd.store, row) for row in rows] == whole


class TestFailingDisk:
    """A step that could not be made to last is refused, and changes nothing; the next good one works."""

    def same_after(self, herd, fail, mend, error):
        herd.step(np.arange(herd.agents))
        before = herd.store.int64[:, 0].tolist()
        fail()
        with pytest.raises(error):
            herd.begin(np.arange(herd.agents), worker=0)
        mend()
        assert herd.store.int64[:, 0].tolist() == before
        for _ in range(3):
            herd.step(worker=0)
        told, store = herd.rebuilt()
        assert herd.ticks_if_past(store) == herd.store.int64[:, 0].tolist()
        assert told.whole

    @pytest.mark.parametrize(
        ("call", "number", "error"),
        [
            ("write", errno.ENOSPC, DiskFull),
            ("write", errno.EDQUOT, DiskFull),
            ("fdatasync", errno.EIO, FolderNotUsable),
            ("fdatasync", errno.ENOSPC, DiskFull),
        ],
    )
    def test_a_call_that_fails(self, herd, monkeypatch, call, number, error):
        real = os.write

        def failing(fd, data=b""):
            if call == "write" and len(data) > 1:
                real(fd, data[: len(data) // 2])  # as much as there was room for
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            self.same_after(herd, lambda: patch.setattr(os, call, failing), patch.undo, error)

    def test_a_folder_that_became_a_file(self, herd):
        place, away = generation_folder(herd.folder, 0), herd.folder / "away"

        def fail():
            herd.workers[0].close()
            place.rename(away)
            place.touch()

        def mend():
            place.unlink()
            away.rename(place)

        self.same_after(herd, fail, mend, FolderNotUsable)


def test_boots(tmp_path, monkeypatch):
    """A live file counts in the boot that it was written in, and after a stop in good order in the next one."""
    (tmp_path / "populations").mkdir()
    one, two = (Herd(tmp_path / "populations" / name).folder for name in ("a" * 16, "b" * 16))
    assert not boot.is_stale(one)
    monkeypatch.setattr(boot, "boot_id", lambda: "the next boot")
    assert boot.is_stale(one)
    boot.stamp(one)
    assert not boot.is_stale(one)
    assert boot.is_stale(two)
    boot.mark_clean(tmp_path)
    monkeypatch.setattr(boot, "boot_id", lambda: "a third boot")
    boot.take_clean(tmp_path)
    assert not boot.is_stale(one)
    assert boot.is_stale(two)  # it was waiting to be rebuilt when the stop came
    assert not (tmp_path / "clean").exists()
    monkeypatch.setattr(boot, "boot_id", lambda: "a fourth boot")
    boot.take_clean(tmp_path)
    assert boot.is_stale(one)
