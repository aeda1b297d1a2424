"""What must not matter: the names of states, policies and agents, and whether agents were ever stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from algorithms import ALGORITHMS, model_of, own_of
from beliefd.engine import Engine
from beliefd.model import Model
from beliefd.step import Step
from models import changed, random_model, random_per_agent, with_counts

AGENTS = 70
TICKS = 6
WANT = ("beliefs", "q_pi", "neg_efe", "vfe")
SEEDS = range(8)


def untied_model(seed: int, **options: Any) -> Model:
    """Dense and in float64, so that nothing ties and rounding decides nothing."""
    rng = np.random.default_rng(7000 + seed)
    options = {"dtype": "float64", "action_selection": "deterministic", "policies": None} | options
    model = random_model(rng, coupled=None if seed % 2 else True, **options)
    if seed % 2:
        model = with_counts(rng, model, learn_E=False, keep_zeros=False)
    return model


def history(rng: np.random.Generator, model: Model, agents: int, ticks: int = TICKS) -> list[dict[str, Any]]:
    return [
        {
            "observations": np.stack([rng.integers(-1, n, agents) for n in model.num_obs], axis=1),
            "reset": rng.random(agents) < 0.2,
            "executed_actions": np.stack([rng.integers(-1, n, agents) for n in model.num_controls], axis=1),
        }
        for _ in range(ticks)
    ]


def bits(step: Step) -> list[bytes]:
    assert step.beliefs is not None
    arrays = [step.actions, step.tick, *step.beliefs, step.q_pi, step.neg_efe, step.vfe]
    return [array.tobytes() for array in arrays if array is not None]


def permuted_states(rng: np.random.Generator, model: Model) -> tuple[Model, list[NDArray[np.int64]]]:
    """The same model, its states in another order."""
    orders = [rng.permutation(n) for n in model.num_states]

    def moved(tensor: NDArray[np.float64] | None, factors: list[int], first_axis: int) -> NDArray[np.float64] | None:
        for axis, f in enumerate(factors, start=first_axis):
            tensor = None if tensor is None else np.take(tensor, orders[f], axis)
        return tensor

    changes: dict[str, Any] = {}
    for name in ("A", "pA"):
        arrays = getattr(model, name)
        if arrays is not None:
            changes[name] = [moved(a, list(d), 1) for a, d in zip(arrays, model.A_dependencies, strict=True)]
    for name in ("B", "pB"):
        arrays = getattr(model, name)
        if arrays is not None:
            pairs = zip(arrays, model.B_dependencies, strict=True)
            changes[name] = [moved(a, [f, *d], 0) for f, (a, d) in enumerate(pairs)]
    for name in ("D", "pD", "H"):
        arrays = getattr(model, name)
        if arrays is not None:
            changes[name] = [moved(a, [f], 0) for f, a in enumerate(arrays)]
    return changed(model, **changes), orders


@pytest.mark.parametrize("algo", ["fpi", "mmp", "vmp"])
@pytest.mark.parametrize("seed", SEEDS)
def test_states_in_another_order_give_beliefs_in_that_order(seed: int, algo: str) -> None:
    model = untied_model(seed, inference_algo=algo, inference_horizon=3)
    rng = np.random.default_rng(seed)
    other, orders = permuted_states(rng, model)
    first, second = Engine(model, AGENTS), Engine(other, AGENTS)
    for inputs in history(rng, model, AGENTS):
        a, b = first.step(**inputs, want=WANT), second.step(**inputs, want=WANT)
        assert a.beliefs is not None
        assert b.beliefs is not None
        for f, order in enumerate(orders):
            np.testing.assert_allclose(b.beliefs[f], a.beliefs[f][:, order], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(b.neg_efe, a.neg_efe, rtol=1e-8, atol=1e-8)
        np.testing.assert_array_equal(b.actions, a.actions)


@pytest.mark.parametrize("profile", ["pymdp", "legacy", "spm"])
@pytest.mark.parametrize("seed", SEEDS)
def test_policies_in_another_order_give_their_worth_in_that_order(seed: int, profile: str) -> None:
    model = untied_model(seed, inference_algo="fpi", profile=profile)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(model.policies))
    pE = None if model.pE is None else model.pE[order]
    other = changed(model, policies=model.policies[order], E=model.E[order], pE=pE)
    first, second = Engine(model, AGENTS), Engine(other, AGENTS)
    for inputs in history(rng, model, AGENTS):
        a, b = first.step(**inputs, want=WANT), second.step(**inputs, want=WANT)
        assert a.q_pi is not None
        assert a.neg_efe is not None
        np.testing.assert_allclose(b.q_pi, a.q_pi[:, order], rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(b.neg_efe, a.neg_efe[:, order], rtol=1e-8, atol=1e-8)
        np.testing.assert_array_equal(b.actions, a.actions)


@pytest.mark.parametrize("algo", ["fpi", "mmp", "vmp"])
@pytest.mark.parametrize("seed", SEEDS)
def test_agents_in_another_order_give_the_same_bits_in_that_order(seed: int, algo: str) -> None:
    """Not their draws, which are those of their numbers."""
    model = untied_model(seed, inference_algo=algo, inference_horizon=3)
    rng = np.random.default_rng(seed)
    order = rng.permutation(AGENTS)
    per_agent = random_per_agent(rng, model, AGENTS)

    def moved(value: Any) -> Any:
        return [None if v is None else v[order] for v in value] if isinstance(value, list) else value[order]

    first = Engine(model, AGENTS, per_agent=per_agent)
    second = Engine(model, AGENTS, per_agent={name: moved(value) for name, value in per_agent.items()})
    for inputs in history(rng, model, AGENTS):
        a = first.step(**inputs, want=WANT)
        b = second.step(**{name: value[order] for name, value in inputs.items()}, want=WANT)
        assert a.beliefs is not None
        assert b.beliefs is not None
        for q, p in zip(b.beliefs, a.beliefs, strict=True):
            np.testing.assert_array_equal(q, p[order])
        for name in ("q_pi", "neg_efe", "vfe", "actions"):
            np.testing.assert_array_equal(getattr(b, name), getattr(a, name)[order])


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_agents_that_were_stopped_go_on_as_if_they_had_not_been(name: str, own: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(len(name) + own)
    model = model_of(name, rng)
    per_agent = own_of(name, rng, model, 20) if own else None
    never = Engine(model, 20, seed=5, per_agent=per_agent)
    for inputs in history(rng, model, 20, ticks=8):
        with Engine(model, 20, seed=5, data=tmp_path, per_agent=per_agent) as stopped:
            read = stopped.read(want=("beliefs", "q_pi"))
            expected = never.read(want=("beliefs", "q_pi"))
            np.testing.assert_array_equal(read.q_pi, expected.q_pi)
            assert bits(stopped.step(**inputs, want=WANT)) == bits(never.step(**inputs, want=WANT))
            for letter, arrays in stopped.parameters().items():
                for array, other in zip(arrays, never.parameters()[letter], strict=True):
                    np.testing.assert_array_equal(array, other)
