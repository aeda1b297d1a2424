"""Philox against its published known answers, and draws against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from beliefd.engine.random import philox, uniform

KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def _words(text: str) -> list[np.uint64]:
    return [np.uint64(int(word, 16)) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_answers(counter: str, key: str, expected: str) -> None:
    assert [int(word) for word in philox(*_words(counter), *_words(key))] == [int(w) for w in _words(expected)]


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    agent=st.integers(0, 2**31 - 1),
    tick=st.integers(1, 2**62),
    factor=st.integers(0, 31),
)
def test_a_draw_is_the_oracles(seed: int, agent: int, tick: int, factor: int) -> None:
    draw = uniform(seed, agent, tick, 1, factor)
    assert draw == naive.uniform(seed, agent, tick, 1, factor)
    assert 0.0 <= draw < 1.0
