"""Letterboxes: what is put in is taken out whole; strangers, and what does not fit, harm nobody."""

import secrets
import select
import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beliefd import letterbox as module
from beliefd.channel import Closed, packed, unpacked
from beliefd.letterbox import MOST_BYTES, Letterbox, Post


@pytest.fixture
def letterbox():
    made = Letterbox()
    yield made
    made.close()


@pytest.fixture
def post():
    made = Post()
    yield made
    made.close()


def readable(letterbox):
    poll = select.poll()
    poll.register(letterbox, select.POLLIN)
    return bool(poll.poll(0))


def throw_in(letterbox, data):
    """What a stranger does who knows the name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(data, b"\0beliefd-" + letterbox.name.hex().encode())


FRAMES = st.lists(st.binary(max_size=40), min_size=1, max_size=5)


@given(frames=FRAMES)
def test_messages_are_taken_out_as_they_were_put_in(frames):
    letterbox, post = Letterbox(), Post()
    assert post.put(letterbox.name, frames)
    assert post.put(letterbox.name, [b"next"])
    assert [bytes(frame) for frame in letterbox.take()] == frames
    assert [bytes(frame) for frame in letterbox.take()] == [b"next"]
    assert letterbox.take() is None
    letterbox.close()
    post.close()


def test_what_was_taken_out_stays_when_more_comes(letterbox, post):
    post.put(letterbox.name, [b"a" * 100])
    first = letterbox.take()
    post.put(letterbox.name, [b"b" * 100])
    letterbox.take()
    assert bytes(first[0]) == b"a" * 100


def test_arrays_can_be_read_where_they_arrived(letterbox, post):
    values = np.arange(9.0)
    post.put(letterbox.name, [b"odd", values.tobytes()])
    np.testing.assert_array_equal(np.ndarray(9, float, letterbox.take()[1]), values)


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_what_is_too_large_is_not_put_in(letterbox, post, more, fits):
    frames = [bytes(MOST_BYTES - 16 + more)]
    assert post.put(letterbox.name, frames) is fits
    assert readable(letterbox) is fits


def test_a_full_one_takes_no_more_until_it_is_emptied(letterbox, post):
    put = 0
    while post.put(letterbox.name, [b"letter"]):
        put += 1
        assert put < 100_000
    while letterbox.take() is not None:
        put -= 1
    assert put == 0
    assert post.put(letterbox.name, [b"letter"])


def test_one_that_is_not_there_is_not_looked_for_again(post, monkeypatch):
    name = secrets.token_bytes(16)
    assert not post.put(name, [b"letter"])
    monkeypatch.setattr(module.secrets, "token_bytes", lambda count: name)
    late = Letterbox()
    assert not post.put(name, [b"letter"])
    assert not readable(late)
    late.close()


def test_those_that_are_not_there_are_not_remembered_without_bound(post, monkeypatch):
    monkeypatch.setattr(module, "_MOST_ABSENT", 8)
    for _ in range(30):
        post.put(secrets.token_bytes(16), [b"letter"])
        assert len(post._absent) <= 8


def test_what_strangers_throw_in_is_not_taken_for_a_message(letterbox, post):
    for data in (b"", b"x", bytes(8), b"\xff" * 8, packed([b"frame"])[0], b"".join(packed([b"frame"])) + b"x"):
        throw_in(letterbox, data)
    post.put(letterbox.name, [b"letter"])
    assert [bytes(frame) for frame in letterbox.take()] == [b"letter"]


@given(data=st.binary(max_size=200))
def test_any_bytes_are_one_message_or_none(data):
    try:
        frames = unpacked(data)
    except Closed:
        return
    assert len(b"".join(packed(frames))) == len(data)


@given(frames=FRAMES, cut=st.integers(1, 20))
def test_a_part_of_a_message_is_none(frames, cut):
    with pytest.raises(Closed):
        unpacked(b"".join(packed(frames))[:-cut])
