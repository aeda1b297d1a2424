"""Valid traffic, altered: by bits and bytes, by frames, and in the types of what a header says."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

Frames = list[bytes]
PREAMBLE_BYTES = 4
_STRANGE: list[Any] = [
    None, True, -1, 0, 2**32, 2**63 - 1, -(2**63), 1.5, float("nan"), float("inf"), "", "x" * 300, "\0", b"",
    b"\xff" * 16, [], [[]], [1, "a", None], {}, {"a": 1}, {1: 2}, [0] * 5000, "../../etc", "mice" * 40,
]  # fmt: skip
_LENGTHS = (b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff")
_MOST_BYTES = 2**16


def flip_bits(frames: Frames, rng: random.Random) -> Frames:
    at = rng.randrange(len(frames))
    content = bytearray(frames[at])
    for _ in range(rng.choice((1, 1, 2, 8)) if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return [*frames[:at], bytes(content), *frames[at + 1 :]]


def truncate(frames: Frames, rng: random.Random) -> Frames:
    at = rng.randrange(len(frames))
    return [*frames[:at], frames[at][: rng.randrange(len(frames[at]) + 1)], *frames[at + 1 :]]


def lengthen(frames: Frames, rng: random.Random) -> Frames:
    at = rng.randrange(len(frames))
    more = rng.randbytes(rng.choice((1, 4, 64, 4096)))
    return [*frames[:at], (frames[at] + more)[:_MOST_BYTES], *frames[at + 1 :]]


def drop_frame(frames: Frames, rng: random.Random) -> Frames:
    at = rng.randrange(len(frames))
    return [*frames[:at], *frames[at + 1 :]] or [b""]


def double_frame(frames: Frames, rng: random.Random) -> Frames:
    at = rng.randrange(len(frames))
    times = rng.choice((1, 1, 2, 20))
    return [*frames[: at + 1], *[frames[at]] * times, *frames[at + 1 :]]


def swap_frames(frames: Frames, rng: random.Random) -> Frames:
    shuffled = frames.copy()
    rng.shuffle(shuffled)
    return shuffled


def other_command(frames: Frames, rng: random.Random) -> Frames:
    first = frames[0]
    return [first[:3] + bytes([rng.randrange(256)]) + first[4:], *frames[1:]]


def swap_type(frames: Frames, rng: random.Random) -> Frames:
    """Put something of another type, or another length, where a header says something."""
    try:
        header = msgspec.msgpack.decode(frames[0][PREAMBLE_BYTES:])
    except Exception:  # an earlier mutation has been here
        return flip_bits(frames, rng)
    if not isinstance(header, dict) or not header:
        return flip_bits(frames, rng)
    name = rng.choice(list(header))
    change = rng.randrange(5)
    if change == 0:
        del header[name]
    elif change == 1:
        header[rng.choice(("arrays", "id", "extra", "count", "want", "agents"))] = rng.choice(_STRANGE)
    elif change == 2 and header.get("arrays"):
        header["arrays"] = _other_arrays(header["arrays"], rng)
    else:
        header[name] = rng.choice(_STRANGE)
    return [frames[0][:PREAMBLE_BYTES] + msgspec.msgpack.encode(header), *frames[1:]]


def _other_arrays(arrays: Any, rng: random.Random) -> Any:
    """What a header says of its arrays, with something else in one of them."""
    array = rng.choice(arrays) if isinstance(arrays, list) else None
    if isinstance(array, list) and array:
        content = array[-1] if isinstance(array[-1], bytes) else b""
        strange = (*_STRANGE, None, content[:-1], content + b"x", content * 300, rng.randbytes(6))
        array[rng.randrange(len(array))] = rng.choice(strange)
    return arrays


def say_a_huge_length(frames: Frames, rng: random.Random) -> Frames:
    first = frames[0]
    at = rng.randrange(PREAMBLE_BYTES, len(first) + 1) if len(first) >= PREAMBLE_BYTES else 0
    return [first[:at] + rng.choice(_LENGTHS) + first[at:], *frames[1:]]


MUTATIONS: Sequence[Callable[[Frames, random.Random], Frames]] = (
    flip_bits,
    flip_bits,
    truncate,
    lengthen,
    drop_frame,
    double_frame,
    swap_frames,
    other_command,
    swap_type,
    swap_type,
    swap_type,
    say_a_huge_length,
)


def mutated(frames: Sequence[bytes], rng: random.Random) -> Frames:
    """A message altered once, or a few times over."""
    changed = list(frames)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        changed = rng.choice(MUTATIONS)(changed, rng)
    return changed


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """A stream of bytes altered a few times over."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 6))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[at : at + rng.choice((1, 2, 16, len(changed)))]
        elif kind == 2:
            changed[at:at] = rng.randbytes(rng.choice((1, 8, 300)))
        elif kind == 3:
            changed[at:at] = changed[max(at - 30, 0) : at]
        else:
            changed[at : at + 8] = rng.choice((b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7))
    return bytes(changed)
