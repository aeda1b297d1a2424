"""Where the time of a T-maze step goes: the stages of the kernel one by one, on the agents of one call."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import numpy as np

from beliefd.engine import Engine, plan
from beliefd.engine.admission import admit, commit
from beliefd.engine.batch import LoadedPopulation, StepInputs
from beliefd.engine.jit import inline
from beliefd.engine.lanes import LANE_ROWS, MARK_ROWS, place_agents, place_numbers
from beliefd.engine.plan import LANES
from beliefd.engine.planner import compile_model
from beliefd.engine.recordmath import fetch_ahead
from beliefd.engine.rowmath import exp_rows, log_rows
from beliefd.engine.scratch import Scratch
from beliefd.engine.slots import gather, write_beliefs, write_slots
from beliefd.engine.store import Store
from beliefd.observations import canonical
from beliefd.worlds import CENTRE, CUE, tmaze
from benches.history import History, drawn_history
from benches.timing import repeated

_AGENTS = 9_984  # whole tiles
_TICKS = 6


def profile(limit_s: float) -> dict[str, Any]:
    """Nanoseconds per agent: of the whole step, of memory, of logarithms and exponentials, and of the rest.

    Memory: agents are read from their records into lanes and written back, and their ticks are checked and committed;
    timed alone. Logarithms and exponentials: how many rows of them a step needs, from the number of sweeps that change
    something, times what a row of them takes; timed alone.
    """
    model = tmaze()
    history = drawn_history(model, _AGENTS, (CENTRE, CUE), _TICKS)
    compiled = compile_model(model)
    population = LoadedPopulation(Scratch(compiled), Store.in_memory(compiled.layout, _AGENTS), 0)
    rows, ids = np.arange(_AGENTS), np.zeros((_AGENTS, 2), np.uint64)
    tick = 0

    def step() -> None:
        nonlocal tick
        tick += 1
        inputs = StepInputs(
            rows,
            np.full(_AGENTS, tick),
            ids,
            canonical(history.observations[tick % _TICKS], model.info, _AGENTS, np.int8),
            want=8,
        )
        population.step(inputs)

    step()
    whole_ns = statistics.median(repeated(step, limit_s, least=10)) / _AGENTS * 1e9
    memory_ns = _memory_ns(population, limit_s)
    logs, exps = _rows_per_tile(history, compiled.ints)
    log_ns, exp_ns = _row_ns(limit_s)
    functions_ns = (logs * log_ns + exps * exp_ns) / LANES
    return {
        "step_ns": whole_ns,
        "memory": memory_ns / whole_ns,
        "logarithms_and_exponentials": functions_ns / whole_ns,
        "rest": 1.0 - (memory_ns + functions_ns) / whole_ns,
        "log_ns_per_number": log_ns / LANES,
        "exp_ns_per_number": exp_ns / LANES,
    }


def _rows_per_tile(history: History, ints: Any) -> tuple[float, float]:
    """Rows of logarithms, and of exponentials, that a tile takes in a step.

    A tile sweeps until nothing changes, and once more to see it. What follows the last sweep that changes anything is
    found by agents that make one sweep less.
    """
    states = int(ints[plan.TOTAL_STATES])
    beliefs = [_beliefs(history, sweeps) for sweeps in range(1, 17)]
    changes = [(a != b).any(axis=1).reshape(-1, LANES).any(axis=1) for a, b in itertools.pairwise(beliefs)]
    last = np.max([change * (sweep + 2) for sweep, change in enumerate(changes)], axis=0)
    sweeps = float(np.minimum(np.maximum(last, 1) + 1, 16).mean())
    seen = 0
    at = int(ints[plan.OPERATIONS])
    for _ in range(int(ints[plan.NUM_OPERATIONS])):
        name = int(ints[at])
        if name in (plan.VALUE, plan.VALUE_GIVEN):
            seen += int(ints[ints[plan.NUM_OBS] + ints[at + 3]])
        lengths = {plan.MOVE: 5, plan.VALUE: 5, plan.VALUE_GIVEN: 6, plan.CONTRACT: 4, plan.SUM: 3 + int(ints[at + 2])}
        at += lengths[name]
    return 2.0 * states + seen, sweeps * states


def _beliefs(history: History, sweeps: int) -> Any:
    """Beliefs after the history's last tick, of agents that make at most so many sweeps, shape (agents, states)."""
    with Engine(tmaze(num_iter=sweeps), agents=_AGENTS) as engine:
        executed = None
        for observations, actions in zip(history.observations, history.actions, strict=True):
            step = engine.step(observations, executed_actions=executed, want=("beliefs",))
            executed = actions
    assert step.beliefs is not None
    return np.concatenate(step.beliefs, axis=1)


