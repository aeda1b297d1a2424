"""What messages are that differ in a few values alone: read and written without being decoded and encoded.

To decode a message takes several times as long as to see that all of it but its id, say, is as in one that was decoded
before. What a form does not fit goes the usual way, so a form need not know all that a message may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from struct import Struct
from typing import Any

import msgspec

from beliefd_proto.framing import PREAMBLE_BYTES

_MOST_ENTRIES = 15  # of a map or a list whose length stands in its first byte
_MOST_IN_A_BYTE = 127
_INTEGERS = {0xCC: "B", 0xCD: "H", 0xCE: "I", 0xCF: "Q", 0xD0: "b", 0xD1: "h", 0xD2: "i", 0xD3: "q"}
"""How those of several bytes are packed, by the byte before them."""

_map_decoder = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.msgpack.Decoder(tuple[msgspec.Raw, ...])
_value_decoder = msgspec.msgpack.Decoder()
_encoder = msgspec.msgpack.Encoder()


class Form:
    """Messages of one frame that have the same bytes but for the values of some fields and the content of arrays.

    `size` is the length of that frame.
    """

    def __init__(self, parts: Sequence[bytes | _Value], names: Sequence[str]) -> None:
        formats = [f"{len(part)}s" if isinstance(part, bytes) else part.packing for part in parts]
        self._struct = Struct(">" + "".join(formats))
        self.size = self._struct.size
        self._blank = [part if isinstance(part, bytes) else None for part in parts]
        fixed = [at for at, part in enumerate(parts) if isinstance(part, bytes)]
        self._fixed = itemgetter(*fixed)
        self._expected = self._fixed(self._blank)
        values = {part.name: at for at, part in enumerate(parts) if isinstance(part, _Value)}
        contents = [values[name] for name in values if name not in names]
        self._places = [*(values[name] for name in names), *contents]
        self._values = itemgetter(*self._places)
        self._in_a_byte = [at for at, part in enumerate(parts) if isinstance(part, _Value) and part.is_in_a_byte]

    @classmethod
    def of(cls, frame: Any, names: Sequence[str]) -> Form | None:
        """The form of a message like this one, which is well formed; None where that cannot be told.

        Parameters
        ----------
        frame : bytes-like
            All of the message.
        names : sequence of str
            Fields whose values may be others: ids, strings of the same length, and integers that take as many bytes.
            The contents of arrays may be too. There are two such values at least.
        """
        content = bytes(frame)
        fields = _map_decoder.decode(content[PREAMBLE_BYTES:])
        if len(fields) > _MOST_ENTRIES:
            return None
        parts: list[bytes | _Value] = [content[:PREAMBLE_BYTES], bytes([0x80 | len(fields)])]
        for name, raw in fields.items():
            parts.append(_encoder.encode(name))
            if name in names:
                parts += _split(name, bytes(raw))
            elif name == "arrays":
                parts += _split_arrays(bytes(raw))
            else:
                parts.append(bytes(raw))
        whole = b"".join([part if isinstance(part, bytes) else part.content for part in parts])
        named = [part.name for part in parts if isinstance(part, _Value)]
        return cls(_joined(parts), names) if whole == content and set(named) >= set(names) else None

    def read(self, frame: Any) -> tuple[Any, ...] | None:
        """The values in a frame of this form's size: of the named fields, strings as bytes, and of arrays the contents.

        None where it is not of this form.
        """
        found = self._struct.unpack(frame)
        if self._fixed(found) != self._expected:
            return None
        for at in self._in_a_byte:
            if found[at] > _MOST_IN_A_BYTE:  # that is where something else begins
                return None
        values: tuple[Any, ...] = self._values(found)
        return values

    def write(self, *values: Any) -> bytes:
        """The message with these values, in the order of `read`."""
        parts = self._blank.copy()
        for at, value in zip(self._places, values, strict=True):
            parts[at] = value
        return self._struct.pack(*parts)


class _Value:
    """What may be another one in each message: `content` as it stood in the first, `packing` as in `struct`."""

    def __init__(self, name: str, content: bytes, packing: str, is_in_a_byte: bool = False) -> None:
        self.name, self.content, self.packing, self.is_in_a_byte = name, content, packing, is_in_a_byte


def _split(name: str, raw: bytes) -> list[bytes | _Value]:
    """A value as what says its type and length, and itself. As it is where it is of no type that is known here."""
    if raw[0] <= _MOST_IN_A_BYTE:
        return [_Value(name, raw, "B", is_in_a_byte=True)]
    if raw[0] in _INTEGERS:
        return [raw[:1], _Value(name, raw[1:], _INTEGERS[raw[0]])]
    value = _value_decoder.decode(raw)
    if isinstance(value, (bytes, str)):
        content = value if isinstance(value, bytes) else value.encode()
        return [raw[: len(raw) - len(content)], _Value(name, content, f"{len(content)}s")]
    return [raw]


def _split_arrays(raw: bytes) -> list[bytes | _Value]:
    """The arrays of a header, of which the contents are values."""
    arrays = _list_decoder.decode(raw)
    if len(arrays) > _MOST_ENTRIES:
        return [raw]
    parts: list[bytes | _Value] = [bytes([0x90 | len(arrays)])]
    for number, array in enumerate(arrays):
        *described, content = map(bytes, _list_decoder.decode(bytes(array)))
        parts += [bytes([0x90 | len(described) + 1]), *described]
        parts += _split(f"content{number}", content)
    return parts


def _joined(parts: Sequence[bytes | _Value]) -> list[bytes | _Value]:
    """The same with bytes that follow each other put together."""
    joined: list[bytes | _Value] = []
    for part in parts:
        if joined and isinstance(part, bytes) and isinstance(joined[-1], bytes):
            joined[-1] += part
        else:
            joined.append(part)
    return joined
