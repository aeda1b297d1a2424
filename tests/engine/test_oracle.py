"""The kernels against the slow oracle: random models, forced histories, every kind of input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from beliefd.engine import Engine
from beliefd.model import Model
from beliefd.step import Step
from beliefd_proto.errors import InvalidModel
from models import by_state, changed, grid, random_model, random_per_agent, tmaze, with_counts
from naive import NaiveAgent, NaiveStep

AGENTS = 3
TICKS = 4
PARTS = ("utility", "info_gain", "inductive", "novelty")
WANT = ("beliefs", "q_pi", "neg_efe", "vfe", "gamma", *PARTS)

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


def _observations(rng: np.random.Generator, model: Model) -> list[NDArray[np.floating] | NDArray[np.int64]]:
    entries: list[NDArray[np.floating] | NDArray[np.int64]] = []
    for size in model.num_obs:
        if rng.random() < 0.25:
            entries.append(rng.dirichlet(np.ones(size), AGENTS))
        else:
            indices = rng.integers(0, size, AGENTS)
            indices[rng.random(AGENTS) < 0.2] = -1
            entries.append(indices)
    return entries


def _errors(step: Step, i: int, expected: NaiveStep) -> dict[str, float]:
    assert step.beliefs is not None
    assert step.q_pi is not None
    assert step.neg_efe is not None
    assert step.vfe is not None
    assert step.gamma is not None
    pairs = {
        "beliefs": (np.concatenate([q[i] for q in step.beliefs]), np.concatenate(expected.beliefs)),
        "q_pi": (step.q_pi[i], expected.q_pi),
        "neg_efe": (step.neg_efe[i], expected.neg_efe),
        "vfe": (step.vfe[i], np.float64(expected.vfe)),
        "gamma": (step.gamma[i], np.float64(expected.gamma)),
        **{part: (getattr(step, part)[i], getattr(expected, part)) for part in PARTS},
    }
    return {name: float(np.max(np.abs(a - b) / np.maximum(1.0, np.abs(b)))) for name, (a, b) in pairs.items()}


def _of_agent(per_agent: dict[str, Any], i: int) -> dict[str, Any]:
    """One agent's part, as the oracle takes it."""
    own = {}
    for name, value in per_agent.items():
        if isinstance(value, list):
            own[name] = [None if entry is None else entry[i] for entry in value]
        else:
            own[name] = value[i]
    return own


def _compare(
    model: Model,
    seed: int,
    tolerance: float,
    ticks: int = TICKS,
    atol: float = 1e-30,
    per_agent: dict[str, Any] | None = None,
) -> None:
    rng = np.random.default_rng(seed)
    engine = Engine(model, AGENTS, seed=seed, per_agent=per_agent)
    oracles = [NaiveAgent(model, seed=seed, agent=i, **_of_agent(per_agent or {}, i)) for i in range(AGENTS)]
    executed = None
    for _ in range(ticks):
        observations = _observations(rng, model)
        reset = rng.random(AGENTS) < 0.15
        step = engine.step(observations, reset=reset, executed_actions=executed, want=WANT)
        for i, oracle in enumerate(oracles):
            told = None if executed is None else executed[i]
            expected = oracle.step(
                [entry[i] for entry in observations], bool(reset[i]), executed=told, force=step.actions[i]
            )
            for name, error in _errors(step, i, expected).items():
                assert error <= tolerance, (name, i)
            assert tuple(step.actions[i].tolist()) in expected.ties
            if model.dtype == "float64":
                assert tuple(step.actions[i].tolist()) == expected.action
        for name, arrays in engine.parameters().items():
            parts = [arrays] if name == "pE" else arrays
            for part, array in enumerate(parts):
                for i, oracle in enumerate(oracles):
                    if array is not None:
                        counts = oracle.model.pE if name == "pE" else getattr(oracle.model, name)[part]
                        np.testing.assert_allclose(array[i], counts, rtol=tolerance, atol=atol)
        executed = np.stack([rng.integers(0, n, AGENTS) for n in model.num_controls], axis=1)
        executed[rng.random(executed.shape) < 0.5] = -1


