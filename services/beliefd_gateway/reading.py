"""The event ring as entries: what happened, or how much of it can no longer be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from beliefd_service.events import AnyEvent
from beliefd_service.ring import RingReader


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where a ring has been read. The empty ring id stands for the beginning of whatever ring there is."""

    ring_id: str = ""
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Happened:
    """An event and its place."""

    ring_id: str
    sequence: int
    event: AnyEvent


@dataclass(frozen=True, slots=True)
class Lost:
    """Events from `first` to `last` that cannot be read. `last` is None where their ring is gone: it may be none."""

    ring_id: str
    first: int
    last: int | None


Entry = Happened | Lost


def read_entries(path: Path, cursor: Cursor, limit: int) -> tuple[list[Entry], Cursor]:
    """What stands in the ring after `cursor`, at the most `limit` entries, and the cursor after them."""
    reader = RingReader(path, cursor.ring_id, cursor.sequence)
    entries: list[Entry] = []
    at = cursor
    while True:
        try:
            for sequence, event in reader.read(limit - len(entries)):
                entries.append(_lost(at, reader) if event is None else Happened(reader.ring_id, sequence, event))
                at = Cursor(reader.ring_id, sequence)
            return entries, Cursor(reader.ring_id, reader.sequence)
        except msgspec.MsgspecError:
            # A record of another version of the broker. The reader has passed it already.
            entries.append(Lost(reader.ring_id, reader.sequence, reader.sequence))
            at = Cursor(reader.ring_id, reader.sequence)


def _lost(at: Cursor, reader: RingReader) -> Lost:
    """What lies between `at` and where the reader has come to."""
    if reader.ring_id == at.ring_id or not at.ring_id:
        return Lost(reader.ring_id, at.sequence + 1, reader.sequence)
    return Lost(at.ring_id, at.sequence + 1, None)
