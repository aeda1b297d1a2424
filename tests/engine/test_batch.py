"""Promises of a batch: the same bits however agents are packed, exactly once however often it is sent."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from beliefd.engine import admission
from beliefd.engine.batch import LoadedPopulation, StepInputs, StepOutputs
from beliefd.engine.layout import FLAG_EXECUTED, FLAG_MOVED
from beliefd.engine.planner import compile_model
from beliefd.engine.scratch import Scratch
from beliefd.engine.store import Store
from beliefd.model import Model
from beliefd.observations import Observations, canonical
from beliefd_proto.commands import StepStatus, Want
from models import random_model, tmaze, with_counts

PARTS = Want.UTILITY | Want.INFO_GAIN | Want.INDUCTIVE | Want.NOVELTY
ALL = Want.BELIEFS | Want.Q_PI | Want.NEG_EFE | Want.VFE | Want.GAMMA | PARTS
FIELDS = (
    "status",
    "actions",
    "vfe",
    "beliefs",
    "q_pi",
    "neg_efe",
    "utility",
    "info_gain",
    "inductive",
    "novelty",
    "gamma",
)


def population(model: Model, agents: int, seed: int = 7) -> LoadedPopulation:
    compiled = compile_model(model)
    return LoadedPopulation(Scratch(compiled), Store.in_memory(compiled.layout, agents), seed)


def call(
    model: Model, rows: np.ndarray, ticks: np.ndarray | int, rng: np.random.Generator, request: int = 1
) -> StepInputs:
    n = len(rows)
    entries = [
        rng.dirichlet(np.ones(size), n) if m == 0 and rng.random() < 0.3 else rng.integers(-1, size, n)
        for m, size in enumerate(model.num_obs)
    ]
    executed = np.stack([rng.integers(0, size, n) for size in model.num_controls], axis=1).astype(np.int32)
    executed[rng.random(executed.shape) < 0.5] = -1
    return StepInputs(
        rows=rows,
        ticks=np.broadcast_to(np.asarray(ticks, dtype=np.int64), (n,)).copy(),
        request_ids=np.full((n, 2), request, dtype=np.uint64),
        observations=canonical(entries, model.info, n),
        reset=(rng.random(n) < 0.2).astype(np.uint8),
        executed_actions=executed,
        want=ALL,
    )


def part(inputs: StepInputs, which: np.ndarray | slice) -> StepInputs:
    assert inputs.reset is not None
    assert inputs.executed_actions is not None
    return replace(
        inputs,
        rows=inputs.rows[which],
        ticks=inputs.ticks[which],
        request_ids=inputs.request_ids[which],
        observations=inputs.observations.select(which),
        reset=inputs.reset[which],
        executed_actions=inputs.executed_actions[which],
    )


def assert_same_bits(one: StepOutputs, two: StepOutputs) -> None:
    for name in FIELDS:
        a, b = getattr(one, name), getattr(two, name)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes(), name


def joined(outputs: list[StepOutputs]) -> StepOutputs:
    return StepOutputs(*(np.concatenate([getattr(output, name) for output in outputs]) for name in FIELDS))


MODELS = [(seed, dtype, sharp) for seed in range(4) for dtype in ("float32", "float64") for sharp in (False, True)]


@pytest.mark.parametrize(("seed", "dtype", "sharp"), MODELS)
def test_packing_changes_no_bit(seed: int, dtype: str, sharp: bool) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng, dtype=dtype, sharp=sharp)
    agents = 70
    whole, singles, shuffled, pieces = (population(model, agents) for _ in range(4))
    rows = np.arange(agents)
    for tick in (1, 2, 3):
        inputs = call(model, rows, tick, rng)
        expected = whole.step(inputs)
        assert (expected.status == StepStatus.APPLIED).all()
        assert_same_bits(joined([singles.step(part(inputs, slice(i, i + 1))) for i in rows]), expected)
        order = rng.permutation(agents)
        mixed = shuffled.step(part(inputs, order))
        assert_same_bits(joined([mixed]), StepOutputs(*(getattr(expected, name)[order] for name in FIELDS)))
        edges = [0, 3, 36, 70]
        found = [pieces.step(part(inputs, slice(a, b))) for a, b in itertools.pairwise(edges)]
        assert_same_bits(joined(found), expected)
    for other in (singles, shuffled, pieces):
        assert (other.store.bytes == whole.store.bytes).all()


@pytest.mark.parametrize(("seed", "dtype"), [(0, "float32"), (1, "float64")])
@pytest.mark.parametrize("agents", [1, 64, 65, 700])
def test_two_who_share_a_call_do_each_agent_once_and_change_no_bit(seed: int, dtype: str, agents: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng, dtype=dtype, sharp=True)
    whole, one = population(model, agents), population(model, agents)
    two = LoadedPopulation(Scratch(one.compiled), one.store, one.seed)
    rows = np.arange(agents)
    with ThreadPoolExecutor(2) as threads:
        for tick in range(1, 20):
            inputs = call(model, rows, tick, rng, request=tick)
            if tick % 3 == 0:  # some are done already, and give what is recorded
                done = part(inputs, rng.permutation(agents)[: agents // 3])
                assert_same_bits(one.step(done), whole.step(done))
            expected = whole.step(inputs)
            tally = np.zeros(1, np.int64)
            ahead = threads.submit(one.step_part, inputs, tally, False)
            back, last = two.step_part(inputs, tally, True)
            front, first = ahead.result()
            assert (front.start, back.stop) == (0, agents)
            assert front.stop == back.start
            assert_same_bits(joined([found for found in (first, last) if len(found.status)]), expected)
            assert (one.store.bytes == whole.store.bytes).all()


def test_of_a_call_that_another_has_taken_whole_nothing_is_left() -> None:
    rng = np.random.default_rng(3)
    one = population(tmaze(), 200)
    inputs = call(tmaze(), np.arange(200), 1, rng)
    tally = np.zeros(1, np.int64)
    assert one.step_part(inputs, tally, False)[0] == slice(0, 200)
    before = one.store.bytes.copy()
    here, outputs = one.step_part(inputs, tally, True)
    assert here == slice(200, 200)
    assert len(outputs.actions) == len(outputs.status) == 0
    assert (one.store.bytes == before).all()


def test_what_a_dead_sharer_had_taken_is_left_as_it_was() -> None:
    """Tiles that are counted and never done: the other takes none of them."""
    one = population(tmaze(), 640)
    inputs = call(tmaze(), np.arange(640), 1, np.random.default_rng(4))
    here, _ = one.step_part(inputs, np.full(1, 3, np.int64), True)
    assert here == slice(3 * 64, 640)
    assert (one.store.int64[:, 0] == (np.arange(640) >= 3 * 64)).all()


@pytest.mark.parametrize("first", [0, 30])
def test_neighbours_at_one_tick_are_told_by_one_number_each(first: int) -> None:
    rng = np.random.default_rng(5)
    model = random_model(rng, dtype="float32")
    each, short = population(model, 300), population(model, 300)
    for tick in (1, 2, 2):
        inputs = call(model, np.arange(first, first + 200), tick, rng, request=tick)
        few = replace(inputs, rows=inputs.rows[:1], ticks=inputs.ticks[:1], request_ids=inputs.request_ids[:1])
        assert_same_bits(short.step(few), each.step(inputs))
        assert (short.store.bytes == each.store.bytes).all()


def test_a_retry_gives_the_recorded_result_and_commits_nothing() -> None:
    rng = np.random.default_rng(1)
    model = random_model(rng, dtype="float32", action_selection="stochastic")
    agents = population(model, 70)
    rows = np.arange(70)
    for tick in (1, 2):
        inputs = call(model, rows, tick, rng, request=tick)
        first = agents.step(inputs)
        before = agents.store.bytes.copy()
        again = agents.step(inputs)
        assert (again.status == StepStatus.RECORDED).all()
        assert_same_bits(replace(again, status=first.status), first)
        assert (agents.store.bytes == before).all()


def test_conflicts_touch_nothing_and_the_rest_of_the_call_is_applied() -> None:
    rng = np.random.default_rng(2)
    model = tmaze()
    agents = population(model, 6)
    for tick in (1, 2, 3):
        agents.step(call(model, np.arange(5), tick, rng, request=tick))
    before = agents.store.bytes.copy()
    inputs = call(model, np.arange(6), np.array([4, 3, 3, 2, 5, 0]), rng, request=3)
    inputs.request_ids[2] = 99
    found = agents.step(inputs)
    assert found.status.tolist() == [
        StepStatus.APPLIED,
        StepStatus.RECORDED,
        StepStatus.TICK_TAKEN,
        StepStatus.STALE_TICK,
        StepStatus.TICK_GAP,
        StepStatus.STALE_TICK,
    ]
    assert (found.actions[2:] == -1).all()
    assert found.vfe is not None
    assert found.beliefs is not None
    assert not found.vfe[2:].any()
    assert not found.beliefs[2:].any()
    assert (agents.store.bytes[1:] == before[1:]).all()
    assert agents.store.int64[0, 0] == 4


def test_what_was_begun_and_not_committed_leaves_the_state_before() -> None:
    rng = np.random.default_rng(3)
    model = random_model(rng, dtype="float64")
    killed, spared = population(model, 5), population(model, 5)
    rows = np.arange(5)
    first, second = call(model, rows, 1, rng), call(model, rows, 2, rng, request=2)
    other = replace(call(model, rows, 2, rng), request_ids=second.request_ids)
    for agents in (killed, spared):
        agents.step(first)
    state = killed.read(rows, ALL)
    killed.begin(other)
    unchanged = killed.read(rows, ALL)
    for name in ("ticks", "actions", "vfe", "beliefs", "q_pi", "neg_efe"):
        assert getattr(unchanged, name).tobytes() == getattr(state, name).tobytes()
    assert_same_bits(killed.step(second), spared.step(second))


KINDS = {
    "plain": tmaze(),
    "window": tmaze(inference_algo="mmp", inference_horizon=3),
    "learner": with_counts(np.random.default_rng(1), tmaze()),
    "learner over a window": with_counts(np.random.default_rng(1), tmaze(inference_algo="mmp", inference_horizon=3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_agents_that_were_stepped_already_and_others_take_their_places_in_one_call(kind: str) -> None:
    rng, model, n = np.random.default_rng(5), KINDS[kind], 200
    agents, undisturbed = population(model, n), population(model, n)
    for tick in (1, 2, 3, 4):
        inputs = call(model, np.arange(n), tick, rng, request=tick)
        order = rng.permutation(n)
        taken, done, rest = np.split(order, [7, 100])
        others = replace(part(inputs, taken), request_ids=np.full((7, 2), 99, np.uint64))
        for each in (agents, undisturbed):
            each.step(others)
        expected = undisturbed.step(part(inputs, order[7:]))
        agents.step(part(inputs, done))
        found = agents.step(inputs)
        assert (found.status[taken] == StepStatus.TICK_TAKEN).all()
        assert (found.status[done] == StepStatus.RECORDED).all()
        assert (found.status[rest] == StepStatus.APPLIED).all()
        kept = StepOutputs(expected.status, *(getattr(found, name)[order[7:]] for name in FIELDS[1:]))
        assert_same_bits(kept, expected)
        assert agents.store.bytes.tobytes() == undisturbed.store.bytes.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_death_in_the_middle_leaves_every_agent_before_or_after(kind: str, tmp_path: Path) -> None:
    rng, model, n = np.random.default_rng(3), KINDS[kind], 10_000
    compiled = compile_model(model)
    killed = LoadedPopulation(Scratch(compiled), Store.create(tmp_path / "agents.bin", compiled.layout, n), 7)
    spared, rows = population(model, n), np.arange(n)
    first, second = call(model, rows, 1, rng), call(model, rows, 2, rng, request=2)
    for agents in (killed, spared):
        agents.step(first)
    before = spared.read(rows, ALL)
    stepped = spared.step(second)
    after = spared.read(rows, ALL)
    state = killed.store.bytes.copy()
    for _ in range(20):  # on a busy machine it may have ended before it is killed
        killed.store.bytes[:] = state
        _die_in(lambda: killed.step(second), lambda: killed.store.int64[0, 0] == 2)
        found = killed.read(rows, ALL)
        done = found.ticks == 2
        if not done.all():
            break
    assert done.any()
    assert not done.all()
    for name in ("ticks", "actions", *FIELDS[2:]):
        as_before, as_after = getattr(before, name), getattr(after, name)
        whole = np.where(done.reshape(-1, *[1] * (as_after.ndim - 1)), as_after, as_before)
        assert getattr(found, name).tobytes() == whole.tobytes(), name
    again = killed.step(second)
    assert (again.status[done] == StepStatus.RECORDED).all()
    assert (again.status[~done] == StepStatus.APPLIED).all()
    assert_same_bits(replace(again, status=stepped.status), stepped)
    third = call(model, rows, 3, rng, request=3)
    assert_same_bits(killed.step(third), spared.step(third))


def _die_in(work: Callable[[], object], begun: Callable[[], bool]) -> None:
    """Do the work in a process that is killed as soon as it has `begun`."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    while not begun() and os.waitpid(child, os.WNOHANG) == (0, 0):
        pass
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_reading_gives_what_the_step_gave() -> None:
    rng = np.random.default_rng(4)
    model = tmaze()
    agents = population(model, 70)
    inputs = replace(call(model, np.arange(70), 1, rng), reset=None, executed_actions=None)
    stepped = agents.step(inputs)
    found = agents.read(np.arange(70), ALL | Want.OBSERVATION)
    for name in FIELDS[1:]:
        assert getattr(found, name).tobytes() == getattr(stepped, name).tobytes()
    assert found.observations is not None
    assert (found.observations == inputs.observations.indices).all()
    assert (found.ticks == 1).all()


