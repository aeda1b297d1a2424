"""Letterboxes: what workers put in is taken out whole, and neither strangers nor who does not empty his harm others."""

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
from beliefd_proto import Command, encode
from beliefd_proto import messages as m

PREAMBLE = encode(Command.STEPPED_PART, m.SteppedPart(id=bytes(16), start=0, count=1))[0][:4]
LETTER = PREAMBLE + b"letter"


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


def fill(letterbox, post):
    """Put letters in until no more goes in; returns how many that are."""
    put = 0
    while post.put(letterbox.name, [LETTER]):
        put += 1
        assert put < 100_000
    return put


FRAMES = st.lists(st.binary(max_size=40), min_size=1, max_size=5)


@given(frames=FRAMES)
def test_letters_are_taken_out_as_they_were_put_in(frames):
    frames[0] = PREAMBLE + frames[0]
    letterbox, post = Letterbox(), Post()
    assert post.put(letterbox.name, frames)
    assert post.put(letterbox.name, [LETTER])
    assert [bytes(frame) for frame in letterbox.take()] == frames
    assert [bytes(frame) for frame in letterbox.take()] == [LETTER]
    assert letterbox.take() is None
    letterbox.close()
    post.close()


def test_what_was_taken_out_stays_when_more_comes(letterbox, post):
    post.put(letterbox.name, [LETTER, b"a" * 100])
    first = letterbox.take()
    post.put(letterbox.name, [LETTER, b"b" * 100])
    letterbox.take()
    assert bytes(first[1]) == b"a" * 100


def test_arrays_can_be_read_where_they_arrived(letterbox, post):
    values = np.arange(9.0)
    post.put(letterbox.name, [LETTER, values.tobytes()])
    np.testing.assert_array_equal(np.ndarray(9, float, letterbox.take()[1]), values)


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_what_is_too_large_is_not_put_in(letterbox, post, more, fits):
    frames = [PREAMBLE + bytes(MOST_BYTES - 20 + more)]
    assert post.put(letterbox.name, frames) is fits
    assert readable(letterbox) is fits


def test_a_full_one_takes_no_more_until_it_is_emptied(letterbox, post):
    put = fill(letterbox, post)
    while letterbox.take() is not None:
        put -= 1
    assert put == 0
    assert post.put(letterbox.name, [LETTER])


def test_who_does_not_empty_his_keeps_nothing_from_others(letterbox, post):
    """What is not taken out counts against the socket that it was sent from."""
    large = [LETTER, bytes(100_000)]
    idle = Letterbox()
    while post.put(idle.name, large):
        assert readable(idle)
    assert post.put(letterbox.name, large)
    assert len(letterbox.take()[1]) == 100_000
    idle.close()


def test_one_that_is_not_there_is_not_looked_for_again(post, monkeypatch):
    name = secrets.token_bytes(16)
    assert not post.put(name, [LETTER])
    monkeypatch.setattr(module.secrets, "token_bytes", lambda count: name)
    late = Letterbox()
    assert not post.put(name, [LETTER])
    assert not readable(late)
    late.close()


def test_one_that_has_gone_is_forgotten(post):
    letterbox = Letterbox()
    assert post.put(letterbox.name, [LETTER])
    letterbox.close()
    assert not post.put(letterbox.name, [LETTER])
    assert not post._ways


def test_neither_those_that_are_there_nor_those_that_are_not_are_remembered_without_bound(post, monkeypatch):
    monkeypatch.setattr(module, "_MOST_ABSENT", 8)
    monkeypatch.setattr(module, "_MOST_WAYS", 3)
    for _ in range(30):
        post.put(secrets.token_bytes(16), [LETTER])
        assert len(post._absent) <= 8
    boxes = [Letterbox() for _ in range(5)]
    for box in (*boxes, *boxes):
        assert post.put(box.name, [LETTER])
        assert len(post._ways) <= 3
    for box in boxes:
        assert box.take() is not None
        assert box.take() is not None
        box.close()


WELCOME = m.Welcome(id=bytes(16), version=1, epoch=9, credits=1, limits=m.Limits(), workers=1)
STRANGE = [
    b"",
    b"x",
    bytes(8),
    b"\xff" * 8,
    packed([LETTER])[0],
    b"".join(packed([LETTER])) + b"x",
    b"".join(packed([b""])),
    b"".join(packed([b"bd\x02\x88"])),
    b"".join(packed(encode(Command.WELCOME, WELCOME))),
    b"".join(packed(encode(Command.ERROR, m.Error(id=bytes(16), code="unauthenticated", message="no")))),
]


@pytest.mark.parametrize("data", STRANGE)
def test_what_is_no_part_of_an_answer_is_not_taken_out_and_does_not_hide_what_is(letterbox, post, data):
    throw_in(letterbox, data)
    post.put(letterbox.name, [LETTER])
    assert letterbox.take() is None
    assert readable(letterbox)
    assert [bytes(frame) for frame in letterbox.take()] == [LETTER]


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
