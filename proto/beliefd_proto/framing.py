"""A message as frames, and back.

::

    frame 0    b"bd", version (1 byte), command (1 byte), then the header: MessagePack map
    frame 1..  one raw array each, C order, little-endian, as the header's `arrays` describe them; what is small is
               in the header itself

`decode` is the only way in for bytes from outside: what it returns is well formed, and whatever is not raises
`MalformedMessage` (or `VersionMismatch`), never anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd_proto.commands import Command
from beliefd_proto.errors import BeliefdError, MalformedMessage, VersionMismatch
from beliefd_proto.messages import (
    HEADERS,
    MAX_CONTENT_BYTES,
    MAX_REQUEST_HEADER_BYTES,
    NO_ID,
    PROTOCOL_VERSION,
    Array,
    Header,
    Request,
    RequestId,
)

MAGIC = b"bd"
DTYPES = {name: np.dtype(name) for name in ("|i1", "<i2", "<i4", "<i8", "|u1", "<u4", "<u8", "<f4", "<f8")}
_names = {dtype: name for name, dtype in DTYPES.items()}  # NumPy makes the name anew for whoever asks
PREAMBLE_BYTES = 4
LARGE_BYTES = 65_536
"""What has so many bytes is used where it lies; of less, a copy costs less than to see to that."""

Arrays = dict[str, NDArray[Any]]


class _Identified(msgspec.Struct):
    """The one field of a header that an answer needs; a decoder steps over the others without building them."""

    id: RequestId


_encoder = msgspec.msgpack.Encoder()
_preambles = {command: MAGIC + bytes([PROTOCOL_VERSION, command]) for command in Command}
_id_decoder = msgspec.msgpack.Decoder(_Identified)
_decoders = {_preambles[command]: (command, msgspec.msgpack.Decoder(header)) for command, header in HEADERS.items()}
_requests = frozenset(command for command, header in HEADERS.items() if issubclass(header, Request))


class Message(msgspec.Struct, frozen=True, gc=False):
    """A decoded message: `arrays` are read-only views of the frames they came in."""

    command: Command
    header: Header
    arrays: Arrays


def encode(
    command: Command,
    header: Header,
    arrays: Mapping[str, NDArray[Any]] | None = None,
    deadline_ms: int | None = None,
) -> list[bytes | memoryview]:
    """The frames of a message. Large ones are the arrays' own memory: until it is sent they must not change.

    Parameters
    ----------
    command : Command
    header : Header
        Its `arrays` field is filled in here.
    arrays : mapping of str to ndarray, optional
        In the order in which they travel. Bytes are taken in C order.
    deadline_ms : int, optional
        In place of the header's own, where that is a `Request`.
    """
    changed: dict[str, Any] = {} if deadline_ms is None else {"deadline_ms": deadline_ms}
    if not arrays:
        if changed:
            header = msgspec.structs.replace(header, **changed)
        return [_preambles[command] + _encoder.encode(header)]
    described = []
    frames: list[bytes | memoryview] = [b""]
    for name, array in arrays.items():
        dtype = _names.get(array.dtype) or array.dtype.str
        if array.nbytes <= MAX_CONTENT_BYTES:
            described.append(Array(name, dtype, array.shape, array.tobytes()))
        else:
            described.append(Array(name, dtype, array.shape))
            frames.append(array.tobytes() if array.nbytes < LARGE_BYTES else np.ascontiguousarray(array).data.cast("B"))
    changed["arrays"] = tuple(described)
    frames[0] = _preambles[command] + _encoder.encode(msgspec.structs.replace(header, **changed))
    return frames


def decode(frames: Sequence[Any]) -> Message:
    """The message in `frames` (bytes-like).

    Raises
    ------
    MalformedMessage
        For anything that is not a message of this version.
    VersionMismatch
        For a message of another version.
    """
    first = frames[0] if frames else b""
    found = _decoders.get(bytes(first[:PREAMBLE_BYTES]))
    if found is None:
        raise _not_ours(bytes(first[:8]))
    command, decoder = found
    # Before anything is built of it: a decoded header is many times as large as its bytes.
    if len(first) > PREAMBLE_BYTES + MAX_REQUEST_HEADER_BYTES and command in _requests:
        raise MalformedMessage(
            f"the header of {command.name} is too long",
            field="header",
            value=f"{len(first) - PREAMBLE_BYTES} bytes",
            allowed=f"{MAX_REQUEST_HEADER_BYTES} bytes",
        )
    try:
        header = decoder.decode(memoryview(first)[PREAMBLE_BYTES:])
    except (msgspec.MsgspecError, ValueError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"the header of {command.name} is not valid: {error}", field="header") from None
    return Message(command, header, _views(header.arrays, frames[1:]))


def says(command: Command, frames: Sequence[Any]) -> bool:
    """Whether a message, if it is one, has this command."""
    return bool(frames[0][:PREAMBLE_BYTES] == _preambles[command])


def _not_ours(first: bytes) -> BeliefdError:
    """What is wrong with a message that begins with these bytes, which are no command of this version."""
    if len(first) < PREAMBLE_BYTES or first[:2] != MAGIC:
        return MalformedMessage(
            "this is not a beliefd message",
            field="frame 0",
            value=first.hex(),
            allowed="bytes that begin with 6264",
        )
    if first[2] != PROTOCOL_VERSION:
        return VersionMismatch(
            "this protocol version is not spoken here", field="version", value=first[2], allowed=str(PROTOCOL_VERSION)
        )
    return MalformedMessage("this command is not known", field="command", value=hex(first[3]))


def request_id(frames: Sequence[Any]) -> bytes:
    """The request id in a message that could not be decoded, so that its error finds its way; zeros if it has none."""
    try:
        return _id_decoder.decode(memoryview(frames[0])[PREAMBLE_BYTES:]).id
    except Exception:  # whatever a stranger sent: the caller answers with an error of its own
        return NO_ID


def _views(described: tuple[Array, ...], frames: Sequence[Any]) -> Arrays:
    views: Arrays = {}
    framed = 0
    for i, array in enumerate(described):
        dtype = DTYPES.get(array.dtype)
        if dtype is None:
            raise MalformedMessage(
                "this type does not travel",
                field=f"arrays[{i}].dtype",
                value=array.dtype[:20],
                allowed=", ".join(sorted(DTYPES)),
            )
        content = array.content
        if content is None:
            if framed == len(frames):
                raise _miscounted(described, frames)
            content = frames[framed]
            framed += 1
        expected = math.prod(array.shape) * dtype.itemsize
        if len(content) != expected:
            raise MalformedMessage(
                f"the content of array {array.name[:40]!r} has another length than its shape says",
                field=f"arrays[{i}]",
                value=len(content),
                allowed=f"{expected} bytes",
            )
        if array.name in views:
            raise MalformedMessage("this array is named twice", field=f"arrays[{i}].name", value=array.name[:40])
        try:
            views[array.name] = np.ndarray(array.shape, dtype, content)
        except ValueError:  # no entries, in more dimensions or of greater lengths than an array can have
            raise MalformedMessage("no array has this shape", field=f"arrays[{i}].shape") from None
    if framed != len(frames):
        raise _miscounted(described, frames)
    return views


def _miscounted(described: tuple[Array, ...], frames: Sequence[Any]) -> MalformedMessage:
    framed = sum(array.content is None for array in described)
    return MalformedMessage(
        f"the header describes {framed} arrays in frames, another number than there are frames after it",
        field="arrays",
        value=len(frames),
        allowed=f"{framed}",
    )
