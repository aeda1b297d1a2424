from __future__ import annotations

from pathlib import Path

import msgspec
from gateway_world import telemetry

from beliefd_gateway.reading import Cursor, Happened, Lost, read_entries
from beliefd_service.ring import RingWriter


def _written(path: Path, count: int, events: int) -> RingWriter:
    writer = RingWriter(path, count)
    for i in range(events):
        writer.append(telemetry(1000.0 + i))
    return writer


def test_a_missing_ring_is_empty(tmp_path: Path) -> None:
    assert read_entries(tmp_path / "no.ring", Cursor(), 10) == ([], Cursor())


def test_entries_come_in_order_and_once(tmp_path: Path) -> None:
    writer = _written(tmp_path / "events.ring", 64, 7)
    first, cursor = read_entries(tmp_path / "events.ring", Cursor(), 4)
    second, cursor = read_entries(tmp_path / "events.ring", cursor, 100)
    assert [entry.sequence for entry in first + second if isinstance(entry, Happened)] == [1, 2, 3, 4, 5, 6, 7]
    assert read_entries(tmp_path / "events.ring", cursor, 100) == ([], cursor)
    writer.close()


def test_what_was_overwritten_is_one_gap_between_its_neighbours(tmp_path: Path) -> None:
    writer = _written(tmp_path / "events.ring", 8, 3)
    _, cursor = read_entries(tmp_path / "events.ring", Cursor(), 100)
    for i in range(20):
        writer.append(telemetry(2000.0 + i))
    entries, after = read_entries(tmp_path / "events.ring", cursor, 100)
    assert entries[0] == Lost(cursor.ring_id, 4, 15)
    assert [entry.sequence for entry in entries[1:] if isinstance(entry, Happened)] == list(range(16, 24))
    assert after.sequence == 23
    writer.close()


def test_a_new_reader_of_an_old_ring_knows_what_it_missed(tmp_path: Path) -> None:
    _written(tmp_path / "events.ring", 8, 20).close()
    entries, cursor = read_entries(tmp_path / "events.ring", Cursor(), 100)
    assert entries[0] == Lost(cursor.ring_id, 1, 12)
    assert len(entries) == 9


def test_the_end_of_a_ring_that_was_replaced_is_a_gap_of_unknown_length(tmp_path: Path) -> None:
    _written(tmp_path / "events.ring", 8, 3).close()
    _, old = read_entries(tmp_path / "events.ring", Cursor(), 100)
    (tmp_path / "events.ring").unlink()
    _written(tmp_path / "events.ring", 8, 2).close()
    entries, new = read_entries(tmp_path / "events.ring", old, 100)
    assert entries[0] == Lost(old.ring_id, 4, None)
    assert [type(entry) for entry in entries[1:]] == [Happened, Happened]
    assert new.ring_id != old.ring_id


def test_a_record_of_another_version_is_a_gap_and_what_follows_is_read(tmp_path: Path) -> None:
    writer = _written(tmp_path / "events.ring", 8, 1)

    class Later(msgspec.Struct, tag="of_a_later_version", tag_field="event"):
        time_s: float

    writer.append(Later(5.0))  # type: ignore[arg-type]
    writer.append(telemetry(1001.0))
    entries, cursor = read_entries(tmp_path / "events.ring", Cursor(), 100)
    assert [type(entry) for entry in entries] == [Happened, Lost, Happened]
    assert entries[1] == Lost(cursor.ring_id, 2, 2)
    assert cursor.sequence == 3
    writer.close()
