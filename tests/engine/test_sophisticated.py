"""Sophisticated inference in the kernels against the oracle: random models, every choice, learning, batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from searches import AGENTS, PARTS, TICKS, compare

from beliefd.engine import Engine
from beliefd.model import Model
from beliefd_proto.errors import InvalidModel
from models import changed, late_treasure, random_model, random_observation, random_per_agent, tmaze, with_counts
from naive import NaiveAgent


def tree_model(rng: np.random.Generator, seed: int, **options: Any) -> Model:
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    while True:
        arguments = {"sharp": sharp, "planner": "sophisticated", "policy_len": 1, "E": None}
        model = random_model(rng, dtype=dtype, coupled=True if seed % 5 == 0 else None, **(arguments | options))
        # The oracle takes its time.
        branches = len(model.policies) * math.prod(model.num_obs)
        deep = branches <= 16 and len(model.num_states) < 3
        if len(model.policies) > 1 and branches <= 64:
            return changed(model, policy_len=3 if deep else 2, gamma=float(rng.uniform(0.4, 1.5)), num_iter=4)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 40, 8))
def test_random_models(first: int) -> None:
    excluded = 0
    for seed in range(first, first + 8):
        rng = np.random.default_rng(7000 + seed)
        excluded += compare(tree_model(rng, seed), seed)
    assert excluded <= 0.03 * 8 * AGENTS * TICKS


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_learning_and_goals(seed: int) -> None:
    rng = np.random.default_rng(8000 + seed)
    window = {"inference_algo": ("fpi", "mmp", "vmp", "fpi")[seed // 2], "inference_horizon": 2}
    model = with_counts(rng, tree_model(rng, seed), learn_E=False, use_inductive=seed % 2 == 0, **window)
    compare(changed(model, use_param_info_gain=seed % 3 == 0), seed)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["legacy", "spm"])
@pytest.mark.parametrize("seed", range(8))
def test_the_conventions_of_others(seed: int, profile: str) -> None:
    rng = np.random.default_rng([8500, seed, len(profile)])
    model = tree_model(rng, seed, profile=profile)
    if seed % 4 > 1:
        learned = {"learn_E": False, "use_param_info_gain": seed % 8 < 4, "use_inductive": seed % 2 == 0}
        model = with_counts(rng, model, **learned)
    compare(model, seed, random_per_agent(rng, model, AGENTS) if seed % 4 == 1 else None)


def test_what_is_told_adds_up_but_for_what_was_cut() -> None:
    maze = tmaze(planner="sophisticated", policy_len=3, dtype="float64")
    for model, observation, cuts in ((maze, [0, 0, 0], 0), (late_treasure(), [0], 1)):
        step = Engine(model, 1).step([observation], want=("neg_efe", *PARTS))
        assert step.neg_efe is not None
        total = sum(getattr(step, part) for part in PARTS)
        cut = step.neg_efe == -512.0
        assert cut.sum() == cuts
        np.testing.assert_array_equal(total[cut], 0.0)
        np.testing.assert_allclose(total[~cut], step.neg_efe[~cut], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("selection", ["deterministic", "stochastic"])
@pytest.mark.parametrize("mode", ["full", "marginal"])
def test_the_tmaze_in_every_mode(mode: str, selection: str) -> None:
    options: dict[str, Any] = {"sampling_mode": mode, "action_selection": selection, "alpha": 2.0, "dtype": "float64"}
    assert compare(tmaze(planner="sophisticated", policy_len=2, **options), 3) == 0


@pytest.mark.slow
def test_four_steps_deep() -> None:
    model = tmaze(planner="sophisticated", policy_len=4, dtype="float64")
    step, expected = Engine(model, 1).step([[0, 0, 0]], want=("neg_efe",)), NaiveAgent(model).step([0, 0, 0])
    assert step.neg_efe is not None
    np.testing.assert_allclose(step.neg_efe[0], expected.neg_efe, rtol=1e-12)


def test_what_turns_out_improbable_stays_cut() -> None:
    step = Engine(late_treasure(), 1).step([0], want=("neg_efe",))
    np.testing.assert_allclose(step.neg_efe, [[3.0, 3.0, -512.0]], atol=1e-12)


def test_no_agent_depends_on_those_beside_it() -> None:
    model = tree_model(np.random.default_rng(7013), 13, policy_len=1)
    rng = np.random.default_rng(1)
    rows = np.array([random_observation(rng, model, missing=0.3) for _ in range(70)], dtype=int)
    together = Engine(model, 70).step(rows, want=("q_pi", "neg_efe"))
    alone = Engine(model, 70)
    for i in range(0, 70, 7):
        step = alone.step(rows[[i]], agents=[i], want=("q_pi", "neg_efe"))
        assert step.neg_efe is not None
        assert together.neg_efe is not None
        np.testing.assert_array_equal(step.neg_efe[0], together.neg_efe[i])
        np.testing.assert_array_equal(step.actions[0], together.actions[i])


@pytest.mark.slow
def test_more_actions_and_observations_than_fit_into_a_product() -> None:
    rng = np.random.default_rng(0)
    A = [np.eye(12)] * 10
    B = np.moveaxis(np.eye(12)[rng.integers(0, 12, (12, 30))], -1, 0)
    C = [np.eye(12)[3] * 4] * 10
    model = Model(A, [B], C=C, planner="sophisticated", policy_len=3, dtype="float64")
    assert len(model.policies) == 30
    assert compare(model, 1) == 0


def test_an_absurd_tree_is_refused_by_its_numbers() -> None:
    with pytest.raises(InvalidModel, match=r"51,520,374,361 beliefs"):
        tmaze(planner="sophisticated", policy_len=7)
    with pytest.raises(InvalidModel, match=r"about 10\^"):
        tmaze(planner="sophisticated", policy_len=65_536)
    move = np.full((2, 2, 1_000), 0.5)
    with pytest.raises(InvalidModel, match=r"[\d,]+ MiB for 64 agents"):
        Model([np.full((2, 2, 2), 0.5)], [move, move], planner="sophisticated", policy_len=4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_parameters_per_agent_and_preferences_over_time(seed: int) -> None:
    rng = np.random.default_rng(7500 + seed)
    model = tree_model(rng, seed, sharp=False)
    if seed % 4 < 3:
        model = changed(model, C=[rng.normal(size=(model.policy_len, n)) for n in model.num_obs])
    compare(model, seed, random_per_agent(rng, model, AGENTS))
