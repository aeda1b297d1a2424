"""Parameters per agent as a caller gives them: one form, checked whole, cut into messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from beliefd import peragent
from beliefd.model import Model
from beliefd.worlds import tmaze
from beliefd_proto.errors import InvalidArgument
from models import changed

MODEL = tmaze()
N = 3


def _changed_at(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    array = array.astype(np.float64)
    array[index] = value
    return array


C = np.zeros((N, 4))
D = np.full((N, 4), 0.25)
PA = np.ones((N, 3, 4, 2))


@pytest.mark.parametrize(
    ("per_agent", "field", "index"),
    [
        ([C], "per_agent", None),
        ({"B": [None, None]}, "per_agent", None),
        ({"C": C}, "per_agent['C']", None),
        ({"C": [C, None]}, "per_agent['C']", None),
        ({"C": [C[:2], None, None]}, "per_agent['C'][0]", None),
        ({"C": [C.astype(str), None, None]}, "per_agent['C'][0]", None),
        ({"C": [_changed_at(C, (1, 2), np.nan), None, None]}, "per_agent['C'][0]", (1, 2)),
        ({"C": [_changed_at(C, (2, 0), 1e13), None, None]}, "per_agent['C'][0]", (2, 0)),
        ({"D": [_changed_at(D, (1, 3), -0.25), None]}, "per_agent['D'][0]", (1, 3)),
        ({"D": [_changed_at(D, (1, 3), 0.5), None]}, "per_agent['D'][0]", (1,)),
        ({"E": np.full((N, 16), 1.0)}, "per_agent['E']", (0,)),
        ({"pA": [None, _changed_at(PA, (2, 0, 1, 1), -1.0), None]}, "per_agent['pA'][1]", (2, 0, 1, 1)),
        ({"pA": [None, PA * 0.0, None]}, "per_agent['pA'][1]", (0, 0, 0)),
        ({"gamma": np.array([1.0, 0.0, 1.0])}, "per_agent['gamma']", (1,)),
        ({"alpha": np.array([1.0, 1.0, np.inf])}, "per_agent['alpha']", (2,)),
        ({"alpha": 1.0}, "per_agent['alpha']", None),
    ],
)
def test_what_is_wrong_is_named(per_agent: Any, field: str, index: tuple[int, ...] | None) -> None:
    with pytest.raises(InvalidArgument) as caught:
        peragent.of_model(per_agent, MODEL, N)
    assert (caught.value.field, caught.value.index) == (field, index)


def test_nothing_given_is_nothing() -> None:
    assert peragent.of_model(None, MODEL, N) == {}
    assert peragent.of_model({"C": [None] * 3, "gamma": None}, MODEL, N) == {}


def test_a_start_that_counts_rule_out_is_refused() -> None:
    pD = [np.array([1.0, 0.0, 0.0, 0.0]), np.ones(2)]
    model: Model = changed(MODEL, pD=pD, learn_D=True)
    with pytest.raises(InvalidArgument) as caught:
        peragent.of_model({"D": [D, None]}, model, N)
    assert (caught.value.field, caught.value.index) == ("per_agent['D'][0]", (0, 1))


@examples(agents=st.integers(1, 50), most=st.integers(1, 2000))
def test_pieces_hold_all_agents_once_and_fit(agents: int, most: int) -> None:
    arrays = {"C0": np.arange(agents * 4.0).reshape(agents, 4), "gamma": np.ones(agents, np.float32)}
    pieces = peragent.pieces(arrays, agents, most)
    messages = [peragent.to_message(arrays, piece) for piece in pieces]
    assert [i for piece in pieces for i in range(piece.start, piece.stop)] == list(range(agents))
    for piece, message in zip(pieces, messages, strict=True):
        assert piece.stop - piece.start == 1 or sum(array.nbytes for array in message.values()) <= most
    joined = np.concatenate([peragent.from_message(message)["C0"] for message in messages])
    np.testing.assert_array_equal(joined, arrays["C0"])


def test_a_habit_that_counts_rule_out_is_refused() -> None:
    E = np.full((N, 16), 1 / 16)
    habit = np.append(np.full(15, 1 / 15), 0.0)
    model: Model = changed(MODEL, E=habit, pE=habit, learn_E=True)
    with pytest.raises(InvalidArgument) as caught:
        peragent.of_model({"E": E}, model, N)
    assert (caught.value.field, caught.value.index) == ("per_agent['E']", (0, 15))
