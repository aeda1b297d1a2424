"""Parameters per agent in the engine: an agent with its own is an agent of a model that has these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beliefd.engine import Engine
from beliefd.model import Model
from beliefd.step import Step
from beliefd_proto.errors import PopulationExists
from models import model_of_agent, random_model, random_per_agent, tmaze, with_counts

WANT = ("beliefs", "q_pi", "neg_efe", "vfe")
AGENTS = 70
"""More than a tile."""


def _bits(step: Step) -> list[bytes]:
    assert step.beliefs is not None
    arrays = [step.actions, *step.beliefs, step.q_pi, step.neg_efe, step.vfe]
    return [array.tobytes() for array in arrays if array is not None]


@pytest.mark.parametrize("selection", ["deterministic", "stochastic"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_priors_habits_and_precisions_give_the_bits_of_a_model_with_them(dtype: str, selection: str) -> None:
    rng = np.random.default_rng(1)
    model = random_model(rng, dtype=dtype, action_selection=selection, inference_algo="fpi")
    per_agent: dict[str, Any] = {
        "D": [np.stack([rng.dirichlet(np.ones(n)) for _ in range(AGENTS)]) for n in model.num_states],
        "E": rng.dirichlet(np.ones(len(model.policies)), AGENTS),
        "gamma": rng.uniform(0.5, 4.0, AGENTS),
        "alpha": rng.uniform(0.5, 4.0, AGENTS),
    }
    own = Engine(model, AGENTS, seed=3, per_agent=per_agent)
    others = {i: Engine(model_of_agent(model, per_agent, i), AGENTS, seed=3) for i in (0, 1, 63, 64, 69)}
    for i, other in others.items():
        first, expected = own.read([i], want=("beliefs",)), other.read([i], want=("beliefs",))
        assert first.beliefs is not None
        assert expected.beliefs is not None
        for f in range(len(model.num_states)):
            np.testing.assert_array_equal(first.beliefs[f], expected.beliefs[f])
    for _ in range(4):
        observations = np.stack([rng.integers(0, n, AGENTS) for n in model.num_obs], axis=1)
        for i, other in others.items():
            mine = own.step(observations[i : i + 1], agents=[i], want=WANT)
            theirs = other.step(observations[i : i + 1], agents=[i], want=WANT)
            assert _bits(mine) == _bits(theirs)


@pytest.mark.parametrize("seed", range(6))
def test_an_agent_is_that_of_a_model_with_its_parameters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng, dtype="float64", coupled=True if seed == 0 else None, inference_algo="fpi")
    model = with_counts(rng, model, learn_E=False, keep_zeros=False, use_inductive=seed % 2 == 1)
    per_agent = random_per_agent(rng, model, 5)
    own = Engine(model, 5, seed=seed, per_agent=per_agent)
    others = [Engine(model_of_agent(model, per_agent, i), 5, seed=seed) for i in range(5)]
    for _ in range(4):
        observations = np.stack([rng.integers(0, n, 5) for n in model.num_obs], axis=1)
        executed = np.stack([rng.integers(0, n, 5) for n in model.num_controls], axis=1)
        mine = own.step(observations, executed_actions=executed, want=WANT)
        for i, other in enumerate(others):
            theirs = other.step(observations, executed_actions=executed, want=WANT)
            for name in ("q_pi", "neg_efe", "vfe"):
                np.testing.assert_allclose(getattr(mine, name)[i], getattr(theirs, name)[i], rtol=1e-9, atol=1e-9)


def test_agents_keep_their_own_through_a_restart(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    model = with_counts(rng, random_model(rng, inference_algo="fpi"), learn_E=False)
    per_agent = random_per_agent(rng, model, 20) | {"gamma": rng.uniform(1.0, 2.0, 20)}
    memory = Engine(model, 20, per_agent=per_agent)
    history = [np.stack([rng.integers(0, n, 20) for n in model.num_obs], axis=1) for _ in range(6)]
    for observations in history:
        with Engine(model, 20, data=tmp_path, per_agent=per_agent) as engine:
            assert _bits(engine.step(observations, want=WANT)) == _bits(memory.step(observations, want=WANT))
            for name, arrays in engine.parameters().items():
                for array, expected in zip(arrays, memory.parameters()[name], strict=True):
                    np.testing.assert_array_equal(array, expected)
    other = per_agent | {"gamma": per_agent["gamma"] + 1.0}
    for given in (None, other, {"gamma": per_agent["gamma"]}):
        with pytest.raises(PopulationExists) as caught:
            Engine(model, 20, data=tmp_path, per_agent=given)
        assert caught.value.field == "per_agent"


def test_learned_counts_start_from_the_agent_s_own() -> None:
    model = with_counts(np.random.default_rng(3), tmaze(), learn_E=False, learn_B=False, learn_D=False)
    own = np.random.default_rng(4).uniform(1.0, 2.0, (3, *model.A[1].shape))
    engine = Engine(model, 3, per_agent={"pA": [None, own, None]})
    np.testing.assert_array_equal(engine.parameters()["pA"][1], own.astype(np.float32))


def test_ways_to_a_goal_are_those_of_an_own_b() -> None:
    """Action 0 leads one agent to the goal, action 1 the other."""
    there, back = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])
    B = [np.stack([there, back], axis=-1)]
    model = Model([np.eye(2)], B, H=[[0.0, 1.0]], use_inductive=True, inductive_depth=2, pB=B)
    own = np.stack([B[0], B[0][:, :, ::-1]])
    step = Engine(model, 2, per_agent={"pB": [own]}).step([[0], [0]], want=("inductive",))
    assert step.actions[:, 0].tolist() == [0, 1]
