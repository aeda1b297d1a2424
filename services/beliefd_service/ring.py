"""The event ring: a bounded file that one process writes and any number read, none waiting for another.

::

    bytes 0..4095     header: magic, format, record size, record count, ring id (16 bytes), boot id of the machine
    then records      sequence u64, length u32, CRC-32 u32 over sequence and payload, payload (MessagePack), padding

The record of sequence number s (from 1) stands at place s modulo the count. A reader asks for s: a record with another
number or a CRC that does not hold is not there yet, or no longer there; so a reader needs no lock and no flag, and a
writer that is killed half-way leaves at worst one record that nobody reads. A reader's cursor is (ring id, sequence).

A ring outlives its writer, and the next writer goes on with it. After a boot of the machine a new one is made, since
pages that never reached the disk may be missing from the old.
"""

from __future__ import annotations

import mmap
import os
import struct
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from beliefd.engine.store import storage_errors
from beliefd_service.events import AnyEvent
from beliefd_service.process import boot_id

_MAGIC = b"bdring\0\0"
_FORMAT = 1
_HEADER_BYTES = 4096
_HEADER = struct.Struct("<8sIII16s36s")
_RECORD = struct.Struct("<QII")
RECORD_BYTES = 2048
RECORD_COUNT = 4096

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyEvent)


class RingWriter:
    """Appends events. There is one writer per data folder: the broker, which holds the folder's lock.

    Raises
    ------
    DiskFull, FolderNotUsable
    """

    def __init__(self, path: Path, count: int = RECORD_COUNT) -> None:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            header = _read_header(path)
            if header is None or header.boot_id != boot_id() or header.count != count:
                _create(path, count)
            self._count = count
            with open(path, "r+b") as file:
                self._map = mmap.mmap(file.fileno(), 0)
        self.sequence = max((self._valid(place) for place in range(count)), default=0)

    def append(self, event: AnyEvent) -> None:
        """Write the next record.

        Raises
        ------
        ValueError
            Where the event is larger than a record; the writer keeps its events small.
        """
        payload = _encoder.encode(event)
        if len(payload) > RECORD_BYTES - _RECORD.size:
            raise ValueError(f"event of {len(payload)} bytes, a record holds {RECORD_BYTES - _RECORD.size}")
        self.sequence += 1
        at = _HEADER_BYTES + self.sequence % self._count * RECORD_BYTES
        crc = _checksum(self.sequence, payload)
        self._map[at : at + _RECORD.size + len(payload)] = _RECORD.pack(self.sequence, len(payload), crc) + payload

    def close(self) -> None:
        self._map.close()

    def _valid(self, place: int) -> int:
        """The sequence number of the record at `place`, or 0 where none stands there."""
        at = _HEADER_BYTES + place * RECORD_BYTES
        sequence, _ = _parse(self._map[at : at + RECORD_BYTES])
        return sequence


class RingReader:
    """Reads events after a cursor, from a file that may be written, replaced or missing meanwhile."""

    def __init__(self, path: Path, ring_id: str = "", sequence: int = 0) -> None:
        self._path = path
        self.ring_id = ring_id
        self.sequence = sequence

    def read(self, limit: int = 1000) -> Iterator[tuple[int, AnyEvent | None]]:
        """Yield (sequence, event) of what is new, at the most `limit`; the cursor moves with each.

        An event of None stands for all that was overwritten, or lost with an earlier ring, before it could be read.
        """
        header = _read_header(self._path)
        if header is None:
            return
        with open(self._path, "rb") as file:
            fd = file.fileno()
            if header.ring_id != self.ring_id:
                known, self.ring_id, self.sequence = self.ring_id, header.ring_id, 0
                if known:
                    yield 0, None
            for _ in range(limit):
                wanted = self.sequence + 1
                found, payload = self._at(fd, wanted % header.count)
                if found < wanted:
                    return
                if found > wanted:
                    self.sequence = self._oldest(fd, header.count) - 1
                    yield self.sequence, None
                    continue
                self.sequence = wanted
                yield wanted, _decoder.decode(payload)

    def _oldest(self, fd: int, count: int) -> int:
        """The oldest record beyond the cursor, where the next one has been overwritten."""
        return min(s for place in range(count) if (s := self._at(fd, place)[0]) > self.sequence + 1)

    def _at(self, fd: int, place: int) -> tuple[int, bytes]:
        return _parse(os.pread(fd, RECORD_BYTES, _HEADER_BYTES + place * RECORD_BYTES))


class _Header(msgspec.Struct, frozen=True):
    count: int
    ring_id: str
    boot_id: str


def _create(path: Path, count: int) -> None:
    """Make an empty ring and put it in the place of an older one at once."""
    temporary = path.with_suffix(".new")
    with open(temporary, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, _HEADER_BYTES + count * RECORD_BYTES)
        ring_id = uuid.uuid4().bytes
        file.write(_HEADER.pack(_MAGIC, _FORMAT, RECORD_BYTES, count, ring_id, boot_id().encode()))
    os.replace(temporary, path)


def _read_header(path: Path) -> _Header | None:
    try:
        with open(path, "rb") as file:
            magic, version, record_bytes, count, ring_id, boot = _HEADER.unpack(file.read(_HEADER.size))
            size = os.fstat(file.fileno()).st_size
    except (FileNotFoundError, struct.error):
        return None
    if (magic, version, record_bytes) != (_MAGIC, _FORMAT, RECORD_BYTES) or size < _HEADER_BYTES + count * RECORD_BYTES:
        return None
    return _Header(count, ring_id.hex(), boot.decode(errors="replace"))


def _checksum(sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(sequence.to_bytes(8, "little")))


def _parse(record: bytes) -> tuple[int, bytes]:
    sequence, length, crc = _RECORD.unpack_from(record)
    payload = record[_RECORD.size : _RECORD.size + length]
    if not sequence or len(payload) != length or _checksum(sequence, payload) != crc:
        return 0, b""
    return sequence, payload