def _row_ns(limit_s: float) -> tuple[float, float]:
    """What a row of logarithms, and one of exponentials, takes."""
    work = np.full((33, LANES), 0.3, np.float32)

    def per_row(kernel: Any) -> float:
        kernel(work, 1)
        times_s = repeated(lambda: kernel(work, 1_000), limit_s / 4, least=5)
        return statistics.median(times_s) / (1_000 * 32) * 1e9

    return per_row(_logs), per_row(_exps)


@inline
def _logs(work: Any, count: int) -> None:
    for _ in range(count):
        log_rows(work, 0, 0, 32)


@inline
def _exps(work: Any, count: int) -> None:
    for _ in range(count):
        exp_rows(work, 0, 32, 32, work.dtype.type(0.5))


def _memory_ns(population: LoadedPopulation, limit_s: float) -> float:
    """Of what only moves: admit, gather, scatter and commit, over all agents of one call."""
    store, ints = population.store, population.compiled.ints
    factors, modalities = population.info.num_factors, population.info.num_modalities
    work = np.zeros((population.compiled.scratch_rows, LANES), np.float32)
    lanes = np.zeros((LANE_ROWS, LANES), np.int64)
    marks = np.zeros((MARK_ROWS + modalities + factors + len(population.info.num_controls), LANES), np.int32)
    rows, ids = np.arange(_AGENTS), np.zeros((_AGENTS, 2), np.int64)
    ticks = store.int64[rows, 0] + 1
    status, picked = np.empty(_AGENTS, np.uint8), np.empty(_AGENTS, np.int64)
    actions = np.empty((_AGENTS, len(population.info.num_controls)), np.int32)
    indices, vfe = np.zeros((_AGENTS, modalities), np.int8), np.zeros(_AGENTS, np.float32)
    nothing = np.zeros((0, 1), np.float32), np.zeros(0, np.uint8), np.zeros((0, 1), np.int32)

    def move() -> None:
        _carry(
            ints, work, lanes, marks, store.int32, store.int64, store.real, rows, ticks, ids, indices, status, picked,
            actions, vfe, *nothing,
        )  # fmt: skip
        # As before it, so that the next call finds the same.
        store.int64[rows, 0] -= 1

    move()
    return statistics.median(repeated(move, limit_s, least=10)) / _AGENTS * 1e9


@inline
def _carry(  # type: ignore[no-untyped-def]
    ints, work, lanes, marks, int32s, int64s, records, rows, ticks, ids, indices, status, picked, actions, vfe, reals,
    reset, told,
):  # fmt: skip
    """The stages of `beliefd.engine.kernels.advance` that move agents between records and lanes, and nothing else."""
    chosen = marks[MARK_ROWS + ints[plan.NUM_MODALITIES] + ints[plan.NUM_FACTORS] :]
    slots_end_bytes = ints[plan.SLOT_START] + 2 * ints[plan.SLOT_BYTES]
    for start in range(0, len(rows), LANES):
        last = start + LANES
        for following in range(last, min(last + LANES, len(rows))):
            fetch_ahead(int64s, rows[following], slots_end_bytes)
        admit(ints, int32s, int64s, rows, ticks, ids, status, actions, picked, start, last, start)
        place_agents(ints, lanes, picked, start, LANES, rows, ticks)
        place_numbers(ints, lanes, int32s, records)
        gather(ints, work, lanes, marks, int32s, records, indices, reset, told)
        write_beliefs(ints, work, lanes, marks, LANES, records, ints[plan.MESSAGE_ROW], vfe, reals)
        write_slots(ints, lanes, marks, int32s, int64s, ids, chosen, reset, told, actions)
        commit(int64s, rows, ticks, picked, start, last)
