"""The event ring: a reader sees every event once and in order, or a gap that says so; whoever dies, at any byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beliefd_proto.errors import DiskFull, FolderNotUsable
from beliefd_proto.messages import PopulationInfo
from beliefd_proto.model_info import ModelInfo
from beliefd_service import events, ring
from beliefd_service.ring import RECORD_BYTES, RingReader, RingWriter

HEADER_BYTES = 4096
COUNT = 8


def event(number):
    return events.BrokerStarted(time_s=float(number), epoch=number)


def write(path, numbers, count=COUNT):
    writer = RingWriter(path, count)
    for number in numbers:
        writer.append(event(number))
    writer.close()


def read(reader, limit=1000):
    """(sequence, number of the event) of what is new; None for a gap."""
    return [(sequence, None if found is None else found.epoch) for sequence, found in reader.read(limit)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "events.ring"


def test_a_reader_sees_all_in_order_and_each_once(path):
    reader = RingReader(path)
    write(path, [1, 2, 3])
    assert read(reader) == [(1, 1), (2, 2), (3, 3)]
    assert read(reader) == []
    write(path, [4])
    assert read(reader) == [(4, 4)]
    assert read(RingReader(path, reader.ring_id, 2)) == [(3, 3), (4, 4)]


def test_a_reader_may_come_before_the_file_and_before_its_writer_is_done(path):
    reader = RingReader(path)
    assert read(reader) == []
    path.parent.mkdir()
    path.write_bytes(b"bdring")
    assert read(reader) == []
    write(path, [1])
    assert read(reader) == [(1, 1)]


def test_a_reader_takes_no_more_than_it_asked_for(path):
    write(path, range(1, 6))
    reader = RingReader(path)
    assert read(reader, 2) == [(1, 1), (2, 2)]
    assert read(reader, 2) == [(3, 3), (4, 4)]


@pytest.mark.parametrize("written", [COUNT, COUNT + 1, 3 * COUNT + 5])
def test_what_was_overwritten_is_one_gap(path, written):
    reader = RingReader(path)
    write(path, [])
    read(reader)
    write(path, range(1, written + 1))
    oldest = max(written - COUNT, 0) + 1
    gap = [(oldest - 1, None)] if oldest > 1 else []
    assert read(reader) == gap + [(n, n) for n in range(oldest, written + 1)]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 12)), max_size=12))
def test_whatever_the_pace_nothing_is_seen_twice_or_out_of_order(tmp_path_factory, paces):
    path = tmp_path_factory.mktemp("ring") / "events.ring"
    writer, reader = RingWriter(path, COUNT), RingReader(path)
    written, seen = 0, []
    for count, limit in paces:
        for _ in range(count):
            written += 1
            writer.append(event(written))
        seen += read(reader, limit)
    seen += read(reader)
    writer.close()
    expected = 1
    for sequence, number in seen:
        if number is None:
            assert sequence >= expected
        else:
            assert sequence == number == expected
        expected = sequence + 1
    assert expected == written + 1


@pytest.mark.parametrize("full", [False, True])
def test_a_writer_killed_after_any_byte_leaves_a_ring_that_goes_on(path, full):
    """The record is written byte by byte over what stood there; readers see the whole of it or nothing."""
    before = 2 * COUNT if full else 2
    write(path, range(1, before + 1))
    old = path.read_bytes()
    write(path, [before + 1])
    new = path.read_bytes()
    changed = [at for at in range(len(old)) if old[at] != new[at]]
    for stop in range(changed[0], changed[-1] + 1):
        path.write_bytes(new[:stop] + old[stop:])
        header = ring._read_header(path)
        reader = RingReader(path, header.ring_id, before - 1)
        assert read(reader) == [(before, before)]
        write(path, [99])
        assert read(reader) == [(before + 1, 99)]


def test_a_new_writer_goes_on_where_the_last_one_stopped(path):
    write(path, [1, 2])
    reader = RingReader(path)
    read(reader)
    writer = RingWriter(path, COUNT)
    assert writer.sequence == 2
    writer.append(event(3))
    writer.close()
    assert read(reader) == [(3, 3)]


def test_after_a_boot_the_ring_is_new_and_the_reader_is_told(path, monkeypatch):
    write(path, [1, 2, 3])
    reader = RingReader(path)
    read(reader)
    known = reader.ring_id
    monkeypatch.setattr(ring, "boot_id", lambda: "0" * 36)
    write(path, [1])
    assert read(reader) == [(0, None), (1, 1)]
    assert reader.ring_id != known
    assert read(RingReader(path)) == [(1, 1)]


@pytest.mark.parametrize("damage", ["magic", "format", "cut", "other count"])
def test_a_file_that_is_no_ring_is_replaced(path, damage):
    write(path, [1, 2], count=4 if damage == "other count" else COUNT)
    content = bytearray(path.read_bytes())
    if damage == "magic":
        content[0] ^= 1
    elif damage == "format":
        content[8] ^= 1
    elif damage == "cut":
        del content[-RECORD_BYTES:]
    path.write_bytes(content)
    if damage != "other count":
        assert read(RingReader(path)) == []
    write(path, [7])
    assert read(RingReader(path)) == [(1, 7)]


@pytest.mark.parametrize("at", [0, 8, 12, 16, 20])
def test_a_record_with_a_wrong_bit_is_not_there(path, at):
    write(path, [1, 2])
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + 2 * RECORD_BYTES + at] ^= 4
    path.write_bytes(content)
    assert read(RingReader(path)) == [(1, 1)]


def test_the_largest_events_fit_a_record_and_larger_ones_are_refused(path):
    many = tuple([65_536] * 32)
    model = ModelInfo("f" * 64, "float64", many, many, many, tuple(range(32)), 65_536, 1_000_000)
    info = PopulationInfo(
        uid="f" * 16,
        name="x" * 128,
        model=model,
        seed=2**63 - 1,
        durability="process",
        rows=2**26,
        live=2**26,
        record_bytes=2**40,
        quarantined=True,
    )
    telemetry = events.PopulationTelemetry(
        time_s=1.0,
        epoch=2**60,
        population="f" * 16,
        interval_s=0.5,
        agent_steps=2**60,
        batches=2**60,
        vfe_mean=1.0,
        entropy_mean=1.0,
        action_counts=(2**60,) * 64,
    )
    writer = RingWriter(path, COUNT)
    writer.append(events.PopulationCreated(time_s=1.0, epoch=1, info=info))
    writer.append(telemetry)
    with pytest.raises(ValueError, match="a record holds"):
        writer.append(events.PopulationDropped(time_s=1.0, epoch=1, uid="x" * RECORD_BYTES))
    writer.append(event(3))
    writer.close()
    found = [found for _, found in RingReader(path).read()]
    assert [type(e).__name__ for e in found] == ["PopulationCreated", "PopulationTelemetry", "BrokerStarted"]
    assert found[1] == telemetry


def test_no_room_and_no_right_are_errors_of_the_tree(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ring.os, "posix_fallocate", full)
        with pytest.raises(DiskFull):
            RingWriter(path, COUNT)
    path.parent.rmdir() if not any(path.parent.iterdir()) else None
    (path.parent.parent / "file").write_text("")
    with pytest.raises(FolderNotUsable):
        RingWriter(path.parent.parent / "file" / "events.ring", COUNT)
