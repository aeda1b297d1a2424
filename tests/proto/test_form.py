"""Forms read what decoding would read, or nothing."""

import secrets

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beliefd_proto import Command, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import BeliefdError
from beliefd_proto.form import Form

NAMES = ("id", "deadline_ms", "population", "first", "tick")

integers = st.one_of(st.integers(0, 300), st.integers(0, 2**32))
steps = st.builds(
    m.Step,
    id=st.binary(min_size=16, max_size=16),
    deadline_ms=st.integers(0, 86_400_000),
    attempt=st.integers(0, 1),
    population=st.text("0123456789abcdef", min_size=16, max_size=16),
    count=st.integers(1, 2),
    first=integers,
    want=st.integers(0, 1),
    tick=integers,
)
contents = st.lists(st.integers(-2, 5), min_size=0, max_size=4).map(lambda entries: np.array([entries], np.int8))


def step(tick=1, first=0, request=None, **change):
    header = m.Step(
        id=request or secrets.token_bytes(16),
        deadline_ms=60_000,
        population="0" * 16,
        count=1,
        first=first,
        tick=tick,
    )
    return msgspec.structs.replace(header, **change)


def framed(header, observations):
    [frame] = encode(Command.STEP, header, {"observations": observations})
    return frame


def values_of(frame):
    message = decode([frame])
    header = message.header
    content = message.arrays["observations"].tobytes()
    return header.id, header.deadline_ms, header.population.encode(), header.first, header.tick, content


@given(steps, contents, steps, contents)
def test_a_form_reads_what_decoding_reads_of_all_that_differs_in_its_fields_alone(first, seen, second, told):
    form = Form.of(framed(first, seen), NAMES)
    assert form.read(framed(first, seen)) == values_of(framed(first, seen))
    frame = framed(second, told)
    if len(frame) != form.size:
        return
    read = form.read(frame)
    rest = [msgspec.structs.replace(h, **dict.fromkeys(NAMES)) for h in (first, second)]
    if rest[0] != rest[1] or seen.shape != told.shape:
        assert read is None
    elif read is not None:
        assert read == values_of(frame)
        assert form.write(*read) == frame


@given(steps, contents, st.data())
def test_what_a_form_reads_in_damaged_messages_is_what_they_say(header, seen, data):
    frame = framed(header, seen)
    form = Form.of(frame, NAMES)
    damaged = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    read = form.read(damaged)
    if read is None:
        return
    try:
        told = values_of(bytes(damaged))
    except BeliefdError:  # what a form does not know: text that is none, numbers beyond their bounds
        uid, deadline_ms, tick = read[2], read[1], read[4]
        assert not uid.isascii() or deadline_ms > 86_400_000 or tick > 2**62 or read[3] > 2**32
    else:
        assert read == told


@pytest.mark.parametrize("tick", [1, 127, 128, 255, 256, 65_535, 65_536, 2**32, 2**62])
def test_integers_of_every_length_are_read(tick):
    form = Form.of(framed(step(tick), np.zeros((1, 2), np.int8)), NAMES)
    read = form.read(framed(step(tick, first=5), np.ones((1, 2), np.int8)))
    assert read[3:] == (5, tick, b"\1\1")


@pytest.mark.parametrize("byte", [0xC0, 0xCC, 0xE0, 0xFF])
def test_where_a_short_integer_stood_nothing_else_is_taken_for_one(byte):
    frame = bytearray(framed(step(tick=7), np.zeros((1, 2), np.int8)))
    form = Form.of(frame, NAMES)
    at = frame.index(b"\xa4tick") + 5
    frame[at] = byte
    assert form.read(frame) is None


def test_the_order_of_fields_and_how_long_numbers_are_written_are_the_senders():
    ours = framed(step(), np.zeros((1, 2), np.int8))
    fields = msgspec.msgpack.decode(ours[4:], type=dict[str, msgspec.Raw])
    raws = {name: bytes(raw) for name, raw in reversed(fields.items())}
    raws["tick"] = b"\xcf" + (1).to_bytes(8, "big")
    body = b"".join(msgspec.msgpack.encode(name) + raw for name, raw in raws.items())
    theirs = ours[:4] + bytes([0x80 | len(raws)]) + body
    form = Form.of(theirs, NAMES)
    assert form.read(theirs) == values_of(theirs)
    assert form.size == len(ours) + 8


def test_a_map_that_is_written_in_another_way_has_no_form():
    ours = framed(step(), np.zeros((1, 2), np.int8))
    long = ours[:4] + b"\xde\x00" + bytes([ours[4] & 0x0F]) + ours[5:]  # its length in two bytes
    assert decode([long]).header == decode([ours]).header
    assert Form.of(long, NAMES) is None


def test_a_message_without_a_field_has_no_form():
    assert Form.of(framed(step(first=None), np.zeros((1, 2), np.int8)), NAMES) is None


def test_arrays_in_frames_of_their_own_are_part_of_the_form():
    frames = encode(Command.STEP, step(), {"observations": np.zeros((1, 300), np.int8)})
    form = Form.of(frames[0], NAMES)
    assert form.read(frames[0]) == (decode(frames).header.id, 60_000, b"0" * 16, 0, 1)


@given(st.binary(min_size=16, max_size=16), contents, st.floats(width=32))
def test_what_a_form_writes_is_what_encoding_would(request, actions, vfe):
    def stepped(request, actions, vfe):
        arrays = {"actions": actions, "vfe": np.array([vfe], np.float32)}
        return encode(Command.STEPPED, m.Stepped(id=request, credits=64), arrays)

    form = Form.of(stepped(bytes(16), actions * 0, 0.0)[0], ("id",))
    written = form.write(request, actions.tobytes(), np.float32(vfe).tobytes())
    assert [written] == stepped(request, actions, vfe)
