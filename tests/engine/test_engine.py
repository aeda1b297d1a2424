"""The engine as users meet it: arguments, threads, a data folder that goes on, and a lock."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import beliefd.engine
from beliefd.engine import Engine
from beliefd.engine.batch import LoadedPopulation, StepInputs, StepOutputs
from beliefd.engine.manifest import read_manifest
from beliefd.step import Reading, Step
from beliefd_proto.errors import (
    FolderLocked,
    InvalidArgument,
    InvalidObservation,
    PopulationExists,
    UnknownAgent,
)
from models import tmaze

WANT = ("beliefs", "q_pi", "neg_efe", "vfe")


def _observations(rng: np.random.Generator, agents: int) -> np.ndarray:
    return np.stack([rng.integers(0, size, agents) for size in (4, 3, 2)], axis=1)


def _bits(step: Step | Reading) -> list[bytes]:
    assert step.beliefs is not None
    arrays = [step.actions, step.tick, *step.beliefs, step.q_pi, step.neg_efe, step.vfe]
    return [array.tobytes() for array in arrays if array is not None]


def test_all_names_exist() -> None:
    assert [getattr(beliefd.engine, name) for name in beliefd.engine.__all__] == [Engine]
    with pytest.raises(AttributeError):
        _ = beliefd.engine.nothing


def test_shapes_and_ticks() -> None:
    engine = Engine(tmaze(), 5)
    step = engine.step(np.zeros((2, 3), dtype=int), agents=[4, 1], want=WANT)
    assert step.tick.tolist() == [1, 1]
    assert step.actions.shape == (2, 2)
    assert step.control.shape == (2,)
    assert step.beliefs is not None
    assert [q.shape for q in step.beliefs] == [(2, 4), (2, 2)]
    assert step.q_pi is not None
    assert step.q_pi.shape == (2, 16)
    assert engine.step(np.zeros((5, 3), dtype=int)).tick.tolist() == [1, 2, 1, 1, 2]
    assert engine.read(want=("observations",)).tick.tolist() == [1, 2, 1, 1, 2]


def test_threads_change_no_bit() -> None:
    model = tmaze(action_selection="stochastic")
    one, two = Engine(model, 1000, seed=3), Engine(model, 1000, seed=3, threads=2)
    rng = np.random.default_rng(0)
    for _ in range(3):
        observations, reset = _observations(rng, 1000), rng.random(1000) < 0.1
        assert _bits(two.step(observations, reset=reset, want=WANT)) == _bits(
            one.step(observations, reset=reset, want=WANT)
        )
    assert _bits(two.read(want=WANT)) == _bits(one.read(want=WANT))
    two.close()


def test_pieces_change_no_bit_and_have_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmaze(action_selection="stochastic")
    whole, pieces = Engine(model, 1000, seed=3), Engine(model, 1000, seed=3, threads=2)
    rng = np.random.default_rng(0)
    named = rng.permutation(1000)[:900]
    for agents in (None, named, None, named):
        observations = _observations(rng, 1000 if agents is None else 900)
        with monkeypatch.context() as patch:
            patch.setattr("beliefd.engine.engine._LARGEST_PIECE", 300)
            found = pieces.step(observations, agents, want=WANT)
        assert _bits(found) == _bits(whole.step(observations, agents, want=WANT))
    store = pieces._store
    assert store is not None
    assert len(np.unique(store.request_ids(named), axis=0)) == 1
    assert len(np.unique(store.request_ids(pieces.agents), axis=0)) == 2
    pieces.close()


def test_a_call_that_fails_ends_when_all_its_threads_have(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    def fails(_: object) -> None:
        raise MemoryError

    def takes_long(_: object) -> None:
        time.sleep(0.2)
        ended.append(True)

    with Engine(tmaze(), 1000, threads=2) as engine:
        monkeypatch.setattr(engine._parts[0], "step", fails)
        monkeypatch.setattr(engine._parts[1], "step", takes_long)
        with pytest.raises(MemoryError):
            engine.step(np.zeros((1000, 3), dtype=int))
        assert ended == [True]


def test_an_engine_opened_again_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model = tmaze(action_selection="stochastic", dtype="float64")
    steady = Engine(model, 70, seed=9)
    rng = np.random.default_rng(1)
    for _ in range(3):
        observations = _observations(rng, 70)
        with Engine(model, 70, seed=9, data=tmp_path) as engine:
            found = engine.step(observations, want=WANT)
        assert _bits(found) == _bits(steady.step(observations, want=WANT))


@pytest.mark.parametrize(
    ("change", "field"),
    [({"agents": 4}, "agents"), ({"seed": 1}, "seed"), ({"model": tmaze(cue_validity=0.9)}, "model")],
)
def test_another_population_in_the_folder_is_refused(tmp_path: Path, change: dict[str, object], field: str) -> None:
    arguments: dict[str, object] = {"model": tmaze(), "agents": 3, "seed": 0, "data": tmp_path}
    Engine(**arguments).close()  # type: ignore[arg-type]
    with pytest.raises(PopulationExists) as caught:
        Engine(**(arguments | change))  # type: ignore[arg-type]
    assert caught.value.field == field
    Engine(**arguments).close()  # type: ignore[arg-type]


def test_other_kernels_go_on_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("beliefd.engine.enginefolder.fingerprint", lambda: "0" * 16)
        Engine(tmaze(), 3, data=tmp_path).close()
    with pytest.warns(UserWarning, match="not bit for bit"):
        Engine(tmaze(), 3, data=tmp_path).close()


def test_the_folder_is_one_that_a_server_can_read(tmp_path: Path) -> None:
    Engine(tmaze(), 3, seed=5, data=tmp_path).close()
    (folder,) = (tmp_path / "populations").iterdir()
    manifest, members = read_manifest(folder)
    assert (manifest.rows, manifest.seed, manifest.uid) == (3, 5, folder.name)
    assert members.live.tolist() == [0, 1, 2]


def test_a_folder_in_use_is_refused_with_the_holders_pid(tmp_path: Path) -> None:
    with Engine(tmaze(), 3, data=tmp_path), pytest.raises(FolderLocked, match=str(os.getpid())):
        Engine(tmaze(), 3, data=tmp_path)
    Engine(tmaze(), 3, data=tmp_path).close()


def test_a_folder_whose_workers_still_run_is_refused(tmp_path: Path) -> None:
    leases = tmp_path / "run" / "leases"
    leases.mkdir(parents=True)
    with open(leases / "worker_00.lease", "wb") as lease:
        fcntl.flock(lease, fcntl.LOCK_EX)
        with pytest.raises(FolderLocked, match="worker_00"):
            Engine(tmaze(), 3, data=tmp_path)
    Engine(tmaze(), 3, data=tmp_path).close()


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    code = f"import os; from beliefd.engine.folderlock import FolderLock; FolderLock({str(tmp_path)!r}); os._exit(9)"
    from_pathlib = "from pathlib import Path; "
    code = from_pathlib + code.replace(repr(str(tmp_path)), f"Path({str(tmp_path)!r})")
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 9
    Engine(tmaze(), 3, data=tmp_path).close()


def test_bad_input_changes_nothing() -> None:
    engine = Engine(tmaze(), 3)
    good = np.zeros((3, 3), dtype=int)
    bad = good.copy()
    bad[1, 2] = 2
    with pytest.raises(InvalidObservation) as caught:
        engine.step(bad)
    assert caught.value.index == (1, 2)
    with pytest.raises(UnknownAgent):
        engine.step(good[:1], agents=[3])
    with pytest.raises(InvalidArgument):
        engine.step(good[:2], agents=[1, 1])
    with pytest.raises(InvalidArgument):
        engine.step(good, want=("nothing",))
    with pytest.raises(InvalidArgument):
        engine.step(good, executed_actions=np.full((3, 2), 4))
    assert engine.read().tick.tolist() == [0, 0, 0]


@pytest.mark.parametrize("change", [{"agents": 0}, {"agents": True}, {"seed": -1}, {"seed": 2**63}, {"threads": 0}])
def test_arguments_out_of_range_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Engine(tmaze(), **({"agents": 3} | change))
    assert caught.value.field == next(iter(change))


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, np.uint64])
def test_numbers_may_be_numpys(tmp_path: Path, kind: type[np.integer]) -> None:
    with Engine(tmaze(), kind(3), seed=kind(5), data=tmp_path, threads=kind(2)) as engine:  # type: ignore[arg-type]
        assert engine.agents.dtype == np.int64
        found = engine.step(np.zeros((3, 3), dtype=int), want=WANT)
    assert _bits(found) == _bits(Engine(tmaze(), 3, seed=5).step(np.zeros((3, 3), dtype=int), want=WANT))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Engine(None, 2)  # type: ignore[arg-type]
    assert caught.value.field == "model"


def test_a_closed_engine_says_so() -> None:
    engine = Engine(tmaze(), 3)
    engine.close()
    engine.close()
    with pytest.raises(InvalidArgument, match="closed"):
        engine.read()


def test_arrays_may_lie_in_memory_as_they_like(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, n, step = np.random.default_rng(5), 9, LoadedPopulation.step
    taken = []

    def stepped(population: LoadedPopulation, inputs: StepInputs) -> StepOutputs:
        taken.append(inputs)
        for array in (inputs.rows, inputs.reset, inputs.executed_actions, inputs.observations.indices):
            assert array is not None
            assert array.flags.aligned
            assert array.flags.c_contiguous
        return step(population, inputs)

    monkeypatch.setattr(LoadedPopulation, "step", stepped)
    seen, agents = _observations(rng, n), rng.permutation(n)
    done, reset = rng.integers(-1, (4, 1), (n, 2)), rng.integers(0, 2, n).astype(bool)

    def strided(array: np.ndarray) -> np.ndarray:
        return np.repeat(array, 3, axis=0)[::-3][::-1]

    def anywhere(array: np.ndarray) -> np.ndarray:
        narrow = array.astype(np.int32)
        return np.frombuffer(b"x" + narrow.tobytes(), np.int32, offset=1).reshape(narrow.shape)

    plain, other = (Engine(tmaze(), agents=n, seed=2) for _ in range(2))
    one = plain.step(seen, agents=agents, reset=reset, executed_actions=done, want=WANT)
    for ordered in (np.asfortranarray, strided, anywhere):
        two = other.step(
            ordered(seen), agents=strided(agents), reset=strided(reset), executed_actions=ordered(done), want=WANT
        )
        assert _bits(one) == _bits(two)
        other = Engine(tmaze(), agents=n, seed=2)
    probabilities = [np.eye(size)[seen[:, m]] for m, size in enumerate((4, 3, 2))]
    two = other.step([np.asfortranarray(p) for p in probabilities], agents=agents, reset=reset, executed_actions=done)
    np.testing.assert_array_equal(two.actions, one.actions)
    assert len(taken) == 5


def test_executed_actions_are_the_agents_past() -> None:
    told, forced = Engine(tmaze(), 1), Engine(tmaze(), 1)
    first = np.array([[0, 0, 0]])
    for engine in (told, forced):
        engine.step(first)
    one = told.step(first, executed_actions=[1], want=("beliefs",))
    two = forced.step(first, executed_actions=[[1, 0]], want=("beliefs",))
    assert one.beliefs is not None
    assert two.beliefs is not None
    # Seen at the centre although it went to the absorbing right arm: the location sensor is exact, and wins.
    assert (one.beliefs[0] == two.beliefs[0]).all()
