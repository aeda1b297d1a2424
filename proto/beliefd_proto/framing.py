"""A message as frames, and back.

::

    frame 0    b"bd", version (1 byte), command (1 byte)
    frame 1    header: MessagePack map
    frame 2..  one raw array each, C order, little-endian, as the header's `arrays` describe them

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
from beliefd_proto.errors import MalformedMessage, VersionMismatch
from beliefd_proto.messages import HEADERS, PROTOCOL_VERSION, Array, Header

MAGIC = b"bd"
DTYPES = frozenset({"|i1", "<i2", "<i4", "<i8", "|u1", "<u4", "<u8", "<f4", "<f8"})
MAX_ARRAYS = 256

Arrays = dict[str, NDArray[Any]]

_encoder = msgspec.msgpack.Encoder()
_decoders = {command: msgspec.msgpack.Decoder(header) for command, header in HEADERS.items()}
_first_frame = {command: MAGIC + bytes([PROTOCOL_VERSION, command]) for command in Command}


class Message(msgspec.Struct, frozen=True, gc=False):
    """A decoded message: `arrays` are read-only views of the frames they came in."""

    command: Command
    header: Header
    arrays: Arrays


def encode(command: Command, header: Header, arrays: Mapping[str, NDArray[Any]] | None = None) -> list[bytes]:
    """The frames of a message.

    Parameters
    ----------
    command : Command
    header : Header
        Its `arrays` field is filled in here.
    arrays : mapping of str to ndarray, optional
        In the order in which they travel. Bytes are taken in C order.
    """
    if not arrays:
        return [_first_frame[command], _encoder.encode(header)]
    described = tuple(Array(name, a.dtype.str, a.shape) for name, a in arrays.items())
    header = msgspec.structs.replace(header, arrays=described)
    return [_first_frame[command], _encoder.encode(header), *(a.tobytes() for a in arrays.values())]


def decode(frames: Sequence[Any]) -> Message:
    """The message in `frames` (bytes-like).

    Raises
    ------
    MalformedMessage
        For anything that is not a message of this version.
    VersionMismatch
        For a message of another version.
    """
    command = decode_command(frames)
    if len(frames) < 2:
        raise MalformedMessage("the header frame is missing", field="frames", value=len(frames), allowed="2 or more")
    try:
        header = _decoders[command].decode(frames[1])
    except (msgspec.MsgspecError, ValueError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"the header of {command.name} is not valid: {error}", field="header") from None
    return Message(command, header, _views(header.arrays, frames[2:]))


def decode_command(frames: Sequence[Any]) -> Command:
    """The command of a message, from its first frame alone."""
    first = bytes(frames[0]) if frames else b""
    if len(first) != 4 or first[:2] != MAGIC:
        raise MalformedMessage(
            "this is not a beliefd message",
            field="frame 0",
            value=first[:8].hex(),
            allowed="4 bytes that begin with 6264",
        )
    if first[2] != PROTOCOL_VERSION:
        raise VersionMismatch(
            "this protocol version is not spoken here", field="version", value=first[2], allowed=str(PROTOCOL_VERSION)
        )
    try:
        return Command(first[3])
    except ValueError:
        raise MalformedMessage("this command is not known", field="command", value=hex(first[3])) from None


def request_id(frames: Sequence[Any]) -> bytes:
    """The request id in a message that could not be decoded, so that its error finds its way; zeros if it has none."""
    try:
        found = msgspec.msgpack.decode(frames[1])["id"]
        return found if isinstance(found, bytes) and len(found) == 16 else bytes(16)
    except Exception:  # whatever a stranger sent: the caller answers with an error of its own
        return bytes(16)


def _views(described: tuple[Array, ...], frames: Sequence[Any]) -> Arrays:
    if len(described) != len(frames) or len(described) > MAX_ARRAYS:
        raise MalformedMessage(
            "the header describes another number of arrays than there are frames",
            field="arrays",
            value=len(described),
            allowed=f"{min(len(frames), MAX_ARRAYS)}",
        )
    views: Arrays = {}
    for i, (array, frame) in enumerate(zip(described, frames, strict=True)):
        if array.dtype not in DTYPES:
            raise MalformedMessage(
                "this type does not travel",
                field=f"arrays[{i}].dtype",
                value=array.dtype[:20],
                allowed=", ".join(sorted(DTYPES)),
            )
        dtype = np.dtype(array.dtype)
        expected = math.prod(array.shape) * dtype.itemsize
        if len(frame) != expected:
            raise MalformedMessage(
                f"the frame of array {array.name[:40]!r} has another length than its shape says",
                field=f"arrays[{i}]",
                value=len(frame),
                allowed=f"{expected} bytes",
            )
        if array.name in views:
            raise MalformedMessage("this array is named twice", field=f"arrays[{i}].name", value=array.name[:40])
        try:
            views[array.name] = np.frombuffer(frame, dtype).reshape(array.shape)
        except ValueError:  # no entries, in more dimensions or of greater lengths than an array can have
            raise MalformedMessage("no array has this shape", field=f"arrays[{i}].shape") from None
    return views
