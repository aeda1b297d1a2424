from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_world import DEADLINE_S, MODEL, UID, created, info, quiet_logger, settings_of, telemetry

from beliefd.engine.manifest import Manifest, write_manifest
from beliefd.engine.members import Members
from beliefd_gateway.database import Database
from beliefd_gateway.recorder import TELEMETRY_KEPT_S, Recorder
from beliefd_proto.messages import PopulationInfo
from beliefd_service import events
from beliefd_service.ring import RingWriter
from beliefd_service.settings import Settings

NOW = time.time() - 3600
"""Young enough to be kept, and so long ago that every run is over."""


def _rows(settings: Settings, query: str) -> list[Any]:
    connection = sqlite3.connect(f"file:{settings.data}/gateway.db?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def _write_population(settings: Settings, name: str, uid: str = UID, agents: int = 40) -> None:
    manifest = Manifest(
        uid=uid,
        name=name,
        seed=7,
        durability="process",
        model=MODEL,
        rows=agents,
        created_by="0" * 32,
        fingerprint="f",
    )
    folder = settings.populations / uid
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, manifest, Members.of(agents))


@asynccontextmanager
async def _recording(settings: Settings) -> AsyncIterator[Recorder]:
    """A recorder at work; at the end it has recorded all that the ring holds."""
    database = Database(settings.database)
    recorder = Recorder(settings, database, quiet_logger())
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        recorder.stop()
        await task
        await database.close()


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


def _record(settings: Settings) -> None:
    async def run() -> None:
        async with _recording(settings) as recorder:
            await _until(lambda: recorder.trouble is None)

    asyncio.run(run())


