"""Batches as a worker runs them: who asked for what, what is told, and what telemetry sums up."""

import numpy as np
import pytest

from beliefd.engine import Engine
from beliefd.engine.batch import LoadedPopulation
from beliefd.engine.planner import compile_model
from beliefd.engine.scratch import Scratch
from beliefd.engine.store import Store
from beliefd.worlds import tmaze
from beliefd_proto import Command, StepStatus, Want
from beliefd_proto import messages as m
from beliefd_worker.execution import execute

AGENTS = 40
IDS = [bytes([i]) * 16 for i in range(1, 5)]


class OneShelf:
    """Holds one population, in memory."""

    due = True

    def __init__(self, agents=AGENTS):
        compiled = compile_model(tmaze())
        self.one = LoadedPopulation(Scratch(compiled), Store.in_memory(compiled.layout, agents), 7)
        self.count = np.zeros(1, np.int64)
        self.looks = True

    def population(self, uid, rows):
        return self.one

    def journal(self, uid):
        return None

    def sample_due(self, uid):
        return self.due

    def tally(self, number):
        return self.count

    def is_taken(self, number, agents):
        return self.looks and self.count[0] * 64 >= agents


@pytest.fixture
def shelf():
    return OneShelf()


def observations(count):
    rng = np.random.default_rng(count)
    return np.stack([rng.integers(0, n, count) for n in tmaze().num_obs], axis=1).astype(np.int8)


def work(kind=Command.STEP, counts=(AGENTS,), ids=IDS, **change):
    parts = tuple(m.Part(i, count) for i, count in zip(ids, counts, strict=False))
    fields = {"epoch": 1, "batch": 1, "kind": kind, "population": "a" * 16, "rows": AGENTS, "parts": parts}
    return m.Work(**(fields | ({"first": 0, "tick": 1} if kind is Command.STEP else {"first": 0}) | change))


def test_a_batch_is_what_an_engine_does_and_no_more_than_was_asked_for(shelf):
    seen = observations(AGENTS)
    outcome = execute(work(want=int(Want.BELIEFS)), {"observations": seen}, shelf)
    local = Engine(tmaze(), agents=AGENTS, seed=7).step(seen, want=("beliefs", "vfe"))
    assert set(outcome.arrays) == {"actions", "beliefs"}
    np.testing.assert_array_equal(outcome.arrays["actions"], local.actions)
    assert outcome.arrays["actions"].dtype == np.int8
    np.testing.assert_array_equal(outcome.arrays["beliefs"], np.concatenate(local.beliefs, axis=1))
    told = outcome.telemetry
    assert told.agents == AGENTS
    np.testing.assert_allclose(told.vfe_sum, local.vfe.sum(dtype=float), rtol=1e-6)
    assert told.action_counts == tuple(np.bincount(local.actions[:, 0], minlength=4))
    assert told.entropy_agents == 32
    entropy = sum(float(-(b[:32] * np.log(np.maximum(b[:32], 1e-30))).sum()) for b in local.beliefs)
    np.testing.assert_allclose(told.entropy_sum, entropy, rtol=1e-5)


def test_a_batch_that_runs_again_tells_what_was_recorded_and_counts_nothing(shelf):
    arrays = {"observations": observations(AGENTS)}
    first = execute(work(want=int(Want.VFE)), arrays, shelf)
    again = execute(work(want=int(Want.VFE)), arrays, shelf)
    assert set(again.arrays["status"]) == {StepStatus.RECORDED}
    for name in ("actions", "vfe"):
        np.testing.assert_array_equal(first.arrays[name], again.arrays[name])
    assert again.telemetry.agents == 0
    assert again.telemetry.vfe_sum == 0.0


def test_between_samples_a_step_is_the_same_and_nothing_is_measured(shelf):
    arrays = {"observations": observations(AGENTS)}
    measured = execute(work(), arrays, shelf)
    shelf.one, shelf.due = OneShelf().one, False
    plain = execute(work(), arrays, shelf)
    assert plain.telemetry is None
    assert set(plain.arrays) == {"actions"}
    np.testing.assert_array_equal(plain.arrays["actions"], measured.arrays["actions"])


def test_every_agent_remembers_the_request_of_its_own_part(shelf):
    arrays = {"observations": observations(30)}
    execute(work(counts=(10, 15, 5)), arrays, shelf)
    swapped = execute(work(counts=(10, 15, 5), ids=[IDS[0], IDS[2], IDS[1]]), arrays, shelf)
    expected = [StepStatus.RECORDED] * 10 + [StepStatus.TICK_TAKEN] * 20
    assert swapped.arrays["status"].tolist() == expected


