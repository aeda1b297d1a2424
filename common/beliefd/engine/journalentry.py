"""What a journal holds, as bytes and back; no file in it.

A segment is a sequence of frames::

    b"bdj1", length of the payload (4 bytes), CRC-32 of that length and the payload (4 bytes), payload

and a payload is the length of a head (4 bytes), the head in MessagePack, and the bytes of the arrays that the head
describes. Numbers are little-endian. The first frame of a segment says whose it is; each of the others is an entry: all
that a step takes, for agents of one batch.

A frame that was cut off or altered is skipped, and what stands behind it is found by the mark that frames begin with.
Whether entries that are missing matter to an agent is for the replay to find out: each entry says, beside the tick,
which request its agents had been stepped by before.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd.engine.batch import StepInputs
from beliefd.observations import Observations

FORMAT_VERSION = 1
MARK = b"bdj1"
NOT_STATE = frozenset({"want"})
"""Fields of `StepInputs` that decide nothing about the state after the step."""

_FRAME = struct.Struct("<4sII")
_LENGTH = struct.Struct("<I")
_SMALLER = (np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32))
_DISTRIBUTION = "distribution"


class Packed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An array in a payload: its type and shape, and the type and number of rows that stand for it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    stored_dtype: str
    stored_rows: int


class SegmentHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="segment"):
    """Whose segment it is: the population, the layout of its records, and the kernels that ran the steps."""

    format: int = FORMAT_VERSION
    uid: str
    layout: str
    fingerprint: str


class EntryHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="step"):
    """An entry's place in the order of all, and its arrays."""

    epoch: int
    batch: int
    arrays: tuple[Packed, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A step of the agents of a batch.

    Attributes
    ----------
    epoch, batch : int
        Which start of the broker gave out the batch, and its number in that epoch. Of two entries for an agent and
        tick the one with the higher pair counts: the other was never acknowledged.
    inputs : StepInputs
        All that decides the step; `want` is 0.
    previous_ids : ndarray of uint64, shape (n, 2)
        The request that each agent was last stepped by; zeros before its first step.
    actions : ndarray of int32, shape (n, controls)
        What was chosen.
    """

    epoch: int
    batch: int
    inputs: StepInputs
    previous_ids: NDArray[np.uint64]
    actions: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Bytes of a segment that are no frame.

    `torn`: nothing stands behind them, as where a write was cut off. Otherwise something was altered that had been
    written whole.
    """

    start: int
    stop: int
    torn: bool


def segment_start(head: SegmentHead) -> bytes:
    """The first frame of a segment."""
    return b"".join(_frame(head, []))


def encode_entry(entry: Entry) -> list[Any]:
    """The bytes of an entry, in pieces that are written one after the other."""
    n = len(entry.inputs.rows)
    described, pieces = [], []
    for name, array in _arrays(entry).items():
        # Agents in a row differ from 0, 1, 2.. by the same number, which takes one row.
        packed, stored = _pack(name, array - np.arange(n) if name == "rows" else array)
        described.append(packed)
        pieces.append(stored)
    return _frame(EntryHead(epoch=entry.epoch, batch=entry.batch, arrays=tuple(described)), pieces)


def decode_entry(payload: memoryview, head: EntryHead, start: int) -> Entry:
    """The entry of a frame whose arrays begin at `start`.

    Raises
    ------
    ValueError
        For what `encode_entry` never makes.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for packed in head.arrays:
        dtype, stored = np.dtype(packed.dtype), np.dtype(packed.stored_dtype)
        count = packed.stored_rows * int(np.prod(packed.shape[1:]))
        found = np.frombuffer(payload, stored, count, start).reshape(packed.stored_rows, *packed.shape[1:])
        arrays[packed.name] = np.broadcast_to(found, packed.shape).astype(dtype, order="C")
        start += count * stored.itemsize
    try:
        arrays["rows"] += np.arange(len(arrays["rows"]))
        previous_ids, actions = arrays.pop("previous_ids"), arrays.pop("actions")
        return Entry(head.epoch, head.batch, _inputs(arrays), previous_ids, actions)
    except (KeyError, TypeError) as error:
        raise ValueError(f"an entry of other arrays: {error}") from error


def read_frames(segment: memoryview) -> Iterator[tuple[SegmentHead | EntryHead, memoryview, int] | Skipped]:
    """The frames of a segment in their order: head, payload, and where in it the arrays begin; and what is none."""
    at = 0
    while at < len(segment):
        found = _frame_at(segment, at)
        if found is not None:
            payload, at = found
            (length,) = _LENGTH.unpack_from(payload)
            head = _decoder.decode(payload[_LENGTH.size : _LENGTH.size + length])
            yield head, payload, _LENGTH.size + length
            continue
        behind = _next_frame(segment, at + 1)
        yield Skipped(at, behind, torn=behind == len(segment))
        at = behind


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SegmentHead | EntryHead)


def _frame(head: SegmentHead | EntryHead, pieces: list[Any]) -> list[Any]:
    encoded = _encoder.encode(head)
    pieces = [_LENGTH.pack(len(encoded)) + encoded, *pieces]
    length = sum([memoryview(piece).nbytes for piece in pieces])
    checksum = zlib.crc32(_LENGTH.pack(length))
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return [_FRAME.pack(MARK, length, checksum), *pieces]


def _frame_at(segment: memoryview, at: int) -> tuple[memoryview, int] | None:
    """The payload of the frame that begins here, and where it ends; None where none does."""
    start = at + _FRAME.size
    if start > len(segment):
        return None
    mark, length, checksum = _FRAME.unpack_from(segment, at)
    if mark != MARK or length < _LENGTH.size or start + length > len(segment):
        return None
    payload = segment[start : start + length]
    if zlib.crc32(payload, zlib.crc32(_LENGTH.pack(length))) != checksum:
        return None
    return payload, start + length


def _next_frame(segment: memoryview, at: int) -> int:
    """Where the next whole frame begins; the end where there is none."""
    data = bytes(segment[at:])
    found = data.find(MARK)
    while found >= 0:
        if _frame_at(segment, at + found) is not None:
            return at + found
        found = data.find(MARK, found + 1)
    return len(segment)


def _arrays(entry: Entry) -> dict[str, NDArray[Any]]:
    """Every field of the inputs that decides the state, by name, and what the entry adds."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in StepInputs.__struct_fields__:
        value = getattr(entry.inputs, name)
        if name in NOT_STATE or value is None:
            continue
        if isinstance(value, Observations):
            arrays[name] = value.indices
            arrays |= {f"{_DISTRIBUTION}{m}": d for m, d in enumerate(value.distributions) if d is not None}
        else:
            arrays[name] = np.asarray(value)
    return arrays | {"previous_ids": entry.previous_ids, "actions": entry.actions}


def _inputs(arrays: Mapping[str, NDArray[Any]]) -> StepInputs:
    """What `_arrays` took apart."""
    arguments: dict[str, Any] = {
        name: array for name, array in arrays.items() if not name.startswith(_DISTRIBUTION) and name != "observations"
    }
    indices = arrays["observations"]
    distributions = tuple(arrays.get(f"{_DISTRIBUTION}{m}") for m in range(indices.shape[1]))
    return StepInputs(observations=Observations(indices, distributions), **arguments)


def _pack(name: str, array: NDArray[Any]) -> tuple[Packed, Any]:
    """An array in few bytes: integers in the smallest type, and one row where all are equal."""
    stored = array
    if array.dtype.kind in "iu" and len(array):
        # Most arrays that differ anywhere differ at their ends, which costs less to see.
        if (array[0] == array[-1]).all() and (array == array[0]).all():
            stored = array[:1]
        if array.dtype.kind == "i":
            low, high = int(stored.min()), int(stored.max())
            smaller = (
                t for t in _SMALLER if t.itemsize < array.itemsize and np.iinfo(t).min <= low <= high <= np.iinfo(t).max
            )
            stored = stored.astype(next(smaller, array.dtype))
    packed = Packed(name, array.dtype.str, array.shape, stored.dtype.str, len(stored))
    return packed, np.ascontiguousarray(stored).view(np.uint8).reshape(-1).data
