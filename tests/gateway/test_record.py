from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from gateway_world import UID, created, info, telemetry
from hypothesis import given
from hypothesis import strategies as st

from beliefd_gateway.reading import Cursor, Entry, Happened, Lost
from beliefd_gateway.record import RUN_ENDS_AFTER_S, Rows, Standing, project
from beliefd_service import events

RING = "f" * 32
OTHER = "fedcba9876543210"


def _entries(*happened: events.AnyEvent, start: int = 1) -> list[Entry]:
    return [Happened(RING, start + i, event) for i, event in enumerate(happened)]


def _project(
    entries: list[Entry], standing: Standing | None = None, now_s: float = 0.0, drained: bool = False
) -> tuple[Standing, Rows]:
    return project(standing or Standing(), entries, Cursor(RING, len(entries)), now_s, drained)


def _run(rows: Rows, sequence: int) -> dict[str, Any]:
    return rows.runs[RING, sequence]


def test_telemetry_makes_a_row_and_begins_a_run() -> None:
    standing, rows = _project(_entries(telemetry(1000.0, steps=50)))
    assert [row["agent_steps"] for row in rows.telemetry] == [50]
    assert _run(rows, 1)["started_s"] == 999.5
    assert _run(rows, 1)["ended_s"] is None
    assert standing.runs[UID].sequence == 1


@pytest.mark.parametrize(("silence_s", "runs"), [(RUN_ENDS_AFTER_S, 1), (RUN_ENDS_AFTER_S + 0.1, 2)])
def test_a_run_ends_after_silence(silence_s: float, runs: int) -> None:
    _, rows = _project(_entries(telemetry(1000.0), telemetry(1000.0 + silence_s)))
    assert len(rows.runs) == runs
    assert _run(rows, 1)["ended_s"] == (1000.0 if runs == 2 else None)


def test_a_run_ends_with_the_epoch_even_where_the_start_of_the_broker_was_lost() -> None:
    _, rows = _project(_entries(telemetry(1000.0, epoch=1), telemetry(1000.5, epoch=2)))
    assert _run(rows, 1)["ended_s"] == 1000.0
    assert _run(rows, 2)["epoch"] == 2


def test_a_start_of_the_broker_ends_all_runs_and_asks_for_the_manifests() -> None:
    started = events.BrokerStarted(time_s=1001.0, epoch=2)
    standing, rows = _project(_entries(telemetry(1000.0), telemetry(1000.0, uid=OTHER), started))
    assert not standing.runs
    assert {row["ended_s"] for row in rows.runs.values()} == {1000.0}
    assert rows.unseen


def test_silence_at_the_end_of_the_ring_ends_a_run_and_elsewhere_does_not() -> None:
    standing, _ = _project(_entries(telemetry(1000.0)))
    behind, rows = _project([], standing, now_s=2000.0, drained=False)
    assert behind.runs
    assert not rows.runs
    done, rows = _project([], standing, now_s=2000.0, drained=True)
    assert not done.runs
    assert _run(rows, 1)["ended_s"] == 1000.0


def test_a_dropped_population_ends_its_run() -> None:
    dropped = events.PopulationDropped(time_s=1002.0, epoch=1, uid=UID)
    _, rows = _project(_entries(created(), telemetry(1001.0), dropped))
    assert rows.dropped_s == {UID: 1002.0}
    assert _run(rows, 2)["ended_s"] == 1001.0


def test_a_population_that_is_told_of_again_is_not_dropped() -> None:
    dropped = events.PopulationDropped(time_s=1002.0, epoch=1, uid=UID)
    _, rows = _project(_entries(dropped, created(1003.0)))
    assert not rows.dropped_s
    assert rows.populations[UID]["dropped_s"] is None


def test_the_last_word_on_a_population_counts() -> None:
    changed = events.PopulationChanged(time_s=1001.0, epoch=1, info=info(live=60))
    _, rows = _project(_entries(created(), changed))
    assert rows.populations[UID]["live"] == 60
    assert len(rows.models) == 1


