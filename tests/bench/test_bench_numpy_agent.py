"""The NumPy agent that threads, pools and Ray step is held against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beliefd.model import Model
from beliefd.worlds import cue_chaining, explorer, grid, tmaze
from benches.history import drawn_history
from benches.numpy_agent import NumpyAgent, Tables, margin
from benches.works import WORKS
from models import random_model
from naive import NaiveAgent


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 1), st.booleans()), min_size=1, max_size=4)
)
def test_on_any_observations_of_the_tmaze(ticks: list[tuple[int, int, int, bool]]) -> None:
    """Likely or not, as long as both have done the same until then."""
    model = tmaze()
    oracle, agent = NaiveAgent(model), NumpyAgent(Tables(model))
    for location, outcome, cue, start in ticks:
        step = oracle.step([location, outcome, cue], reset=start)
        action = agent.step([location, outcome, cue], start)
        assert action in step.ties
        if action != step.action:
            return


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        WORKS["tmaze-1000"].make(),
        grid(4, policy_len=2, gamma=2.0),
        explorer(5, policy_len=2),
        cue_chaining(policy_len=2),
    ],
    ids=["tmaze", "grid", "explorer", "cue_chaining"],
)
def test_on_a_forced_history(model: Model) -> None:
    history = drawn_history(model, agents=2, ticks=6)
    tables = Tables(model)
    for number in range(2):
        oracle, agent = NaiveAgent(model), NumpyAgent(tables)
        for observation, forced in zip(history.observations[:, number], history.actions[:, number], strict=True):
            step = oracle.step(observation.tolist(), force=forced)
            assert agent.step(observation.tolist(), executed=forced.tolist()) in step.ties
            expected = model.gamma * step.neg_efe + np.log(model.E)
            np.testing.assert_allclose(agent.worth, expected, rtol=1e-9, atol=1e-9)


def test_a_reset_forgets_everything() -> None:
    model = grid(3, policy_len=1)
    agent, fresh = NumpyAgent(Tables(model)), NumpyAgent(Tables(model))
    agent.step([4])
    agent.step([8], start=True)
    fresh.step([8])
    np.testing.assert_array_equal(agent.worth, fresh.worth)


def test_the_margin_is_to_the_next_other_first_action() -> None:
    assert margin(np.array([1.0, 3.0, 4.0, 2.0]), [(0,), (0,), (1,), (1,)]) == pytest.approx(0.25)
    assert margin(np.array([0.5, 0.4]), [(0,), (1,)]) == pytest.approx(0.1)


def test_other_models_are_refused() -> None:
    with pytest.raises(ValueError, match="stand still"):
        Tables(random_model(np.random.default_rng(0), coupled=True))
    with pytest.raises(ValueError, match="all products"):
        Tables(grid(3, policies=[[0], [1]], policy_len=1))