@pytest.mark.parametrize("seed", range(40))
def test_random_models(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    model = random_model(rng, dtype=dtype, sharp=sharp, coupled=True if seed % 5 == 0 else None)
    _compare(model, seed, TOLERANCE[dtype])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_preferences_that_depend_on_states(seed: int) -> None:
    rng = np.random.default_rng(9000 + seed)
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    profile = ("pymdp", "legacy", "spm")[seed % 3]
    model = by_state(rng, random_model(rng, dtype=dtype, sharp=sharp, profile=profile))
    if seed % 4 > 1:
        model = with_counts(rng, model, pC=None)
    per_agent = random_per_agent(rng, model, AGENTS) if seed % 5 == 0 else None
    if per_agent is not None:
        states = model.C_dependencies
        per_agent["C"] = [None if of else C for C, of in zip(per_agent["C"], states, strict=True)]
    _compare(model, seed, TOLERANCE[dtype], per_agent=per_agent)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["legacy", "spm"])
@pytest.mark.parametrize("seed", range(12))
def test_beliefs_under_each_policy(seed: int, profile: str) -> None:
    rng = np.random.default_rng(9500 + seed)
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    options = {"inference_algo": "mmp", "inference_horizon": 1 + seed % 4, "profile": profile}
    if seed % 3 == 2:
        options["update_gamma"] = True
    while True:
        model = random_model(rng, dtype=dtype, sharp=sharp, coupled=False, **options)
        if len(model.policies) <= 16:
            break
    _compare(model, seed, TOLERANCE[dtype], ticks=6)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["legacy", "spm"])
@pytest.mark.parametrize("seed", range(12))
def test_goals_time_and_several_parents_under_each_policy(seed: int, profile: str) -> None:
    rng = np.random.default_rng(9700 + seed)
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    options = {"inference_algo": "mmp", "inference_horizon": 1 + seed % 4, "profile": profile}
    while True:
        model = random_model(rng, dtype=dtype, sharp=sharp, coupled=seed % 3 != 0, **options)
        if len(model.policies) <= 16:
            break
    learned = {f"learn_{letter}": seed % 4 == 3 for letter in "ABDE"}
    model = with_counts(rng, model, use_inductive=seed % 2 == 0, **learned)
    if seed % 3 == 1:
        model = changed(model, pC=None, C=[rng.normal(size=(model.policy_len + 1, n)) for n in model.num_obs])
    per_agent = random_per_agent(rng, model, AGENTS) if seed % 4 == 1 else None
    _compare(model, seed, TOLERANCE[dtype], ticks=6, per_agent=per_agent)


def test_preferences_by_state_are_the_same_for_all_agents() -> None:
    model = Model([np.eye(2)], [np.eye(2)[:, :, np.newaxis]], C=[np.zeros((2, 2))], C_dependencies=[[0]])
    with pytest.raises(InvalidModel, match="does not do that yet") as caught:
        Engine(model, AGENTS, per_agent={"C": [np.zeros((AGENTS, 2, 2))]})
    assert caught.value.field == "C_dependencies[0]"