def test_an_interval_without_a_sample_has_no_entropy() -> None:
    _, rows = _project(_entries(telemetry(1000.0, entropy=None), telemetry(1000.5, entropy=0.5)))
    assert [row["entropy_mean"] for row in rows.telemetry] == [None, 0.5]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_mean_that_is_no_number_becomes_null(value: float) -> None:
    _, rows = _project(_entries(telemetry(1000.0, vfe=value)))
    assert rows.telemetry[0]["vfe_mean"] is None


def test_a_gap_becomes_a_row() -> None:
    _, rows = _project([Lost(RING, 4, 9)], now_s=7.0)
    assert rows.gaps == [{"ring_id": RING, "first_lost": 4, "last_lost": 9, "noted_s": 7.0}]
    assert rows.unseen


def test_worker_events_become_rows_and_worker_telemetry_does_not() -> None:
    registered = events.WorkerRegistered(time_s=1.0, epoch=1, worker="worker_00", pid=5)
    lost = events.WorkerLost(time_s=2.0, epoch=1, worker="worker_00", pid=5, batches_lost=2)
    told = events.WorkerTelemetry(
        time_s=2.0, epoch=1, worker="worker_00", pid=5, state="ready", batches=1, agent_steps=1, cpu_s=0.1, rss_bytes=1
    )
    _, rows = _project(_entries(registered, told, lost))
    assert [(row["sequence"], row["event"], row["batches_lost"]) for row in rows.worker_events] == [
        (1, "registered", 0),
        (3, "lost", 2),
    ]


def test_projecting_leaves_the_old_standing_as_it_was() -> None:
    standing, _ = _project(_entries(telemetry(1000.0)))
    before = dict(standing.runs)
    _project(_entries(telemetry(1000.5), start=2), standing)
    assert standing.runs == before


_steps = st.builds(
    telemetry,
    time_s=st.floats(1000, 1100),
    uid=st.sampled_from([UID, OTHER]),
    epoch=st.integers(1, 2),
    steps=st.integers(0, 1000),
    entropy=st.none() | st.floats(0, 9),
)
_others = st.sampled_from(
    [
        created(),
        events.BrokerStarted(time_s=1050.0, epoch=2),
        events.PopulationDropped(time_s=1060.0, epoch=1, uid=UID),
        events.WorkerRegistered(time_s=1000.0, epoch=1, worker="worker_00", pid=9),
    ]
)


def _write_populations(table: dict[str, Any], rows: Rows) -> None:
    """What the recorder does with them: upsert, then mark those that are dropped."""
    table.update(rows.populations)
    for uid in rows.dropped_s.keys() & table.keys():
        table[uid] = {**table[uid], "dropped_s": rows.dropped_s[uid]}


@given(st.lists(_steps | _others, max_size=30), st.lists(st.integers(0, 30), max_size=5))
def test_the_tables_do_not_depend_on_how_the_events_are_cut_into_batches(
    happened: list[events.AnyEvent], cuts: list[int]
) -> None:
    entries = _entries(*happened)
    whole_standing, whole = _project(entries)
    standing, merged = Standing(), Rows()
    populations: dict[str, Any] = {}
    whole_populations: dict[str, Any] = {}
    _write_populations(whole_populations, whole)
    edges = [0, *sorted(min(cut, len(entries)) for cut in cuts), len(entries)]
    for start, stop in itertools.pairwise(edges):
        standing, rows = project(standing, entries[start:stop], Cursor(RING, stop), 0.0, False)
        _write_populations(populations, rows)
        for table in ("models", "runs"):
            getattr(merged, table).update(getattr(rows, table))
        for table in ("telemetry", "worker_events", "gaps"):
            getattr(merged, table).extend(getattr(rows, table))
    for table in ("models", "runs", "telemetry", "worker_events"):
        assert getattr(merged, table) == getattr(whole, table), table
    assert populations == whole_populations
    assert standing.runs == whole_standing.runs


@given(st.lists(_steps, max_size=40))
def test_every_agent_step_is_in_exactly_one_run(happened: list[events.AnyEvent]) -> None:
    _, rows = _project(_entries(*happened))
    assert sum(row["agent_steps"] for row in rows.runs.values()) == sum(row["agent_steps"] for row in rows.telemetry)