def test_an_agent_that_never_stepped_reads_as_d() -> None:
    model = tmaze()
    found = population(model, 2).read(np.arange(2), ALL | Want.OBSERVATION)
    assert found.ticks.tolist() == [0, 0]
    assert (found.actions == -1).all()
    assert found.beliefs is not None
    assert np.allclose(found.beliefs, np.concatenate(model.D))
    assert found.vfe is not None
    assert not found.vfe.any()


def test_agents_added_later_start_from_d_and_change_nobody() -> None:
    rng = np.random.default_rng(5)
    model = tmaze()
    grown, fixed = population(model, 3), population(model, 100)
    inputs = call(model, np.arange(3), 1, rng)
    for agents in (grown, fixed):
        agents.step(inputs)
    grown.store.grow(100)
    inputs = call(model, np.arange(100), np.where(np.arange(100) < 3, 2, 1), rng)
    assert_same_bits(grown.step(inputs), fixed.step(inputs))


def test_a_certain_distribution_is_the_index_bit_for_bit() -> None:
    model = tmaze()
    agents, others = population(model, 8), population(model, 8)
    rng = np.random.default_rng(6)
    inputs = replace(call(model, np.arange(8), 1, rng), reset=None, executed_actions=None)
    indices = np.stack([rng.integers(0, size, 8) for size in model.num_obs], axis=1).astype(np.int32)
    certain = Observations(
        np.full_like(indices, -2), tuple(np.eye(size)[indices[:, m]] for m, size in enumerate(model.num_obs))
    )
    by_index = agents.step(replace(inputs, observations=Observations(indices, (None,) * 3)))
    assert_same_bits(others.step(replace(inputs, observations=certain)), by_index)


def test_a_factor_that_is_not_told_keeps_the_action_that_was_selected() -> None:
    rng = np.random.default_rng(8)
    model = random_model(rng, dtype="float64", coupled=True, action_selection="stochastic")
    partly, merged = population(model, 70), population(model, 70)
    rows = np.arange(70)
    first = call(model, rows, 1, rng)
    selected = partly.step(first).actions
    merged.step(first)
    second = replace(call(model, rows, 2, rng), reset=None)
    told = second.executed_actions
    assert told is not None
    some_told = (told >= 0).any(axis=1)
    assert (some_told & (told < 0).any(axis=1)).any()
    whole = np.where(told < 0, selected, told)
    assert_same_bits(partly.step(second), merged.step(replace(second, executed_actions=whole)))
    layout = partly.store.layout
    flags = partly.store.int32[:, (layout.slot_start + layout.flags) // 4]
    assert flags.tolist() == (some_told * FLAG_EXECUTED + FLAG_MOVED).tolist()


@pytest.mark.parametrize("status", StepStatus)
def test_kernels_and_protocol_number_the_statuses_alike(status: StepStatus) -> None:
    assert getattr(admission, status.name) == status
