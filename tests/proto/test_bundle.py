"""Messages in a bundle come out as they went in, and nothing else comes out."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beliefd_proto import Command, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.bundle import bundle, unbundled
from beliefd_proto.errors import BeliefdError, MalformedMessage

SIZES = (m.MAX_CONTENT_BYTES + 1, m.MAX_CONTENT_BYTES + 2, m.MAX_CONTENT_BYTES + 3)
frames_of_a_message = st.lists(st.binary(max_size=40), min_size=1, max_size=4)


@given(st.lists(frames_of_a_message, min_size=2, max_size=5))
def test_what_goes_in_comes_out(messages):
    assert [[bytes(frame) for frame in frames] for frames in unbundled(bundle(messages))] == messages


def test_a_single_message_travels_as_it_is():
    message = encode(Command.WORK, m.Work(epoch=1, batch=1, kind=Command.STEP))
    assert bundle([message]) == message
    assert list(unbundled(message)) == [message]


def test_arrays_at_any_byte_are_read():
    works = [
        encode(
            Command.RESULT, m.Result(epoch=1, batch=n), {"a": np.arange(n, dtype=np.int64), "b": np.ones(n, np.uint8)}
        )
        for n in SIZES
    ]
    for n, frames in zip(SIZES, unbundled(bundle(works)), strict=True):
        assert len(frames) == 3
        arrays = decode(frames).arrays
        np.testing.assert_array_equal(arrays["a"], np.arange(n))
        np.testing.assert_array_equal(arrays["b"], np.ones(n))


@pytest.mark.parametrize("lengths", [((3,),), ((5,), (1,)), ()])
def test_lengths_that_do_not_fit_are_refused(lengths):
    content = {"content": np.zeros(5, np.uint8)}
    with pytest.raises(MalformedMessage, match="lengths"):
        list(unbundled(encode(Command.BUNDLE, m.Bundle(lengths=lengths), content)))


@pytest.mark.parametrize("length", [3, m.MAX_CONTENT_BYTES])
@given(st.data())
def test_whatever_arrives_is_a_message_or_an_error_of_the_tree(length, data):
    frames = [bytearray(frame) for frame in bundle([[b"one", b"two" * length], [b"three"]])]
    frame = data.draw(st.integers(0, len(frames) - 1))
    at = data.draw(st.integers(0, len(frames[frame]) - 1))
    frames[frame][at] = data.draw(st.integers(0, 255))
    try:
        found = list(unbundled([bytes(f) for f in frames]))
    except BeliefdError:
        return
    assert sum(len(part) for parts in found for part in parts) <= sum(map(len, frames))


def test_a_bundle_is_bounded():
    header = m.Bundle(lengths=((0,),) * (m.MAX_BUNDLED + 1))
    frames = encode(Command.BUNDLE, header, {"content": np.zeros(0, np.uint8)})
    with pytest.raises(MalformedMessage):
        list(unbundled(frames))
    assert msgspec.msgpack.encode(header)