def test_agents_and_ticks_by_name(shelf):
    execute(work(counts=(3,)), {"observations": observations(3)}, shelf)
    arrays = {
        "observations": observations(4),
        "agents": np.array([9, 2, 0, 30], np.uint32),
        "ticks": np.array([1, 2, 1, 5]),
    }
    outcome = execute(work(counts=(4,), ids=IDS[1:], first=None, tick=None), arrays, shelf)
    applied, taken, gap = StepStatus.APPLIED, StepStatus.TICK_TAKEN, StepStatus.TICK_GAP
    assert outcome.arrays["status"].tolist() == [applied, applied, taken, gap]
    assert (outcome.telemetry.agents, outcome.telemetry.entropy_agents) == (2, 2)
    read = execute(work(Command.READ, counts=(4,), first=None), {"agents": arrays["agents"]}, shelf)
    assert read.arrays["tick"].tolist() == [1, 2, 1, 0]


def test_a_shared_batch_is_told_of_as_far_as_it_was_taken():
    shelf, seen = OneShelf(200), observations(200)
    local = Engine(tmaze(), agents=200, seed=7).step(seen)
    shelf.count[0] = 1  # a tile that another takes
    shared = work(counts=(200,), rows=200, want=int(Want.BELIEFS), tally=3, from_end=True)
    outcome = execute(shared, {"observations": seen}, shelf)
    assert outcome.count == outcome.telemetry.agents == len(outcome.arrays["beliefs"]) == 200 - 64
    np.testing.assert_array_equal(outcome.arrays["actions"], local.actions[64:])
    assert (shelf.one.store.int64[:, 0] == (np.arange(200) >= 64)).all()


@pytest.mark.parametrize("looks", [True, False])
def test_of_a_shared_batch_that_another_has_done_nothing_is_told(shelf, looks):
    """Whether that is seen before it is begun, or only when nothing is left to take."""
    shelf.count[0], shelf.looks = -(-AGENTS // 64), looks
    outcome = execute(work(want=int(Want.BELIEFS), tally=3), {"observations": observations(AGENTS)}, shelf)
    assert (outcome.count, outcome.arrays, outcome.error, outcome.telemetry) == (0, {}, None, None)
    assert not shelf.one.store.int64[:, 0].any()


def test_arrays_of_a_message_may_start_at_any_byte_and_be_read_only(shelf):
    def framed(array):
        return np.frombuffer(b"x" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)

    rng = np.random.default_rng(3)
    arrays = {
        "agents": rng.permutation(AGENTS).astype(np.uint32),
        "ticks": np.ones(AGENTS, np.int64),
        "observations": observations(AGENTS).astype("<i2"),
        "reset": rng.integers(0, 2, AGENTS).astype(np.uint8),
        "executed_actions": rng.integers(-1, 2, (AGENTS, 2)).astype("<i2"),
    }
    named = work(first=None, tick=None, want=int(Want.BELIEFS))
    expected = execute(named, arrays, shelf).arrays
    shelf.one = OneShelf().one
    step, given = shelf.one.step, []
    shelf.one.step = lambda inputs: given.append(inputs) or step(inputs)
    found = execute(named, {name: framed(array) for name, array in arrays.items()}, shelf).arrays
    taken = [getattr(given[0], name) for name in ("rows", "ticks", "request_ids", "executed_actions")]
    assert all(array.flags.aligned and array.flags.c_contiguous for array in taken)
    for name in ("actions", "beliefs"):
        np.testing.assert_array_equal(found[name], expected[name])
    read = execute(work(Command.READ, first=None), {"agents": framed(arrays["agents"])}, shelf)
    assert set(read.arrays["tick"]) == {1}


def test_a_read_gives_what_was_asked_for_and_changes_nothing(shelf):
    seen = observations(AGENTS)
    stepped = execute(work(want=int(Want.VFE | Want.Q_PI)), {"observations": seen}, shelf)
    want = int(Want.OBSERVATION | Want.VFE | Want.Q_PI)
    for _ in range(2):
        read = execute(work(Command.READ, want=want), {}, shelf)
        assert set(read.arrays) == {"tick", "actions", "observations", "q_pi", "vfe"}
        assert set(read.arrays["tick"]) == {1}
        np.testing.assert_array_equal(read.arrays["observations"], seen)
        for name in ("vfe", "q_pi", "actions"):
            np.testing.assert_array_equal(read.arrays[name], stepped.arrays[name])
    assert read.telemetry is None
