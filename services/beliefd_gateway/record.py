"""From events to rows: what the tables shall say once these entries of the ring are counted in. No I/O, no clock.

`project` takes where things stand and returns where they stand afterwards, with the rows to write. Nothing in the old
standing is changed, so a transaction that fails leaves it as it was, and the same entries can be tried again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from beliefd_gateway.reading import Cursor, Entry, Happened, Lost
from beliefd_gateway.tables import Row, models
from beliefd_proto.messages import PopulationInfo
from beliefd_service import events

RUN_ENDS_AFTER_S = 10.0
"""A population that says nothing for this long has ended its run."""


@dataclass(frozen=True, slots=True)
class Run:
    """An unbroken spell of stepping, named by the place of its first telemetry. The fields are the table's columns."""

    ring_id: str
    sequence: int
    population: str
    epoch: int
    started_s: float
    last_s: float
    ended_s: float | None
    agent_steps: int
    batches: int

    def row(self) -> Row:
        return dataclasses.asdict(self)

    def ended(self) -> Run:
        # When it was last heard of, not when that was noticed: whoever notices, whenever, writes the same.
        return dataclasses.replace(self, ended_s=self.last_s)


@dataclass(frozen=True, slots=True)
class Standing:
    """The cursor, and the run that each population, by uid, is in."""

    cursor: Cursor = field(default_factory=Cursor)
    runs: Mapping[str, Run] = field(default_factory=dict)


@dataclass(slots=True)
class Rows:
    """What one transaction writes. Those with a key that may be there already come once per key.

    `unseen` says that populations may have changed without an event: events were lost, or a broker died between writing
    a manifest and telling of it.
    """

    models: dict[str, Row] = field(default_factory=dict)
    populations: dict[str, Row] = field(default_factory=dict)
    dropped_s: dict[str, float] = field(default_factory=dict)
    runs: dict[tuple[str, int], Row] = field(default_factory=dict)
    telemetry: list[Row] = field(default_factory=list)
    worker_events: list[Row] = field(default_factory=list)
    gaps: list[Row] = field(default_factory=list)
    unseen: bool = False

    def add_gap(self, lost: Lost, now_s: float) -> None:
        self.unseen = True
        self.gaps.append({"ring_id": lost.ring_id, "first_lost": lost.first, "last_lost": lost.last, "noted_s": now_s})

    def add_population(self, info: PopulationInfo, time_s: float) -> None:
        # Whoever is told of is there, also if it was taken for dropped before: its folder may have been away.
        self.dropped_s.pop(info.uid, None)
        # Of a model the table keeps the sizes.
        sizes = {name: told for name, told in msgspec.structs.asdict(info.model).items() if name in models.c}
        self.models[info.model.hash] = {**sizes, "first_seen_s": time_s}
        self.populations[info.uid] = {
            "uid": info.uid,
            "name": info.name,
            "model": info.model.hash,
            "seed": info.seed,
            "durability": info.durability,
            "rows": info.rows,
            "live": info.live,
            "record_bytes": info.record_bytes,
            "quarantined": info.quarantined,
            "first_seen_s": time_s,
            "dropped_s": None,
        }


def project(
    standing: Standing, entries: Iterable[Entry], cursor: Cursor, now_s: float, drained: bool
) -> tuple[Standing, Rows]:
    """Count in the `entries` that end at `cursor`. `drained`: the ring has no more, so that silence is silence."""
    rows = Rows()
    runs = dict(standing.runs)
    for entry in entries:
        match entry:
            case Lost():
                rows.add_gap(entry, now_s)
            case Happened():
                _count_in(entry, runs, rows)
    if drained:
        for run in list(runs.values()):
            if now_s - run.last_s > RUN_ENDS_AFTER_S:
                _end(run.population, runs, rows)
    return Standing(cursor, runs), rows


def _count_in(entry: Happened, runs: dict[str, Run], rows: Rows) -> None:
    match entry.event:
        case events.BrokerStarted() as started:
            rows.unseen = True
            for run in list(runs.values()):
                if run.epoch != started.epoch:
                    _end(run.population, runs, rows)
        case events.PopulationCreated(info=info) | events.PopulationChanged(info=info):
            rows.add_population(info, entry.event.time_s)
        case events.PopulationDropped(uid=uid):
            rows.dropped_s[uid] = entry.event.time_s
            _end(uid, runs, rows)
        case events.PopulationTelemetry() as told:
            _telemetry(entry, told, runs, rows)
        case events.WorkerRegistered() as registered:
            _worker_event(entry, registered, "registered", 0, rows)
        case events.WorkerLost() as lost:
            _worker_event(entry, lost, "lost", lost.batches_lost, rows)
        case events.WorkerTelemetry():
            pass  # how a worker fares now is for the metrics; no table keeps it


def _telemetry(entry: Happened, told: events.PopulationTelemetry, runs: dict[str, Run], rows: Rows) -> None:
    rows.telemetry.append(
        {
            "ring_id": entry.ring_id,
            "sequence": entry.sequence,
            "population": told.population,
            "time_s": told.time_s,
            "interval_s": told.interval_s,
            "agent_steps": told.agent_steps,
            "batches": told.batches,
            "vfe_mean": _finite(told.vfe_mean),
            "entropy_mean": _finite(told.entropy_mean),
            "action_counts": list(told.action_counts),
        }
    )
    run = runs.get(told.population)
    if run is not None and (run.epoch != told.epoch or told.time_s - run.last_s > RUN_ENDS_AFTER_S):
        _end(told.population, runs, rows)
        run = None
    if run is None:
        started_s = told.time_s - told.interval_s
        run = Run(entry.ring_id, entry.sequence, told.population, told.epoch, started_s, told.time_s, None, 0, 0)
    run = dataclasses.replace(
        run,
        last_s=told.time_s,
        agent_steps=run.agent_steps + told.agent_steps,
        batches=run.batches + told.batches,
    )
    runs[told.population] = run
    rows.runs[run.ring_id, run.sequence] = run.row()


def _worker_event(
    entry: Happened, event: events.WorkerRegistered | events.WorkerLost, name: str, batches_lost: int, rows: Rows
) -> None:
    rows.worker_events.append(
        {
            "ring_id": entry.ring_id,
            "sequence": entry.sequence,
            "time_s": event.time_s,
            "epoch": event.epoch,
            "event": name,
            "worker": event.worker,
            "pid": event.pid,
            "batches_lost": batches_lost,
        }
    )


def _end(population: str, runs: dict[str, Run], rows: Rows) -> None:
    run = runs.pop(population, None)
    if run is not None:
        rows.runs[run.ring_id, run.sequence] = run.ended().row()


def _finite(value: float | None) -> float | None:
    """The mean, or None where there is none: a database keeps no NaN."""
    return value if value is not None and math.isfinite(value) else None
