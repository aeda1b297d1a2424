"""Beliefs under each policy: reads give what steps gave, alone or among others; what is refused; what it is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from beliefd.engine import Engine
from beliefd.model import Model
from beliefd_proto.errors import InvalidModel
from models import changed, random_model, tmaze, with_counts

AGENTS = 70
WANT = ("beliefs", "q_pi", "neg_efe", "vfe", "gamma", "utility", "info_gain", "novelty", "inductive")


def _model(seed: int, **options: Any) -> Model:
    rng = np.random.default_rng(seed)
    window = {"inference_algo": "mmp", "inference_horizon": 3, "profile": ("legacy", "spm")[seed % 2]}
    while True:
        model = random_model(rng, dtype="float32", coupled=False, **window)
        if len(model.policies) <= 16:
            return with_counts(rng, model, learn_E=seed % 4 == 3, **options)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_read_is_what_the_step_gave(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = _model(seed, update_gamma=seed % 2 == 0, use_inductive=seed > 1)
    engine = Engine(model, AGENTS)
    for _ in range(6):
        observations = [rng.integers(-1, n, AGENTS) for n in model.num_obs]
        step = engine.step(observations, reset=rng.random(AGENTS) < 0.2, want=WANT)
        some = rng.permutation(AGENTS)[:9]
        read = engine.read(agents=some, want=WANT)
        for name in WANT[1:]:
            np.testing.assert_array_equal(getattr(read, name), getattr(step, name)[some], err_msg=name)


@pytest.mark.parametrize("seed", range(4))
def test_an_agent_is_the_same_alone_and_among_others_of_any_age(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = _model(seed, update_gamma=True)
    together, alone = Engine(model, AGENTS), Engine(model, AGENTS)
    for tick in range(5):
        stepped = np.flatnonzero(rng.random(AGENTS) < 0.6) if tick else np.arange(3)
        observations = np.stack([rng.integers(-1, n, len(stepped)) for n in model.num_obs], axis=1)
        step = together.step(observations, agents=stepped, want=WANT)
        for i, agent in enumerate(stepped[:4]):
            one = alone.step(observations[i : i + 1], agents=[agent], want=WANT)
            for name in WANT[1:]:
                np.testing.assert_array_equal(getattr(one, name)[0], getattr(step, name)[i], err_msg=name)
        others = stepped[4:]
        if len(others):
            alone.step(observations[4:], agents=others)
        everyone = together.read(want=("q_pi", "neg_efe"))
        for agent in rng.permutation(AGENTS)[:5]:  # most of them at other ticks than those beside them
            read = alone.read(agents=[agent], want=("q_pi", "neg_efe"))
            np.testing.assert_array_equal(read.q_pi[0], everyone.q_pi[agent])
            np.testing.assert_array_equal(read.neg_efe[0], everyone.neg_efe[agent])


def _stayer(wanted: int, **options: Any) -> Model:
    """What is observed may speak for staying, wherever one is; G is for one of the two states."""
    away = np.full((2, 2), 0.5)
    return Model(
        A=[[[0.9, 0.1], [0.1, 0.9]]],
        B=[np.stack([np.eye(2), away], axis=-1)],
        C=[2.0 * np.eye(2)[wanted]],
        inference_algo="mmp",
        inference_horizon=3,
        num_iter=4,
        profile="spm",
        dtype="float64",
        **options,
    )


def _confidence(wanted: int, **options: Any) -> float:
    """The probability of the policy that G is for. What was observed speaks for staying."""
    engine = Engine(_stayer(wanted, **options), 1)
    for _ in range(3):
        step = engine.step([1], executed_actions=[[0]], want=("q_pi", "neg_efe"))
    assert step.q_pi is not None
    assert step.neg_efe is not None
    return float(step.q_pi[0, step.neg_efe[0].argmax()])


def test_precision_is_told_from_before_the_first_step_on() -> None:
    own = np.linspace(0.5, 3.0, 8)
    for per_agent, first in ((None, np.full(8, 2.0)), ({"gamma": own}, own)):
        engine = Engine(_stayer(1, update_gamma=True, gamma=2.0), 8, per_agent=per_agent)
        some, staying = np.arange(5), np.zeros((5, 1), int)
        before = engine.read(want=("gamma",)).gamma
        assert before is not None
        np.testing.assert_allclose(before, first)
        told = [
            engine.step(np.ones(5, int), agents=some, executed_actions=staying, want=("gamma",)).gamma for _ in range(3)
        ]
        after = engine.read(want=("gamma",)).gamma
        assert after is not None
        np.testing.assert_array_equal(after[some], told[-1])
        np.testing.assert_array_equal(after[5:], before[5:])
        assert (after[some] > before[some] + 1e-3).all()
        again = engine.step(np.ones(5, int), agents=some, reset=np.ones(5, bool), want=("gamma",))
        np.testing.assert_array_equal(again.gamma, told[0])


def test_precision_grows_where_observations_agree_with_g_and_falls_where_not() -> None:
    assert _confidence(1, update_gamma=True) > _confidence(1) + 1e-3
    assert _confidence(0, update_gamma=True) < _confidence(0) - 1e-3


def test_what_it_cannot_do_is_refused_by_name() -> None:
    window = {"inference_algo": "mmp", "inference_horizon": 3, "profile": "legacy"}
    with pytest.raises(InvalidModel) as caught:
        tmaze(**window, planner="sophisticated")
    assert caught.value.field == "planner"
    with pytest.raises(InvalidModel) as caught:
        Engine(tmaze(**window | {"inference_horizon": 4096}, policy_len=6), 1)
    assert caught.value.field == "policies"
    with pytest.raises(InvalidModel) as caught:
        tmaze(update_gamma=True)
    assert caught.value.field == "update_gamma"
    with pytest.raises(InvalidModel) as caught:
        changed(tmaze(**window, policy_len=2), C=[np.zeros((2, n)) for n in (4, 3, 2)])
    assert caught.value.field == "C[0]"
