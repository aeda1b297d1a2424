"""Framing: what goes in comes out, and whatever is not a message is refused with a typed error and nothing else."""

import tracemalloc

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beliefd_proto import Command, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import MalformedMessage, VersionMismatch
from beliefd_proto.framing import DTYPES, LARGE_BYTES, PREAMBLE_BYTES, request_id

ID = bytes(range(16))
STEP = m.Step(id=ID, deadline_ms=100, population="0123456789abcdef", count=3, first=0, tick=1, want=0)

arrays = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.sampled_from(sorted(DTYPES)).flatmap(
        # Some smaller, some larger than what travels in the header.
        lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    ),
    max_size=4,
)


@given(arrays)
def test_arrays_come_back_as_they_were(given_arrays):
    message = decode([bytes(frame) for frame in encode(Command.STEP, STEP, given_arrays)])
    assert message.command is Command.STEP
    assert msgspec.structs.replace(message.header, arrays=()) == STEP
    assert list(message.arrays) == list(given_arrays)
    for name, array in given_arrays.items():
        assert message.arrays[name].dtype == array.dtype
        assert message.arrays[name].tobytes() == array.tobytes()
        assert message.arrays[name].shape == array.shape


@pytest.mark.parametrize(("length", "frames"), [(m.MAX_CONTENT_BYTES, 1), (m.MAX_CONTENT_BYTES + 1, 2)])
def test_what_is_small_has_no_frame(length, frames):
    array = np.arange(length, dtype=np.uint8)
    sent = encode(Command.STEP, STEP, {"small": np.zeros((2, 3), np.int32), "a": array, "none": np.zeros(0)})
    assert len(sent) == frames
    np.testing.assert_array_equal(decode(sent).arrays["a"], array)


def test_an_array_longer_than_may_be_in_the_header_is_refused():
    content = bytes(m.MAX_CONTENT_BYTES + 1)
    header = msgspec.structs.replace(STEP, arrays=(m.Array("a", "|u1", (len(content),), content),))
    with pytest.raises(MalformedMessage) as caught:
        decode([encode(Command.STEP, STEP)[0][:4] + msgspec.msgpack.encode(header)])
    assert caught.value.field == "header"


def test_arrays_that_are_not_contiguous_travel_in_c_order():
    array = np.arange(12, dtype=np.int32).reshape(3, 4)[:, ::2]
    message = decode([bytes(frame) for frame in encode(Command.STEP, STEP, {"a": array, "t": array.T})])
    np.testing.assert_array_equal(message.arrays["a"], array)
    np.testing.assert_array_equal(message.arrays["t"], array.T)


@pytest.mark.parametrize("extra", [-16, 0, 16])
def test_large_arrays_travel_in_c_order_whatever_their_own(extra):
    array = np.arange((LARGE_BYTES + extra) // 8, dtype=np.int64).reshape(-1, 2)
    frozen = array.copy()
    frozen.flags.writeable = False
    sent = encode(Command.STEP, STEP, {"a": array, "t": array.T, "every": array[:, ::-1], "frozen": frozen})
    assert [len(frame) for frame in sent[1:]] == [array.nbytes] * 4
    found = decode(sent).arrays
    for name, expected in {"a": array, "t": array.T, "every": array[:, ::-1], "frozen": array}.items():
        np.testing.assert_array_equal(found[name], expected)


@given(st.lists(st.binary(max_size=64), max_size=5))
def test_noise_is_malformed(frames):
    with pytest.raises((MalformedMessage, VersionMismatch)):
        decode(frames)
    assert len(request_id(frames)) == 16


@settings(max_examples=300)
@given(st.data())
def test_a_mutated_message_is_a_message_or_malformed(data):
    observations = np.array([[0, 1], [2, -1], [1, 1]], np.int8)
    arrays = {"observations": observations, "distribution0": np.ones(100)}
    frames = [bytearray(frame) for frame in encode(Command.STEP, STEP, arrays)]
    for _ in range(data.draw(st.integers(1, 4))):
        frame = frames[data.draw(st.integers(0, len(frames) - 1))]
        if frame:
            frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = decode([bytes(frame) for frame in frames])
    except (MalformedMessage, VersionMismatch):
        return
    assert isinstance(message.header, m.HEADERS[message.command])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": b"short"}, "header"),
        ({"count": -1}, "header"),
        ({"count": 2**40}, "header"),
        ({"population": "NOT HEX"}, "header"),
        ({"unknown": 1}, "header"),
        ({"arrays": [["a", "<f4", [3]]]}, "arrays"),
        ({"tick": "one"}, "header"),
    ],
)
def test_a_header_that_breaks_the_schema_is_named(change, field):
    frames = encode(Command.STEP, STEP)
    content = msgspec.msgpack.decode(frames[0][4:]) | change
    with pytest.raises(MalformedMessage) as caught:
        decode([frames[0][:4] + msgspec.msgpack.encode(content)])
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("described", "frames", "field"),
    [
        (("a", "<f4", (3,)), [bytes(11)], "arrays[0]"),
        (("a", "<f4", (3,), bytes(11)), [], "arrays[0]"),
        (("a", "<f4", (3,), bytes(12)), [bytes(12)], "arrays"),
        (("a", "<f4", (3,)), [], "arrays"),
        (("a", "|i1", (2**63,), b""), [], "header"),
        (("a", "|O", (1,)), [bytes(8)], "arrays[0].dtype"),
        (("a", ">f4", (1,)), [bytes(4)], "arrays[0].dtype"),
        (("a", "<f4", (2**32, 2**32, 2**32)), [bytes(0)], "arrays[0]"),
    ],
)
def test_an_array_that_is_not_what_the_header_says_is_named(described, frames, field):
    header = msgspec.structs.replace(STEP, arrays=(m.Array(*described),))
    with pytest.raises(MalformedMessage) as caught:
        decode([encode(Command.STEP, STEP)[0][:4] + msgspec.msgpack.encode(header), *frames])
    assert caught.value.field == field


def test_the_header_of_a_request_is_refused_by_its_length_before_it_is_read():
    at_most = PREAMBLE_BYTES + m.MAX_REQUEST_HEADER_BYTES
    first = encode(Command.LIST, m.List(id=bytes(16), deadline_ms=1))[0]
    for length, said in ((at_most, "not valid"), (at_most + 1, "too long")):
        with pytest.raises(MalformedMessage, match=said) as caught:
            decode([first.ljust(length, b"\xc0")])
        assert caught.value.field == "header"


def test_a_list_beyond_its_bound_is_not_built():
    """One array more than allowed costs nothing; half a million of them cost nothing either."""
    fields = {"arrays": [["", "", []]] * 500_000, "id": b"sixteen bytes id", "deadline_ms": 1}
    frames = [encode(Command.LIST, m.List(id=bytes(16), deadline_ms=1))[0][:4] + msgspec.msgpack.encode(fields)]
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage, match="length <= 256"):
            decode(frames)
        assert request_id(frames) == b"sixteen bytes id"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("command", [command for command, header in m.HEADERS.items() if issubclass(header, m.Request)])
def test_every_list_of_a_request_is_bounded(command):
    lists = [f for f in msgspec.inspect.type_info(m.HEADERS[command]).fields if "Tuple" in type(f.type).__name__]
    assert [f.name for f in lists if f.type.max_length is None] == []


def test_another_version_is_told_apart_from_noise():
    with pytest.raises(VersionMismatch):
        decode([b"bd\x02\x01\x80"])


def test_every_command_has_a_header():
    assert set(m.HEADERS) == set(Command)
