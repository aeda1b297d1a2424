"""What a herd did and was told, one record after the other in a file that outlives the herd.

A record is with the kernel before the herd goes on, so a SIGKILL loses none. One write is one record: none is cut.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

_LENGTH = struct.Struct("<I")


class Found(msgspec.Struct, tag="found", frozen=True):
    """Where agents are, as a herd reads it at its start (`fresh`) and when it is told that somebody else stepped them.

    `agents` and `ticks` are int64.
    """

    at_s: float
    fresh: bool
    agents: bytes
    ticks: bytes


class Sent(msgspec.Struct, tag="sent", frozen=True):
    """A step leaves. `agents` and `ticks` are int64: whom it is for, and which inputs they get."""

    number: int
    at_s: float
    agents: bytes
    ticks: bytes


class Ended(msgspec.Struct, tag="ended", frozen=True):
    """It ended, or one more attempt to settle it did, `late_s` after its deadline (negative: before).

    `code` is that of the error, "" for none, and `applied` then says per agent (uint8) what became of it. `ticks`
    (int64) are those that it was about, `actions` (int32) and `vfe` what it answered.
    """

    number: int
    at_s: float
    late_s: float
    code: str
    text: str = ""
    applied: bytes = b""
    ticks: bytes = b""
    actions: bytes = b""
    vfe: bytes = b""


Record = Found | Sent | Ended


class Diary:
    """A file of records, written to its end. Times are of the machine's monotonic clock."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._encoder = msgspec.msgpack.Encoder()

    def write(self, record: Record) -> None:
        body = self._encoder.encode(record)
        os.write(self._fd, _LENGTH.pack(len(body)) + body)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


class Reader:
    """Reads a diary while it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = 0
        self._decoder = msgspec.msgpack.Decoder(Record)

    def more(self) -> Iterator[Record]:
        """The records that are whole and have not been read yet."""
        if not self._path.exists():
            return
        with open(self._path, "rb") as file:
            file.seek(self._start)
            body = file.read()
        at = 0
        while at + _LENGTH.size <= len(body):
            (size,) = _LENGTH.unpack_from(body, at)
            if at + _LENGTH.size + size > len(body):
                return
            yield self._decoder.decode(body[at + _LENGTH.size : at + _LENGTH.size + size])
            at += _LENGTH.size + size
            self._start += _LENGTH.size + size
