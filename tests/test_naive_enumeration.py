"""The oracle against sums over all states and all paths, where models are small enough to write them out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from enumeration import Paths, all_paths, divergence, path_probability, small_model
from models import changed, random_model, random_observation
from naive import NaiveAgent
from naive_learning import likelihood_increment, log_beta, reduction, transition_increment
from naive_maths import contract, digamma, expected_observations, predicted
from naive_perception import infer_states, log_likelihoods, smoothed
from naive_value import dirichlet_information, joint_information_gain

seeds = st.integers(0, 2**32 - 1)
unhurried = settings(deadline=None, max_examples=30)
Vector = NDArray[np.float64]
TICKS = 3


def check_free_energy(vfe: float, q: list[list[Vector]], paths: Paths) -> float:
    """Free energy is surprise and divergence, so never less than surprise. Gives back the divergence."""
    surprise, distance = divergence(q, paths)
    assert vfe == pytest.approx(surprise + distance, abs=1e-9)
    assert vfe >= surprise - 1e-9
    return distance


@unhurried
@given(seeds, st.sampled_from([(4,), (3, 2)]))
def test_free_energy_bounds_the_surprise_of_an_observation(seed: int, num_states: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    model = small_model(rng, num_states)
    agent = NaiveAgent(model)
    for _ in range(TICKS):
        observation = random_observation(rng, model)
        step = agent.step(observation)
        filtering = changed(model, D=step.prior)
        paths = {path: path_probability(filtering, path, [observation], []) for path in all_paths(model, 1)}
        distance = check_free_energy(step.vfe, [step.beliefs], paths)
        # One factor has the exact posterior.
        assert len(num_states) > 1 or distance == pytest.approx(0.0, abs=1e-9)


@unhurried
@given(seeds, st.sampled_from(["mmp", "vmp"]))
def test_free_energy_of_a_window_bounds_the_surprise_of_its_observations(seed: int, algo: str) -> None:
    rng = np.random.default_rng(seed)
    model = small_model(rng, (2, 2), inference_algo=algo, inference_horizon=TICKS)
    agent = NaiveAgent(model)
    observations, actions = [], []
    for tick in range(1, TICKS + 1):
        observations.append(random_observation(rng, model))
        force = tuple(int(u) for u in rng.integers(2, size=2))
        step = agent.step(observations[-1], force=force)
        paths = {path: path_probability(model, path, observations, actions) for path in all_paths(model, tick)}
        check_free_energy(step.vfe, agent.q, paths)
        actions.append(force)


@unhurried
@given(seeds, st.sampled_from(["exact", "ovf"]))
def test_smoothing_is_the_full_joint(seed: int, algo: str) -> None:
    rng = np.random.default_rng(seed)
    model = small_model(rng, (4,), inference_algo=algo)
    observations = [random_observation(rng, model) for _ in range(4)]
    actions = [(int(u),) for u in rng.integers(2, size=3)]
    filtered, prior = [], list(model.D)
    for t, observation in enumerate(observations):
        filtered.append(infer_states(model, log_likelihoods(model, observation), prior))
        if t < 3:
            prior = predicted(model, filtered[-1], actions[t])
    smooth, joints = smoothed(model, filtered, actions)
    marginal, pair = np.zeros((4, 4)), np.zeros((3, 4, 4))
    for path in all_paths(model, 4):
        p = path_probability(model, path, observations, actions)
        for t, (s,) in enumerate(path):
            marginal[t, s] += p
        for t, ((before,), (after,)) in enumerate(itertools.pairwise(path)):
            pair[t, after, before] += p
    np.testing.assert_allclose(np.array(smooth)[:, 0], marginal / marginal[0].sum(), atol=1e-12)
    np.testing.assert_allclose(np.array(joints)[:, 0], pair / marginal[0].sum(), atol=1e-12)
    one_hot = np.eye(3)[[o[0] for o in observations]]
    expected_A = np.einsum("to,ts->os", one_hot, marginal / marginal[0].sum())
    np.testing.assert_allclose(likelihood_increment(model, 0, observations, smooth), expected_A, atol=1e-12)
    found_B = transition_increment(model, 0, [joint[0] for joint in joints], actions)
    for u in range(2):
        taken = [pair[t] / pair[t].sum() for t, action in enumerate(actions) if action[0] == u]
        np.testing.assert_allclose(found_B[:, :, u], sum(taken, np.zeros((4, 4))), atol=1e-12)


@unhurried
@given(seeds)
def test_joint_information_gain_by_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = small_model(rng, (3, 2))
    q = [rng.dirichlet(np.ones(n)) for n in model.num_states]
    joint = np.einsum("oab,pab,a,b->opab", *model.A, *q)
    marginal = joint.sum(axis=(2, 3))
    states = np.multiply.outer(*q)
    gain = (joint * np.log(joint / (marginal[..., None, None] * states))).sum()
    # SPM adds e^-16 to probabilities before their logarithm.
    assert joint_information_gain(model, q) == pytest.approx(gain, abs=1e-5)


@unhurried
@given(seeds)
def test_beliefs_about_the_next_step_by_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng, coupled=True)
    q = [rng.dirichlet(np.ones(n)) for n in model.num_states]
    action = model.policies[-1, 0]
    found = predicted(model, q, action)
    observed = expected_observations(model, q)
    expected = [np.zeros(n) for n in model.num_states]
    seen = [np.zeros(n) for n in model.num_obs]
    for states in itertools.product(*(range(n) for n in model.num_states)):
        p = math.prod(float(q_f[s]) for q_f, s in zip(q, states, strict=True))
        for f, parents in enumerate(model.B_dependencies):
            expected[f] += p * model.B[f][(slice(None), *(states[g] for g in parents), action[f])]
        for m, factors in enumerate(model.A_dependencies):
            seen[m] += p * model.A[m][(slice(None), *(states[g] for g in factors))]
    for a, b in zip(found + observed, expected + seen, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)
    assert float(contract(np.ones(model.num_states), range(len(q)), q)) == pytest.approx(1.0)


def test_digamma() -> None:
    euler = 0.57721566490153286
    assert digamma(1.0) == pytest.approx(-euler, abs=1e-14)
    assert digamma(0.5) == pytest.approx(-euler - 2.0 * math.log(2.0), abs=1e-14)
    for x in (1e-3, 0.7, 3.2, 15.9, 40.0, 1e6):
        assert digamma(x + 1.0) - digamma(x) == pytest.approx(1.0 / x, rel=1e-9)
        slope = (math.lgamma(x * (1 + 1e-5)) - math.lgamma(x * (1 - 1e-5))) / (2e-5 * x)
        assert digamma(x) == pytest.approx(slope, rel=1e-4)


@unhurried
@given(seeds)
def test_novelty_is_the_divergence_that_one_more_count_makes(seed: int) -> None:
    a = np.random.default_rng(seed).uniform(0.1, 5.0, 4)
    psi = np.vectorize(digamma)
    for o in range(4):
        after = a + np.eye(4)[o]
        divergence = log_beta(a) - log_beta(after) + ((after - a) * (psi(after) - psi(after.sum()))).sum()
        assert -dirichlet_information(a, "pymdp")[o] == pytest.approx(float(divergence), abs=1e-12)
    np.testing.assert_allclose(dirichlet_information(a, "legacy"), 1.0 / a.sum() - 1.0 / a, rtol=1e-12)


@unhurried
@given(seeds)
def test_reduction_compares_the_evidence_of_two_priors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prior, other = rng.uniform(0.2, 3.0, (2, 4))
    seen = rng.integers(4, size=6)

    def log_evidence(counts: Vector) -> float:
        counts, total = counts.copy(), 0.0
        for o in seen:
            total += math.log(counts[o] / counts.sum())
            counts[o] += 1.0
        return total

    posterior = prior + np.bincount(seen, minlength=4)
    F, reduced = reduction(posterior, prior, other)
    assert float(F) == pytest.approx(log_evidence(prior) - log_evidence(other), abs=1e-10)
    np.testing.assert_allclose(reduced, other + np.bincount(seen, minlength=4), atol=1e-12)