def test_what_the_ring_holds_is_recorded_once_over_any_number_of_starts(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    writer = RingWriter(settings.events)
    begun_s = time.time()
    for start in range(3):
        for i in range(700):
            writer.append(telemetry(begun_s + start + i / 700))
        _record(settings)
    assert _rows(settings, "SELECT count(*), min(sequence), max(sequence) FROM telemetry") == [(2100, 1, 2100)]
    assert _rows(settings, "SELECT sequence FROM cursor") == [(2100,)]
    assert _rows(settings, "SELECT agent_steps, ended_s FROM runs") == [(2100 * 50, None)]
    writer.close()


def test_a_run_goes_on_over_a_restart_of_the_gateway(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    writer = RingWriter(settings.events)
    writer.append(telemetry(time.time()))
    _record(settings)
    writer.append(telemetry(time.time()))
    _record(settings)
    assert _rows(settings, "SELECT batches, ended_s FROM runs") == [(4, None)]
    writer.close()


def test_what_was_overwritten_while_the_gateway_was_down_is_a_gap(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    writer = RingWriter(settings.events, 16)
    writer.append(telemetry(NOW))
    _record(settings)
    for i in range(40):
        writer.append(telemetry(NOW + 1 + i))
    _record(settings)
    assert _rows(settings, "SELECT first_lost, last_lost FROM gaps") == [(2, 25)]
    assert _rows(settings, "SELECT count(*), max(sequence) FROM telemetry") == [(17, 41)]
    writer.close()


def test_a_population_whose_events_were_overwritten_comes_and_goes_by_its_manifest(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    writer = RingWriter(settings.events, 8)
    writer.append(created(NOW, population=info("gone", "aaaaaaaaaaaaaaaa")))
    _write_population(settings, "gone", "aaaaaaaaaaaaaaaa")

    async def run() -> None:
        async with _recording(settings) as recorder:
            await _until(lambda: recorder.cursor.sequence == 1)
            shutil.rmtree(settings.populations / "aaaaaaaaaaaaaaaa")
            _write_population(settings, "mice")
            for i in range(20):
                writer.append(telemetry(NOW + i))
            await _until(lambda: recorder.cursor.sequence == 21)

    asyncio.run(run())
    assert _rows(settings, "SELECT name, dropped_s IS NULL FROM populations ORDER BY name") == [
        ("gone", 0),
        ("mice", 1),
    ]
    writer.close()


def test_all_is_made_again_from_nothing_but_manifests_and_ring(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    _write_population(settings, "mice", agents=40)
    writer = RingWriter(settings.events)
    for i in range(30):
        writer.append(telemetry(NOW + i))
    _record(settings)
    queries = (
        "SELECT uid, name, model, seed, rows, live, record_bytes FROM populations",
        "SELECT hash, num_states, num_policies FROM models",
        "SELECT * FROM telemetry",
        "SELECT * FROM runs",
        "SELECT * FROM cursor",
    )
    before = [_rows(settings, query) for query in queries]
    for file in settings.data.glob("gateway.db*"):
        file.unlink()
    _record(settings)
    assert [_rows(settings, query) for query in queries] == before
    assert before[0][0][:2] == (UID, "mice")
    assert before[0][0][5] == 40
    writer.close()


def test_a_manifest_that_cannot_be_read_does_not_drop_its_population(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    _write_population(settings, "mice")
    _record(settings)
    (settings.populations / UID / "population.json").write_text("{")
    _record(settings)
    assert _rows(settings, "SELECT name, dropped_s FROM populations") == [("mice", None)]


def test_populations_whose_folder_was_away_come_back_with_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    _write_population(settings, "mice")
    _record(settings)
    away = settings.populations.with_name("away")
    settings.populations.rename(away)
    _record(settings)
    dropped = "SELECT name, dropped_s IS NOT NULL FROM populations"
    assert _rows(settings, dropped) == [("mice", 1)]
    away.rename(settings.populations)
    _record(settings)
    assert _rows(settings, dropped) == [("mice", 0)]


def test_old_events_do_not_bring_back_a_population_that_a_dying_broker_dropped_untold(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    _write_population(settings, "mice")
    _record(settings)
    shutil.rmtree(settings.populations / UID)
    writer = RingWriter(settings.events)
    for event in (created(NOW), events.BrokerStarted(time_s=NOW + 1, epoch=2)):
        writer.append(event)
    _record(settings)
    assert _rows(settings, "SELECT name, dropped_s IS NOT NULL FROM populations") == [("mice", 1)]
    writer.close()


@pytest.mark.slow
def test_a_locked_database_is_trouble_that_passes(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    writer = RingWriter(settings.events)
    _record(settings)
    intruder = sqlite3.connect(settings.data / "gateway.db", isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")

    async def run() -> None:
        async with _recording(settings) as recorder:
            writer.append(telemetry(NOW))
            await _until(lambda: "locked" in (recorder.trouble or ""))
            intruder.execute("ROLLBACK")
            await _until(lambda: recorder.trouble is None and recorder.cursor.sequence == 1)

    asyncio.run(run())
    intruder.close()
    assert _rows(settings, "SELECT sequence FROM telemetry") == [(1,)]
    writer.close()


def test_a_database_deleted_under_a_running_gateway_is_made_again(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    writer = RingWriter(settings.events)
    writer.append(telemetry(NOW))

    async def run() -> None:
        async with _recording(settings) as recorder:
            await _until(lambda: recorder.cursor.sequence == 1)
            for file in settings.data.glob("gateway.db*"):
                file.unlink()
            writer.append(telemetry(NOW + 1))
            await _until(lambda: recorder.trouble is None and recorder.cursor.sequence == 2)

    asyncio.run(run())
    assert _rows(settings, "SELECT sequence FROM telemetry ORDER BY sequence") == [(1,), (2,)]
    writer.close()


def test_telemetry_is_forgotten_after_a_week_and_its_run_is_not(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    writer = RingWriter(settings.events)
    oldest_s = time.time() - TELEMETRY_KEPT_S
    for time_s in (oldest_s - 600, oldest_s + 600):
        writer.append(telemetry(time_s))

    async def run() -> None:
        async with _recording(settings) as recorder:
            await _until(lambda: recorder.cursor.sequence == 2)
            await _until(lambda: _rows(settings, "SELECT sequence FROM telemetry") == [(2,)])

    asyncio.run(run())
    assert _rows(settings, "SELECT count(*) FROM runs") == [(2,)]
    writer.close()


def test_a_change_of_a_population_reaches_its_row(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    writer = RingWriter(settings.events)
    grown: PopulationInfo = msgspec.structs.replace(info(), live=150, rows=150, quarantined=True)
    for event in (created(NOW), events.PopulationChanged(time_s=NOW + 1, epoch=1, info=grown)):
        writer.append(event)

    async def run() -> None:
        async with _recording(settings) as recorder:
            await _until(lambda: recorder.cursor.sequence == 2)

    asyncio.run(run())
    assert _rows(settings, "SELECT live, quarantined, first_seen_s FROM populations") == [(150, 1, NOW + 1)]
    writer.close()
