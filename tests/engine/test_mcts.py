"""Monte Carlo tree search in the kernels against the oracle, what it tends to, and what it does not depend on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from searches import compare

from beliefd.engine import Engine
from beliefd.model import Model
from beliefd_proto.errors import InvalidModel
from models import changed, random_model, random_observation, random_per_agent, tmaze, with_counts
from naive_mcts import exhaustive


def tree_model(rng: np.random.Generator, seed: int, **options: Any) -> Model:
    """The oracle takes its time: few policies, three steps, and few simulations."""
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    while True:
        arguments = {"sharp": sharp, "planner": "mcts", "policy_len": 1, "E": None}
        model = random_model(rng, dtype=dtype, coupled=True if seed % 5 == 0 else None, **(arguments | options))
        if 1 < len(model.policies) * math.prod(model.num_obs) <= 200:
            simulations, E = int(rng.integers(1, 24)), rng.dirichlet(np.ones(len(model.policies)))
            return changed(model, policy_len=int(rng.integers(1, 5)), num_simulations=simulations, num_iter=4, E=E)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 40, 8))
def test_random_models(first: int) -> None:
    excluded = 0
    for seed in range(first, first + 8):
        excluded += compare(tree_model(np.random.default_rng(9000 + seed), seed), seed)
    assert excluded <= 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_learning_and_goals(seed: int) -> None:
    rng = np.random.default_rng(9100 + seed)
    window = {"inference_algo": ("fpi", "mmp", "vmp", "fpi")[seed // 2], "inference_horizon": 2}
    model = with_counts(rng, tree_model(rng, seed), learn_E=False, use_inductive=seed % 2 == 0, **window)
    compare(changed(model, use_param_info_gain=seed % 3 == 0), seed)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["legacy", "spm"])
@pytest.mark.parametrize("seed", range(8))
def test_the_conventions_of_others(seed: int, profile: str) -> None:
    rng = np.random.default_rng([9150, seed, len(profile)])
    model = tree_model(rng, seed, profile=profile)
    if seed % 4 > 1:
        learned = {"learn_E": False, "use_param_info_gain": seed % 8 < 4, "use_inductive": seed % 2 == 0}
        model = with_counts(rng, model, **learned)
    compare(model, seed, random_per_agent(rng, model, 2) if seed % 4 == 1 else None)


@pytest.mark.parametrize("seed", range(8))
def test_parameters_per_agent_and_preferences_over_time(seed: int) -> None:
    rng = np.random.default_rng(9200 + seed)
    model = tree_model(rng, seed, sharp=False)
    model = changed(model, C=[rng.normal(size=(model.policy_len, n)) for n in model.num_obs], keep_zeros=False)
    compare(model, seed, random_per_agent(rng, model, 2))


def test_with_many_simulations_it_is_the_whole_tree() -> None:
    rng = np.random.default_rng(3)
    A, B = 0.2 + 0.6 * rng.dirichlet(np.ones(2), 3).T, np.moveaxis(rng.dirichlet(np.ones(3), (3, 2)), -1, 0)
    options: dict[str, Any] = {"planner": "mcts", "policy_len": 4, "dtype": "float64"}
    many, few = (Model([A], [B], C=[[0.0, 1.0]], num_simulations=n, **options) for n in (600, 6))
    expected = exhaustive(many, [np.full(3, 1 / 3)])
    for model, near in ((many, True), (few, False)):
        step = Engine(model, 1).step([[-1]], want=("neg_efe",))
        assert step.neg_efe is not None
        assert bool(np.abs(step.neg_efe[0] - expected).max() < 1e-12) == near


def test_the_best_action_is_known_before_the_others() -> None:
    model = tmaze(0.9, 0.9, planner="mcts", policy_len=3, num_simulations=500)
    step = Engine(model, 20).step(np.zeros((20, 3), int), want=("beliefs", "neg_efe"))
    assert step.beliefs is not None
    assert step.neg_efe is not None
    expected = exhaustive(model, [np.asarray(q[0], np.float64) for q in step.beliefs])
    best = int(expected.argmax())
    np.testing.assert_allclose(step.neg_efe[:, best], expected[best], rtol=2e-2)
    assert (step.actions[:, 0] == model.policies[best, 0, 0]).all()


def test_no_agent_depends_on_those_beside_it() -> None:
    model = changed(tmaze(planner="mcts", policy_len=4, num_simulations=20), action_selection="stochastic")
    rng = np.random.default_rng(1)
    together, alone = Engine(model, 70, seed=5), Engine(model, 70, seed=5)
    for _ in range(2):
        rows = np.array([random_observation(rng, model, missing=0.3) for _ in range(70)], dtype=int)
        step = together.step(rows, want=("q_pi", "neg_efe"))
        told = together.read(want=("q_pi", "neg_efe"))
        assert step.neg_efe is not None
        assert told.neg_efe is not None
        np.testing.assert_array_equal(told.neg_efe, step.neg_efe)
        for i in reversed(range(70)):
            one = alone.step(rows[[i]], agents=[i], want=("neg_efe",))
            assert one.neg_efe is not None
            np.testing.assert_array_equal(one.neg_efe[0], step.neg_efe[i])
            np.testing.assert_array_equal(one.actions[0], step.actions[i])
    # Agents who know the same draw each their own observations.
    assert len(np.unique(Engine(model, 50, seed=5).step(np.zeros((50, 3), int), want=("neg_efe",)).neg_efe, axis=0)) > 5


def test_an_absurd_tree_is_refused_by_its_numbers() -> None:
    with pytest.raises(InvalidModel, match=r"1,000,001 nodes of this tree take [\d,]+ MiB for 64 agents"):
        tmaze(planner="mcts", policy_len=5, num_simulations=1_000_000)
    with pytest.raises(InvalidModel, match="num_simulations"):
        tmaze(planner="mcts", num_simulations=0)
