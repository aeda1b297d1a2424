"""The oracle itself: against pymdp's outputs, against Bayes' rule by enumeration, and on its choices."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from beliefd.model import Model
from models import random_model, random_observation
from naive import ACTION, FLOOR, RTOL, L, NaiveAgent, choose, philox4x32, predicted, select_action, softmax, uniform

REFERENCE = Path(__file__).parent / "references" / "pymdp-1.0.4.npz"
seeds = st.integers(0, 2**32 - 1)

# The oracle is slow and a test machine may be busy: no example is held against the clock.
unhurried = settings(deadline=None, max_examples=50)


@functools.cache
def reference_cases() -> list[tuple[Model, dict[str, NDArray[Any]]]]:
    with np.load(REFERENCE, allow_pickle=False) as file:
        arrays = dict(file)
    cases = []
    for n, spec in enumerate(json.loads(str(arrays["spec"]))):
        mine = {name.split("/", 1)[1]: array for name, array in arrays.items() if name.startswith(f"case{n}/")}
        tensors = {name: mine.pop(name) for name in list(mine) if name in ("E", "policies") or name[:1] in "ABCD"}
        cases.append((Model.from_parts(spec, tensors), mine))
    return cases


def test_reference_covers_what_it_should() -> None:
    models = [model for model, _ in reference_cases()]
    assert len(models) == 31
    assert {len(model.B) for model in models} == {1, 2, 3}
    assert {len(model.A) for model in models} == {1, 2, 3}
    assert {model.policy_len for model in models} == {1, 2, 3}
    coupled = [model for model in models if any(len(parents) > 1 for parents in model.B_dependencies)]
    assert len(coupled) >= 6
    assert sum(any((A == 0.0).any() for A in model.A) for model in models) >= 10
    assert REFERENCE.stat().st_size < 1_500_000


@pytest.mark.slow
@pytest.mark.parametrize("case", range(31))
def test_agrees_with_pymdp(case: int) -> None:
    model, reference = reference_cases()[case]
    agent = NaiveAgent(model)
    for t in range(len(reference["forced"])):
        # All zeros stand for a missing observation.
        given_now = [reference[f"given/{m}"][t] for m in range(len(model.A))]
        step = agent.step([p if p.any() else None for p in given_now], force=reference["forced"][t])
        for f, q in enumerate(step.beliefs):
            np.testing.assert_allclose(q, reference[f"beliefs/{f}"][t], rtol=0, atol=1e-9)
        np.testing.assert_allclose(step.q_pi, reference["q_pi"][t], rtol=0, atol=1e-9)
        np.testing.assert_allclose(step.neg_efe, reference["neg_efe"][t], rtol=0, atol=1e-9)
        assert step.vfe == pytest.approx(reference["vfe"][t], abs=1e-9)


def test_floor_is_the_epsilon_of_float64() -> None:
    assert np.finfo(np.float64).eps == FLOOR
    assert L(np.array([0.0]))[0] == pytest.approx(-36.04365338911715, abs=1e-14)


@unhurried
@given(seeds)
def test_one_factor_is_bayes_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = one_factor(rng)
    agent = NaiveAgent(model)
    joint = model.D[0]
    for _ in range(4):
        o = int(rng.integers(model.num_obs[0]))
        step = agent.step([o])
        joint = joint * model.A[0][o]
        np.testing.assert_allclose(step.beliefs[0], joint / joint.sum(), atol=1e-12)
        # With the exact posterior, free energy is surprise.
        assert step.vfe == pytest.approx(-math.log(joint.sum()), abs=1e-10)
        joint = model.B[0][:, :, agent.kept[0]] @ (joint / joint.sum())


def one_factor(rng: np.random.Generator, **options: Any) -> Model:
    A = rng.dirichlet(np.ones(3), 4).T
    B = np.moveaxis(rng.dirichlet(np.ones(4), (4, 3)), -1, 0)
    return Model([A], [B], C=[rng.normal(size=3)], **({"policy_len": 2, "dtype": "float64"} | options))


@unhurried
@given(seeds)
def test_expected_free_energy_by_enumeration_of_states_and_observations(seed: int) -> None:
    model = one_factor(np.random.default_rng(seed))
    step = NaiveAgent(model).step([0])
    A, B, C = model.A[0], model.B[0], model.C[0]
    for policy, found in zip(model.policies, step.neg_efe, strict=True):
        q, total = step.beliefs[0], 0.0
        for (u,) in policy:
            q = B[:, :, u] @ q
            for o, s in itertools.product(range(3), range(4)):
                joint = A[o, s] * q[s]
                total += joint * (C[o] + math.log(joint / (q[s] * (A[o] @ q))))
        assert found == pytest.approx(total, abs=1e-10)


@pytest.mark.slow
@unhurried
@given(seeds, st.booleans())
def test_terms_of_the_expected_free_energy_add_up(seed: int, sharp: bool) -> None:
    def neg_efe(**options: bool) -> NDArray[np.float64]:
        model = random_model(np.random.default_rng(seed), sharp=sharp, **options)
        return NaiveAgent(model).step([0] * len(model.A)).neg_efe

    both = neg_efe()
    utility = neg_efe(use_states_info_gain=False)
    gain = neg_efe(use_utility=False)
    np.testing.assert_allclose(both, utility + gain, atol=1e-12)
    assert (gain >= -1e-12).all()
    assert not neg_efe(use_utility=False, use_states_info_gain=False).any()


@pytest.mark.slow
@unhurried
@given(seeds, st.booleans())
def test_a_distribution_on_one_index_is_that_index(seed: int, sharp: bool) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng, sharp=sharp)
    observation = random_observation(rng, model)
    by_index = NaiveAgent(model).step(observation)
    by_distribution = NaiveAgent(model).step([np.eye(n)[o] for n, o in zip(model.num_obs, observation, strict=True)])
    np.testing.assert_allclose(by_distribution.q_pi, by_index.q_pi, atol=1e-13)
    assert by_distribution.vfe == pytest.approx(by_index.vfe, abs=1e-10)


@pytest.mark.slow
@unhurried
@given(seeds)
def test_without_observations_beliefs_are_the_prior(seed: int) -> None:
    model = random_model(np.random.default_rng(seed))
    agent = NaiveAgent(model)
    for missing in (-1, None):
        step = agent.step([missing] * len(model.A))
        for q, prior in zip(step.beliefs, step.prior, strict=True):
            np.testing.assert_allclose(q, prior, atol=1e-12)
        assert step.vfe == pytest.approx(0.0, abs=1e-12)


@pytest.mark.slow
@unhurried
@given(seeds)
def test_prior_comes_from_what_was_done(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng)
    agent = NaiveAgent(model)
    observation = random_observation(rng, model)
    actions = [tuple(int(rng.integers(n)) for n in model.num_controls) for _ in range(2)]

    first = agent.step(observation, executed=actions[0])
    same(first.prior, list(model.D))
    own = agent.step(observation, force=actions[0])
    same(own.prior, predicted(model, first.beliefs, first.action))
    forced = agent.step(observation)
    same(forced.prior, predicted(model, own.beliefs, actions[0]))
    executed = agent.step(observation, executed=actions[1])
    same(executed.prior, predicted(model, forced.beliefs, actions[1]))
    reset = agent.step(observation, reset=True, executed=actions[1])
    same(reset.prior, list(model.D))
    assert agent.tick == 5


def same(found: list[NDArray[np.float64]], expected: list[NDArray[np.float64]]) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


class TestSelection:
    def choose(self, q_pi: Any, *, tick: int = 1, **options: Any) -> tuple[tuple[int, ...], Any]:
        """Selects among the policies (u0, u1) of two factors of two actions, last index fastest."""
        B = np.full((2, 2, 2), 0.5)
        model = Model([np.full((2, 2, 2), 0.5)], [B, B], **({"dtype": "float64"} | options))
        x = L(np.asarray(q_pi, dtype=np.float64))
        return select_action(model, x, softmax(x), seed=1, agent=2, tick=tick)

    def test_full_takes_the_best_policy(self) -> None:
        assert self.choose([0.1, 0.2, 0.4, 0.3]) == ((1, 0), {(1, 0)})

    def test_marginal_sums_by_first_action(self) -> None:
        assert self.choose([0.0, 0.4, 0.35, 0.25], sampling_mode="marginal") == ((1, 1), {(1, 1)})

    def test_first_within_the_tolerance_wins(self) -> None:
        for dtype, rtol in RTOL.items():
            near = 0.3 * math.exp(-0.5 * rtol)
            off = 0.3 * math.exp(-3 * rtol)
            assert self.choose([0.1, near, 0.3, 0.3], dtype=dtype) == ((0, 1), {(0, 1), (1, 0), (1, 1)})
            assert self.choose([0.1, off, 0.3, 0.3], dtype=dtype) == ((1, 0), {(1, 0), (1, 1)})

    def test_marginal_ties_are_per_factor(self) -> None:
        action, ties = self.choose([0.25, 0.25, 0.25, 0.25], sampling_mode="marginal")
        assert action == (0, 0)
        assert ties == set(itertools.product((0, 1), (0, 1)))

    def test_uncontrolled_factor_reports_action_0(self) -> None:
        assert self.choose([0.2, 0.8], sampling_mode="marginal", control_fac_idx=[1])[0] == (0, 1)
        assert self.choose([0.2, 0.8], control_fac_idx=[1])[0] == (0, 1)

    @pytest.mark.slow
    @pytest.mark.parametrize("sampling_mode", ["full", "marginal"])
    def test_frequencies_of_draws(self, sampling_mode: str) -> None:
        # Two factors chosen independently with p = (0.8, 0.2) and (0.3, 0.7), sharpened by alpha = 2.
        q_pi = np.outer([0.8, 0.2], [0.3, 0.7]).ravel()
        draws = 4000
        found = Counter(
            self.choose(q_pi, tick=t, action_selection="stochastic", sampling_mode=sampling_mode, alpha=2.0)[0]
            for t in range(draws)
        )
        expected = np.outer([0.64, 0.04], [0.09, 0.49]).ravel()
        expected /= expected.sum()
        for action, p in zip(itertools.product((0, 1), (0, 1)), expected, strict=True):
            assert found[action] / draws == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / draws))

    def test_a_draw_inverts_the_running_sum(self) -> None:
        for tick in range(50):
            u = uniform(1, 2, tick, ACTION, 0)
            expected = int(np.searchsorted(np.cumsum([0.1, 0.2, 0.4, 0.3]), u, side="right"))
            action, _ = self.choose([0.1, 0.2, 0.4, 0.3], tick=tick, action_selection="stochastic")
            assert action == (expected // 2, expected % 2)

    @pytest.mark.parametrize(
        ("p", "draw", "expected"),
        [
            ([0.5, 0.5], 0.0, 0),
            ([0.5, 0.5], 0.5 - 2**-53, 0),
            ([0.5, 0.5], 0.5, 1),
            ([0.0, 1.0], 0.0, 1),
            ([1.0, 0.0], 1.0, 0),
        ],
    )
    def test_the_edges_of_the_running_sum(self, p: list[float], draw: float, expected: int) -> None:
        # The last row stands for a target that rounding lifted to the sum itself. alpha = 40 makes exp(-36 alpha) 0.
        model = Model([np.eye(2)], [np.full((2, 2, 2), 0.5)], action_selection="stochastic", alpha=40.0)
        weights = L(np.array(p))
        assert choose(model, weights, weights, 0.0, draw)[0] == expected

    def test_a_draw_near_an_edge_ties_with_its_neighbour(self) -> None:
        model = Model([np.eye(2)], [np.full((2, 2, 2), 0.5)], action_selection="stochastic")
        weights = L(np.array([0.5, 0.5]))
        for draw, expected in (
            (0.25, (0, [0])),
            (0.5 - 1e-6, (0, [0, 1])),
            (0.5 + 1e-6, (1, [0, 1])),
            (0.75, (1, [1])),
        ):
            assert choose(model, weights, weights, 1e-5, draw) == expected

    @unhurried
    @given(seeds, st.booleans(), st.sampled_from(["float32", "float64"]))
    def test_ties_hold_the_action_and_are_possible(self, seed: int, sharp: bool, dtype: str) -> None:
        rng = np.random.default_rng(seed)
        model = random_model(rng, sharp=sharp, dtype=dtype)
        step = NaiveAgent(model, seed=seed).step(random_observation(rng, model, missing=0.2, categorical=0.2))
        assert step.action in step.ties
        first = {tuple(policy[0].tolist()) for policy in model.policies}
        assert step.ties <= set(itertools.product(*(sorted({a[f] for a in first}) for f in range(len(model.B)))))
        if model.sampling_mode == "full":
            assert step.ties <= first


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter: str, key: str, expected: str) -> None:
    # From the known answers of the Random123 distribution (Salmon et al. 2011).
    def words(text: str) -> tuple[int, ...]:
        return tuple(int(word, 16) for word in text.split())

    assert philox4x32(words(counter), words(key)) == words(expected)


def test_every_part_of_a_draws_name_matters() -> None:
    base = (2**33 + 1, 7, 2**32 + 5, ACTION, 0)
    others = [(2**33 + 2, 7, 2**32 + 5, 1, 0), (1, 7, 2**32 + 5, 1, 0), (2**33 + 1, 8, 2**32 + 5, 1, 0)]
    others += [(2**33 + 1, 7, 5, 1, 0), (2**33 + 1, 7, 2**32 + 6, 1, 0), (2**33 + 1, 7, 2**32 + 5, 2, 0)]
    others += [(2**33 + 1, 7, 2**32 + 5, 1, 1)]
    draws = [uniform(*name) for name in (base, *others)]
    assert len(set(draws)) == len(draws)
    assert all(0.0 <= u < 1.0 for u in draws)
    assert uniform(0, 0, 0, 0, 0) == ((0x6627E8D5 >> 5) * 2**26 + (0xE169C58D >> 6)) / 2**53
