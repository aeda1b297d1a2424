"""Two levels written out as one model: against the process of two levels, step by step, and against exact inference."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from beliefd.engine import Engine
from beliefd.hierarchy import compose
from beliefd.model import Model
from beliefd_proto.errors import InvalidModel
from models import random_model

STEPS = 3


def levels(seed: int) -> tuple[Model, Model, dict[int, tuple[int, np.ndarray]]]:
    rng = np.random.default_rng(seed)
    while True:
        upper = random_model(rng, coupled=bool(seed % 2), inference_algo="fpi", E=None)
        lower = random_model(rng, coupled=bool(seed % 2), inference_algo="fpi", E=None)
        small = math.prod(upper.num_states) * math.prod(lower.num_states) <= 150
        if small and math.prod(upper.num_controls) * math.prod(lower.num_controls) <= 64:
            break
    setter = int(rng.integers(len(upper.B)))
    factor = int(rng.integers(len(lower.B)))
    first = rng.dirichlet(np.ones(lower.num_states[factor]), upper.num_states[setter]).T
    return upper, lower, {factor: (setter, first)}


def moved(model: Model, f: int, states: tuple[int, ...], action: tuple[int, ...]) -> np.ndarray:
    """The distribution over the next state of a factor."""
    index = tuple(states[p] for p in model.B_dependencies[f])
    return np.asarray(model.B[f][(slice(None), *index, *(action[c] for c in model.B_action_dependencies[f]))])


@pytest.mark.parametrize("seed", range(6))
def test_every_transition_is_that_of_two_levels(seed: int) -> None:
    upper, lower, D = levels(seed)
    model = compose(upper, lower, D, STEPS, policy_len=1)
    rng = np.random.default_rng(seed)
    up, clock = len(upper.B), len(upper.B)
    for _ in range(200):
        states = tuple(int(rng.integers(n)) for n in model.num_states)
        action = tuple(int(rng.integers(n)) for n in model.num_controls)
        of_upper, time, of_lower = states[:up], states[clock], states[clock + 1 :]
        for f in range(up):
            own = np.eye(upper.num_states[f])[of_upper[f]]
            expected = moved(upper, f, of_upper, action) if time == STEPS - 2 else own
            np.testing.assert_array_equal(moved(model, f, states, action), expected)
        np.testing.assert_array_equal(moved(model, clock, states, action), np.eye(STEPS)[(time + 1) % STEPS])
        for f in range(len(lower.B)):
            expected = moved(lower, f, of_lower, action[len(upper.num_controls) :])
            if time == STEPS - 1:
                expected = D[f][1][:, of_upper[D[f][0]]] if f in D else lower.D[f]
            np.testing.assert_array_equal(moved(model, clock + 1 + f, states, action), expected)


def rooms() -> tuple[Model, Model]:
    """A day is good or bad, mostly as the one before; in a good one most rooms are warm, as three moments tell."""
    stay = np.array([[0.9, 0.1], [0.1, 0.9]])[:, :, np.newaxis]
    upper = Model([[[0.6, 0.4], [0.4, 0.6]]], [stay], D=[[0.5, 0.5]])
    lower = Model([[[0.8, 0.2], [0.2, 0.8]]], [np.eye(2)[:, :, np.newaxis]], D=[[0.5, 0.5]])
    return upper, lower


def exact_belief(first: np.ndarray, felt: list[int]) -> np.ndarray:
    """P(day | what was felt), by enumeration of all days and rooms."""
    days = len(felt) // STEPS
    stay, feel = np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([[0.8, 0.2], [0.2, 0.8]])
    total = np.zeros(2)
    for history in itertools.product(range(2), repeat=days):
        for room in itertools.product(range(2), repeat=days):
            p = 0.5
            for d in range(days):
                p *= (stay[history[d], history[d - 1]] if d else 1.0) * first[room[d], history[d]]
                p *= math.prod(feel[o, room[d]] for o in felt[d * STEPS : (d + 1) * STEPS])
            total[history[-1]] += p
    return total / total.sum()


def test_what_the_lower_level_feels_tells_about_the_upper_level() -> None:
    upper, lower = rooms()
    first = np.array([[0.9, 0.1], [0.1, 0.9]])
    model = compose(upper, lower, {0: (0, first)}, STEPS, num_iter=64)
    warm, cold = [0] * STEPS, [1] * STEPS
    for felt in (warm, cold, warm + cold, warm + warm, cold + cold):
        engine = Engine(model, 1)
        engine.step([[-1, -1]])
        for t, o in enumerate(felt):
            step = engine.step([[-1, o]], want=("beliefs",))
            assert step.beliefs is not None
            if t == len(felt) - 2:  # after it the upper level moves on
                day = step.beliefs[0][0]
        expected = exact_belief(first, felt)
        assert np.argmax(day) == np.argmax(expected)
        assert expected.max() - 0.25 < day.max() <= 1.0


def test_the_upper_level_sets_what_the_lower_one_wants() -> None:
    """What is wanted is what is done: a lever each for two ends, of which the hour decides, and the hour is seen."""
    stay = np.eye(2)[:, :, np.newaxis]
    levers = np.stack([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]], axis=-1)
    upper = Model([np.eye(2)], [stay])
    lower = Model([np.eye(2)], [levers])
    wants = np.array([[3.0, -1.0], [0.0, 1.0]])
    model = compose(upper, lower, {}, STEPS, C={0: (0, wants)}, policy_len=1)
    engine = Engine(model, 2)
    for _ in range(2 * STEPS):
        step = engine.step([[0, -1], [1, -1]], want=("utility",))
        assert step.utility is not None
    assert step.actions[:, 1].tolist() == [0, 1]
    np.testing.assert_allclose(step.utility, wants.T, atol=1e-4)


def test_without_links_of_c_the_lower_level_keeps_its_own() -> None:
    upper, lower, D = levels(1)
    model = compose(upper, lower, D, STEPS, policy_len=1)
    assert not any(model.C_dependencies)
    for own, composed in zip(lower.C, model.C[len(upper.C) :], strict=True):
        np.testing.assert_array_equal(own, composed)


def test_what_does_not_fit_is_named() -> None:
    upper, lower = rooms()
    for D, field in (
        ({}, "D"),
        ([(0, np.eye(2))], "D"),
        ({0: np.eye(3)}, "D[0]"),
        ({1: (0, np.eye(2))}, "D"),
        ({0: (1, np.eye(2))}, "D[0][0]"),
        ({0: (0, np.eye(3))}, "D[0][1]"),
    ):
        with pytest.raises(InvalidModel) as caught:
            compose(upper, lower, D, STEPS)
        assert caught.value.field == field
    for C, field in (
        ([(0, np.eye(2))], "C"),
        ({0: None}, "C[0]"),
        ({0: (0, [[1.0, 2.0], [3.0]])}, "C[0][1]"),
        ({1: (0, np.eye(2))}, "C"),
        ({0: (1, np.eye(2))}, "C[0][0]"),
        ({0: (0, np.eye(3))}, "C[0][1]"),
    ):
        with pytest.raises(InvalidModel) as caught:
            compose(upper, lower, {}, STEPS, C=C)
        assert caught.value.field == field
    with pytest.raises(InvalidModel) as caught:
        compose(upper, lower, {0: (0, np.eye(2))}, 1)
    assert caught.value.field == "steps"
