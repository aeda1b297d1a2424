"""Several messages in one: what small messages cost is the sending of each, not their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from beliefd_proto.commands import Command
from beliefd_proto.errors import MalformedMessage
from beliefd_proto.framing import decode, encode
from beliefd_proto.messages import Bundle

_COMMAND = bytes([Command.BUNDLE])
_CONTENT = "content"


def bundle(messages: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """The frames of one message that holds `messages`, each given by its frames; a single one as it is."""
    if len(messages) == 1:
        return messages[0]
    content = b"".join([frame for frames in messages for frame in frames])
    lengths = tuple([tuple([len(frame) for frame in frames]) for frames in messages])
    return encode(Command.BUNDLE, Bundle(lengths=lengths), {_CONTENT: np.frombuffer(content, np.uint8)})


def unbundled(frames: Sequence[Any]) -> Sequence[Sequence[Any]]:
    """The frames of each message that came in one, in their order; those of a message that is no bundle as they are.

    Raises
    ------
    MalformedMessage
    """
    if not frames or bytes(frames[0][3:4]) != _COMMAND:
        return (frames,)
    message = decode(frames)
    header, content = message.header, message.arrays.get(_CONTENT)
    assert isinstance(header, Bundle)
    if content is None or sum(map(sum, header.lengths)) != content.nbytes:
        raise MalformedMessage("the lengths in a bundle are not those of its content", field="lengths")
    view, at = content.data, 0
    messages = []
    for lengths in header.lengths:
        parts = []
        for length in lengths:
            parts.append(view[at : at + length])
            at += length
        messages.append(parts)
    return messages
