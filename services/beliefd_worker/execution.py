"""What a worker does with the work it gets: batches over agents here, jobs over a population in `jobs`."""

from __future__ import annotations

import time

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd.engine.batch import LoadedPopulation, StepInputs, StepOutputs
from beliefd.observations import Observations
from beliefd.wire import observations_from
from beliefd_proto import Arrays, Command, StepStatus, Want
from beliefd_proto import messages as m
from beliefd_proto.model_info import smallest_int
from beliefd_worker.shelf import Shelf

_ENTROPY_SAMPLE = 32
_VFE, _LEARNED = int(Want.VFE), int(Want.LEARNED)
_OUTPUTS = tuple(
    (int(bit), name)
    for bit, name in (
        (Want.BELIEFS, "beliefs"),
        (Want.Q_PI, "q_pi"),
        (Want.NEG_EFE, "neg_efe"),
        (Want.VFE, "vfe"),
        (Want.UTILITY, "utility"),
        (Want.INFO_GAIN, "info_gain"),
        (Want.INDUCTIVE, "inductive"),
        (Want.NOVELTY, "novelty"),
        (Want.GAMMA, "gamma"),
    )
)


class Outcome(msgspec.Struct, eq=False):
    """What a piece of work came to; the fields are those of `Result`.

    `elapsed_ns` is what the agents took, without what is done once, such as opening a population, and without waiting
    for the disk.
    """

    arrays: Arrays = {}
    error: m.Error | None = None
    info: m.PopulationInfo | None = None
    first: int = 0
    count: int = 0
    spec: bytes = b""
    telemetry: m.Telemetry | None = None
    elapsed_ns: int = 0
    journal_bytes: int = 0


def execute(work: m.Work, arrays: Arrays, shelf: Shelf) -> Outcome:
    """Do the work. Errors of the tree and all others are the caller's to report."""
    if work.kind is Command.STEP:
        if work.tally is not None and shelf.is_taken(work.tally, sum([part.count for part in work.parts])):
            return Outcome()  # by who shares it: the population may be gone by now
        return _step(work, arrays, shelf)
    if work.kind is Command.READ:
        return _read(work, arrays, shelf.population(work.population, work.rows))
    from beliefd_worker import jobs

    return jobs.run(work, arrays, shelf)


def _step(work: m.Work, arrays: Arrays, shelf: Shelf) -> Outcome:
    population = shelf.population(work.population, work.rows)
    journal = shelf.journal(work.population)
    told = observations_from(arrays, population.info)
    n = len(told.indices)
    executed = arrays.get("executed_actions")
    sampled = shelf.sample_due(work.population)
    inputs = StepInputs(
        rows=_rows(work, arrays) if work.first is None or journal is not None else np.array([work.first]),
        ticks=_ticks(work, arrays, 1 if journal is None else n),
        request_ids=_request_ids(work, n, journal is not None),
        observations=told if journal is None else Observations(told.indices.astype(np.int32), told.distributions),
        reset=arrays.get("reset"),
        executed_actions=None if executed is None else executed.astype(np.int32),
        want=work.want | _VFE if sampled else work.want,
    )
    journal_bytes, synced_ns, here = 0, 0, slice(0, n)
    started_ns = time.perf_counter_ns()
    if work.tally is not None:
        here, outputs = population.step_part(inputs, shelf.tally(work.tally), work.from_end)
        if here.start == here.stop:
            return Outcome()
    elif journal is None:
        outputs = population.step(inputs)
    else:  # synced before anything of it counts
        begun = population.begin(inputs)
        begun_ns = time.perf_counter_ns()
        journal_bytes = journal.append([begun], work.generation, work.epoch, work.batch)
        synced_ns = time.perf_counter_ns() - begun_ns
        outputs = population.commit(begun)
    elapsed_ns = time.perf_counter_ns() - started_ns - synced_ns
    answer: Arrays = {"actions": outputs.actions.astype(smallest_int(max(population.info.num_controls)))}
    if np.count_nonzero(outputs.status):  # 0 is plain success
        answer["status"] = outputs.status
    if work.want:
        answer |= {name: getattr(outputs, name) for bit, name in _OUTPUTS if work.want & bit}
    telemetry = _telemetry(population, _rows(work, arrays)[here], outputs) if sampled else None
    return Outcome(
        answer, count=here.stop - here.start, telemetry=telemetry, elapsed_ns=elapsed_ns, journal_bytes=journal_bytes
    )


def _read(work: m.Work, arrays: Arrays, population: LoadedPopulation) -> Outcome:
    started_ns = time.perf_counter_ns()
    rows = _rows(work, arrays)
    outputs = population.read(rows, work.want)
    answer: Arrays = {"tick": outputs.ticks, "actions": outputs.actions}
    if work.want & _LEARNED:
        answer |= population.learned(rows)
    elapsed_ns = time.perf_counter_ns() - started_ns
    for name in ("observations", *(name for _, name in _OUTPUTS)):
        found = getattr(outputs, name)
        if found is not None:
            answer[name] = found
    return Outcome(answer, elapsed_ns=elapsed_ns)


def _rows(work: m.Work, arrays: Arrays) -> NDArray[np.int64]:
    if work.first is None:
        return arrays["agents"].astype(np.int64)
    parts = work.parts
    count = parts[0].count if len(parts) == 1 else sum([part.count for part in parts])
    return np.arange(work.first, work.first + count)


def _ticks(work: m.Work, arrays: Arrays, agents: int) -> NDArray[np.int64]:
    """The tick of each agent; `agents` times the one that all have."""
    if work.tick is None:
        return arrays["ticks"].copy()  # in a message it may begin at any byte; kernels are compiled for aligned ones
    ticks = np.empty(agents, np.int64)
    ticks.fill(work.tick)
    return ticks


def _request_ids(work: m.Work, agents: int, each: bool) -> NDArray[np.uint64]:
    """The request id of each agent, (n, 2); the one that all have, (1, 2), unless `each` shall have it."""
    parts = work.parts
    if len(parts) == 1:
        return np.frombuffer(parts[0].id * (agents if each else 1), np.uint64).reshape(-1, 2)
    ids = np.frombuffer(b"".join([part.id for part in parts]), np.uint64).reshape(-1, 2)
    return ids if len(ids) == agents else np.repeat(ids, [part.count for part in parts], axis=0)


def _telemetry(population: LoadedPopulation, rows: NDArray[np.int64], outputs: StepOutputs) -> m.Telemetry:
    """Sums over the agents that were applied now; the entropy, which takes a read, over the first few of them."""
    assert outputs.vfe is not None
    vfe, actions = outputs.vfe, outputs.actions
    if outputs.status.any():
        applied = outputs.status == StepStatus.APPLIED
        rows, vfe, actions = rows[applied], vfe[applied], actions[applied]
    sample = rows[:_ENTROPY_SAMPLE]
    entropy_sum = 0.0
    if len(sample):
        beliefs = population.read(sample, Want.BELIEFS.value).beliefs
        assert beliefs is not None
        entropy_sum = float(-(beliefs * np.log(np.maximum(beliefs, 1e-30))).sum())
    counts: list[int] = []
    if population.info.control_fac_idx:
        factor = population.info.control_fac_idx[0]
        counts = np.bincount(actions[:, factor], minlength=min(population.info.num_controls[factor], 64))[:64].tolist()
    return m.Telemetry(
        agents=len(rows),
        vfe_sum=float(vfe.sum(dtype=np.float64)),
        entropy_sum=entropy_sum,
        entropy_agents=len(sample),
        action_counts=tuple(counts),
    )