@pytest.mark.parametrize("selection", ["deterministic", "stochastic"])
@pytest.mark.parametrize("mode", ["full", "marginal"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_tmaze_in_every_mode(dtype: str, mode: str, selection: str) -> None:
    model = tmaze(dtype=dtype, sampling_mode=mode, action_selection=selection, alpha=2.0)
    _compare(model, 3, 1e-9 if dtype == "float64" else 1e-4)


def test_terms_can_be_switched_off() -> None:
    for utility, gain in ((True, False), (False, True), (False, False)):
        _compare(tmaze(dtype="float64", use_utility=utility, use_states_info_gain=gain), 5, 1e-9)


def test_a_model_with_one_policy_and_a_grid() -> None:
    _compare(grid(3, policy_len=2, dtype="float64"), 1, 1e-9)
    watcher = random_model(np.random.default_rng(5), control_fac_idx=[], policy_len=1, E=None)
    _compare(watcher, 2, 1e-9)


def test_draws_follow_q_pi() -> None:
    model = tmaze(dtype="float32", action_selection="stochastic", sampling_mode="marginal", gamma=0.5)
    agents = 20_000
    step = Engine(model, agents, seed=4).step(np.zeros((agents, 3), dtype=int), want=("q_pi",))
    assert step.q_pi is not None
    expected = step.q_pi[0].reshape(4, 4).sum(axis=1)
    found = np.bincount(step.actions[:, 0], minlength=4) / agents
    # Five standard deviations of a frequency.
    assert np.abs(found - expected).max() < 5 * np.sqrt(0.25 / agents)


@pytest.mark.parametrize("seed", range(30))
def test_learning(seed: int) -> None:
    rng = np.random.default_rng(2000 + seed)
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    algo = "mmp" if seed % 6 == 5 else "fpi"
    model = random_model(
        rng,
        dtype=dtype,
        sharp=sharp,
        coupled=True if seed % 5 == 0 else None,
        inference_algo=algo,
        inference_horizon=2,
    )
    learned = {f"learn_{letter}": bool(rng.random() < 0.7) for letter in "ABCDE"}
    rates = {f"lr_p{letter}": float(rng.uniform(0.1, 2.0)) for letter in "ABCDE"}
    kept = {f"fr_p{letter}": float(rng.choice([1.0, 0.9])) for letter in "ABCDE"}
    model = with_counts(rng, model, **learned, **rates, **kept, keep_zeros=bool(rng.random() < 0.5))
    _compare(model, seed, TOLERANCE[dtype])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_learning_of_some_modalities_and_factors(seed: int) -> None:
    rng = np.random.default_rng(2500 + seed)
    dtype, algo = ("float64", "float32")[seed % 2], ("fpi", "mmp", "vmp")[seed % 3]
    model = random_model(rng, dtype=dtype, inference_algo=algo, inference_horizon=3)

    def some(count: int) -> list[int]:
        return sorted(int(i) for i in rng.permutation(count)[: rng.integers(0, count + 1)])

    learned = {"learn_A": some(len(model.A)), "learn_B": some(len(model.B)), "learn_D": some(len(model.D))}
    _compare(with_counts(rng, model, **learned, learn_E=False), seed, TOLERANCE[dtype], ticks=6)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["pymdp", "legacy", "spm"])
@pytest.mark.parametrize("seed", range(16))
def test_novelty(seed: int, profile: str) -> None:
    rng = np.random.default_rng([6000, seed, len(profile)])
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    coupled = True if seed % 5 == 0 else None
    model = random_model(rng, dtype=dtype, sharp=sharp, coupled=coupled, inference_algo="fpi", profile=profile)
    learned = {f"learn_{letter}": bool(rng.random() < 0.5) for letter in "ABD"}
    model = with_counts(rng, model, **learned, learn_E=False, use_param_info_gain=True)
    if seed % 4 == 3:
        missing = "AB"[seed // 4 % 2]
        model = changed(model, **{f"p{missing}": None, f"learn_{missing}": False})
    _compare(model, seed, TOLERANCE[dtype])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_goals_and_preferences_over_time(seed: int) -> None:
    rng = np.random.default_rng(3000 + seed)
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    model = random_model(rng, dtype=dtype, sharp=sharp, inference_algo="fpi")
    model = with_counts(rng, model, learn_A=False, learn_B=False, learn_D=False, learn_E=False, use_inductive=True)
    model = changed(model, pC=None, C=[rng.normal(size=(model.policy_len, n)) for n in model.num_obs])
    _compare(model, seed, TOLERANCE[dtype])


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["legacy", "spm"])
@pytest.mark.parametrize("seed", range(24))
def test_profiles(seed: int, profile: str) -> None:
    rng = np.random.default_rng(5000 + seed)
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    coupled = True if seed % 5 == 0 else None
    window = {"inference_algo": ("fpi", "vmp")[seed // 4 % 2], "inference_horizon": 1 + seed % 3}
    model = random_model(rng, dtype=dtype, sharp=sharp, coupled=coupled, profile=profile, **window)
    if seed % 3 == 0:
        learned = {f"learn_{letter}": bool(rng.random() < 0.7) for letter in "ABCDE"}
        model = with_counts(rng, model, **learned)
    _compare(model, seed, TOLERANCE[dtype])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_parameters_per_agent(seed: int) -> None:
    rng = np.random.default_rng(6000 + seed)
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    profile = ("pymdp", "pymdp", "legacy", "spm")[seed // 4 % 4]
    coupled = True if seed % 5 == 0 else None
    algo = ("fpi", "mmp", "vmp")[seed % 3] if profile == "pymdp" else ("fpi", "vmp")[seed // 2 % 2]
    model = random_model(
        rng, dtype=dtype, sharp=sharp, coupled=coupled, profile=profile, inference_algo=algo, inference_horizon=3
    )
    if seed % 4 < 2:
        learned = {f"learn_{letter}": bool(rng.random() < 0.7) for letter in "ABCDE"}
        options = {"keep_zeros": bool(rng.random() < 0.5), "use_param_info_gain": bool(rng.random() < 0.5)}
        # 1 / a of a zero that has just begun to grow is so large that rounding alone decides between policies.
        options["use_param_info_gain"] &= profile == "pymdp" or options["keep_zeros"]
        model = with_counts(rng, model, **learned, **options)
    _compare(model, seed, TOLERANCE[dtype], per_agent=random_per_agent(rng, model, AGENTS))


@pytest.mark.parametrize("mode", ["full", "marginal"])
def test_legacy_draws_among_ties(mode: str) -> None:
    model = tmaze(dtype="float32", profile="legacy", sampling_mode=mode, preference=0.0, use_states_info_gain=False)
    agents = 8_000
    step = Engine(model, agents, seed=4).step(np.zeros((agents, 3), dtype=int))
    frequencies = np.bincount(step.actions[:, 0], minlength=4) / agents
    assert np.abs(frequencies - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / agents)
    assert (Engine(model, agents, seed=4).step(np.zeros((agents, 3), dtype=int)).actions == step.actions).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_controls_that_move_several_factors_or_none(seed: int) -> None:
    rng = np.random.default_rng(4000 + seed)
    dtype = ("float64", "float32")[seed % 2]
    states, obs, actions, moved_by = (3, 2, 4), (3, 4), (2, 3), ([0, 1], [], [1])
    dependencies = [[0, 1], [1], [2]]
    B = [
        np.moveaxis(rng.dirichlet(np.ones(n), [*(states[p] for p in parents), *(actions[c] for c in by)]), -1, 0)
        for n, parents, by in zip(states, dependencies, moved_by, strict=True)
    ]
    A = [np.moveaxis(rng.dirichlet(np.ones(n), states), -1, 0) for n in obs]
    model = Model(
        A,
        B,
        C=[rng.normal(size=n) for n in obs],
        B_dependencies=dependencies,
        B_action_dependencies=moved_by,
        policy_len=2,
        sampling_mode=("full", "marginal")[seed // 2 % 2],
        action_selection=("deterministic", "stochastic")[seed // 4 % 2],
        control_fac_idx=[0] if seed % 3 == 0 else None,
        profile=("pymdp", "legacy", "spm")[seed % 3],
        dtype=dtype,
    )
    assert len(model.policies) == (4 if seed % 3 == 0 else 36)
    _compare(model, seed, TOLERANCE[dtype], per_agent=random_per_agent(rng, model, AGENTS) if seed % 4 == 1 else None)
