"""What the oracle does where the outcome is known without it: limits, equivalences, and worlds with an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beliefd.model import Model
from models import changed, late_treasure, random_model, random_observation, with_counts
from naive import NaiveAgent, NaiveStep
from naive_mcts import exhaustive
from naive_tree import PRUNE, search
from naive_value import TERMS, goal_distances, policy_terms

seeds = st.integers(0, 2**32 - 1)
unhurried = settings(deadline=None, max_examples=25)
OUTPUTS = ("q_pi", "neg_efe", "utility", "info_gain", "novelty", "inductive", "vfe")


def same_steps(a: NaiveStep, b: NaiveStep, atol: float = 1e-12) -> None:
    for name in OUTPUTS:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=atol, err_msg=name)
    for q, p in zip(a.beliefs, b.beliefs, strict=True):
        np.testing.assert_allclose(q, p, atol=atol)


def history(rng: np.random.Generator, model: Model, ticks: int) -> list[Any]:
    return [random_observation(rng, model, missing=0.2, categorical=0.2) for _ in range(ticks)]


@pytest.mark.slow
@unhurried
@given(seeds, st.booleans(), st.sampled_from(["pymdp", "legacy", "spm"]))
def test_the_terms_add_up_and_are_switched_one_by_one(seed: int, sharp: bool, profile: str) -> None:
    rng = np.random.default_rng(seed)
    flags = {"utility": "use_utility", "info_gain": "use_states_info_gain"}
    flags |= {"novelty": "use_param_info_gain", "inductive": "use_inductive"}
    model = with_counts(rng, random_model(rng, sharp=sharp, profile=profile), **dict.fromkeys(flags.values(), True))
    observation = random_observation(rng, model)
    whole = NaiveAgent(model).step(observation)
    np.testing.assert_allclose(sum(getattr(whole, term) for term in flags), whole.neg_efe, atol=1e-12)
    for term, flag in flags.items():
        without = NaiveAgent(changed(model, **{flag: False})).step(observation)
        assert not getattr(without, term).any()
        np.testing.assert_allclose(without.neg_efe, whole.neg_efe - getattr(whole, term), atol=1e-10)


@pytest.mark.slow
@unhurried
@given(seeds, st.booleans(), st.sampled_from(["mmp", "vmp"]))
def test_a_window_of_one_step_filters(seed: int, sharp: bool, algo: str) -> None:
    rng = np.random.default_rng(seed)
    while len((model := random_model(rng, sharp=sharp, coupled=False)).B) > 1:
        pass
    window = NaiveAgent(changed(model, inference_algo=algo, inference_horizon=1))
    filtering = NaiveAgent(model)
    for observation in history(rng, model, 4):
        step = filtering.step(observation)
        same_steps(window.step(observation, force=filtering.kept), step, atol=1e-9)


@pytest.mark.slow
@unhurried
@given(seeds, st.sampled_from(["mmp", "vmp", "exact", "ovf"]))
def test_a_window_that_is_not_full_is_the_whole_history(seed: int, algo: str) -> None:
    rng = np.random.default_rng(seed)
    while len((model := random_model(rng, coupled=False)).B) > 1:
        pass
    model = with_counts(rng, model, learn_D=False, learn_E=False, pE=None, pD=None)
    agents = [NaiveAgent(changed(model, inference_algo=algo, inference_horizon=h)) for h in (5, 50)]
    for observation in history(rng, model, 5):
        steps = [agent.step(observation) for agent in agents]
        same_steps(*steps, atol=0.0)


@pytest.mark.slow
@unhurried
@given(seeds, st.sampled_from(["fpi", "ovf", "mmp", "vmp"]), st.booleans())
def test_a_reset_starts_over_with_what_was_learned(seed: int, algo: str, sharp: bool) -> None:
    rng = np.random.default_rng(seed)
    plain = random_model(rng, sharp=sharp, coupled=False, inference_algo=algo, inference_horizon=3)
    model = with_counts(rng, plain, use_param_info_gain=True)
    agent = NaiveAgent(model)
    for observation in history(rng, model, 5):
        agent.step(observation)
    learned = changed(
        model, **{name: getattr(agent.model, name) for name in ("A", "B", "D", "E", "pA", "pB", "pD", "pE")}
    )
    other = NaiveAgent(learned)
    for t, observation in enumerate(history(rng, model, 4)):
        step = agent.step(observation, reset=t == 0)
        same_steps(other.step(observation, force=agent.kept), step, atol=1e-9)


@pytest.mark.slow
@unhurried
@given(seeds, st.booleans())
def test_an_agents_own_parameters_are_those_of_a_model_with_them(seed: int, sharp: bool) -> None:
    rng = np.random.default_rng(seed)
    model = with_counts(rng, random_model(rng, sharp=sharp), use_param_info_gain=True, use_inductive=True)
    other = with_counts(rng, model)
    E = model.E[::-1] if (model.E > 0).all() else model.E
    own: dict[str, Any] = {"C": [C[::-1] for C in model.C], "E": E, "pA": other.pA, "pB": other.pB}
    own |= {"gamma": 3.0, "alpha": 0.3}
    means = {"A": [a / a.sum(axis=0) for a in other.pA], "B": [b / b.sum(axis=0) for b in other.pB]}
    agent, expected = NaiveAgent(model, **own), NaiveAgent(changed(model, **own, **means))
    for observation in history(rng, model, 3):
        step = agent.step(observation)
        same_steps(expected.step(observation), step)
        assert expected.kept == agent.kept


@unhurried
@given(seeds)
def test_preferences_that_stay_are_preferences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng)
    over_time = changed(model, C=[np.tile(C, (model.policy_len, 1)) for C in model.C])
    observation = random_observation(rng, model)
    same_steps(NaiveAgent(over_time).step(observation), NaiveAgent(model).step(observation))


@pytest.mark.slow
@unhurried
@given(seeds)
def test_two_controls_of_one_factor_are_one_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    B = np.moveaxis(rng.dirichlet(np.ones(3), (3, 3, 2)), -1, 0)
    A, C = [rng.dirichlet(np.ones(4), 3).T], [rng.normal(size=4)]
    learns: dict[str, Any] = {"learn_B": True, "use_param_info_gain": True, "policy_len": 2, "dtype": "float64"}
    two = Model(A, [B], C=C, B_action_dependencies=[[1, 0]], pB=[B * 3.0], **learns)
    one = Model(A, [B.reshape(3, 3, 6)], C=C, pB=[B.reshape(3, 3, 6) * 3.0], policies=two.joint_policies, **learns)
    agents = NaiveAgent(two), NaiveAgent(one)
    for observation in history(rng, two, 4):
        a, b = (agent.step(observation) for agent in agents)
        same_steps(a, b)
        u1, u0 = divmod(b.action[0], 2)
        assert a.action == (u0, u1)
    np.testing.assert_allclose(agents[0].model.pB[0].reshape(3, 3, 6), agents[1].model.pB[0], atol=1e-12)


class TestLearning:
    def model(self, **options: Any) -> Model:
        A = np.array([[0.5, 0.25, 0.0], [0.5, 0.75, 1.0]])
        B = np.stack([np.eye(3), np.roll(np.eye(3), 1, axis=0)], axis=-1)
        return Model([A, np.eye(3)], [B], **({"D": [[1.0, 0.0, 0.0]], "dtype": "float64"} | options))

    def test_rates_and_forgetting(self) -> None:
        model = self.model(pA=[[[4.0, 1, 0], [4, 3, 2]], None], learn_A=True, lr_pA=0.5, fr_pA=0.9)
        agent = NaiveAgent(model)
        step = agent.step([1, 0])
        expected = 0.9 * model.pA[0]
        expected[1] += 0.5 * step.beliefs[0]
        np.testing.assert_allclose(agent.model.pA[0], expected, atol=1e-14)
        np.testing.assert_allclose(agent.model.A[0], expected / expected.sum(axis=0), atol=1e-14)
        assert agent.model.A[1] is model.A[1]

    @pytest.mark.parametrize("keep_zeros", [True, False])
    def test_zeros_are_kept_or_not(self, keep_zeros: bool) -> None:
        model = self.model(pA=[[[4.0, 1, 0], [4, 3, 2]], None], learn_A=True, keep_zeros=keep_zeros)
        agent = NaiveAgent(changed(model, D=[[0.0, 0.0, 1.0]]))
        agent.step([0, 2])
        assert (agent.model.pA[0][0, 2] > 0.5) != keep_zeros

    def test_a_transition_is_learned_where_it_was_made(self) -> None:
        model = self.model(pB=[self.model().B[0] * 2.0], learn_B=True, lr_pB=3.0)
        agent = NaiveAgent(model)
        agent.step([1, 0], force=(1,))
        np.testing.assert_array_equal(agent.model.pB[0], model.pB[0])
        agent.step([1, 1], force=(0,))
        assert agent.model.pB[0][1, 0, 1] == pytest.approx(2.0 + 3.0, abs=1e-9)
        agent.step([1, 1], reset=True)
        total = agent.model.pB[0].sum()
        assert total == pytest.approx(12.0 + 3.0, abs=1e-9)

    def test_the_initial_state_is_learned_once_an_episode(self) -> None:
        model = self.model(pD=[[2.0, 1.0, 1.0]], D=[[0.5, 0.25, 0.25]], learn_D=True)
        agent = NaiveAgent(model)
        agent.step([1, 2])
        agent.step([1, 2])
        np.testing.assert_allclose(agent.model.pD[0], [2.0, 1.0, 2.0], atol=1e-9)
        step = agent.step([-1, -1], reset=True)
        np.testing.assert_allclose(step.beliefs[0], [0.4, 0.2, 0.4], atol=1e-9)

    def test_subsets(self) -> None:
        counts = [[[4.0, 1, 0], [4, 3, 2]], np.eye(3)]
        agent = NaiveAgent(self.model(pA=counts, learn_A=[1]))
        agent.step([1, 0])
        assert agent.model.pA[0].sum() == 14.0
        assert agent.model.pA[1].sum() == pytest.approx(4.0)

    def test_habits_and_preferences_form(self) -> None:
        pC = [[1.0, 1.0], None]
        model = self.model(pE=[1.0, 1.0], learn_E=True, lr_pE=2.0, pC=pC, learn_C=True, C=[[0, 0], [0, 3, 0]])
        agent = NaiveAgent(model)
        first = agent.step([1, 0])
        np.testing.assert_allclose(agent.model.pE, 1.0 + 2.0 * first.q_pi)
        np.testing.assert_allclose(agent.model.E, agent.model.pE / 4.0)
        np.testing.assert_allclose(agent.model.C[0], np.log([1 / 3, 2 / 3]))
        again = agent.step([1, 0], reset=True)
        assert again.q_pi[1] > first.q_pi[1] > 0.5


def corridor(length: int, **options: Any) -> Model:
    """States in a row, seen as they are; action 0 goes left, 1 goes right, 2 stays. The goal is the last one."""
    B = np.zeros((length, length, 3))
    for s in range(length):
        for u, target in enumerate((max(s - 1, 0), min(s + 1, length - 1), s)):
            B[target, s, u] = 1.0
    H = [np.eye(length)[-1]]
    return Model([np.eye(length)], [B], H=H, use_inductive=True, dtype="float64", **options)


class TestInduction:
    def test_distances(self) -> None:
        rows = goal_distances(corridor(4, inductive_depth=4), 0)
        assert rows.tolist() == [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]

    def test_the_goal_is_reached_from_every_start(self) -> None:
        model = corridor(6, inductive_depth=6)
        for start in range(6):
            agent, state = NaiveAgent(model), start
            for _ in range(5 - start):
                action = agent.step([state]).action[0]
                state = int(model.B[0][:, state, action].argmax())
            assert state == 5

    def test_beyond_the_depth_nothing_is_known(self) -> None:
        step = NaiveAgent(corridor(6, inductive_depth=3)).step([0])
        assert not step.inductive.any()

    def test_other_parents_count_with_any_of_their_states(self) -> None:
        B = np.zeros((2, 2, 2, 1))
        B[0, :, 0], B[1, :, 1] = 1.0, 1.0
        door = np.eye(2)[:, :, None]
        model = Model([np.eye(2)], [B, door], A_dependencies=[[0]], B_dependencies=[[0, 1], [1]], H=[[0, 1], None])
        rows = goal_distances(changed(model, inductive_depth=2), 0)
        assert rows.tolist() == [[0, 1], [1, 1]]

    def test_equal_beliefs_count_as_the_first_of_them(self) -> None:
        model = corridor(4, inductive_depth=4)
        q = [np.array([0.0, 0.5 - 1e-12, 0.5 + 1e-12, 0.0])]
        first = policy_terms(model, [np.array([0.0, 1.0, 0.0, 0.0])], model.policies[1])["inductive"]
        assert first == 0.0
        # From state 1 the path goes through state 2, half of the belief moves there and half beyond it.
        found = policy_terms(model, q, model.policies[1])["inductive"]
        assert found == pytest.approx(0.0, abs=1e-9)


class TestTree:
    def model(self, rng: np.random.Generator, **options: Any) -> Model:
        A = 0.1 + 0.8 * rng.dirichlet(np.ones(2), 3).T
        B = np.moveaxis(0.1 + 0.7 * rng.dirichlet(np.ones(3), (3, 3)), -1, 0)
        E = rng.dirichlet(np.ones(3))
        return Model([A], [B], C=[[0.0, 0.5]], E=E, planner="sophisticated", dtype="float64", **options)

    @unhurried
    @given(seeds, st.integers(1, 3))
    def test_nothing_is_cut_where_all_is_probable(self, seed: int, depth: int) -> None:
        rng = np.random.default_rng(seed)
        model = self.model(rng, policy_len=depth)
        q = [rng.dirichlet(np.ones(3))]
        found, _ = search(model, q)
        expected = exhaustive(model, q)
        np.testing.assert_allclose(found["neg_efe"], expected, atol=1e-12)
        np.testing.assert_allclose(sum(found[name] for name in TERMS), expected, atol=1e-12)

    def test_what_is_improbable_is_cut(self) -> None:
        model = self.model(np.random.default_rng(0), policy_len=2, gamma=30.0)
        model = changed(model, C=[[0.0, 3.0]])
        step = NaiveAgent(model).step([0])
        assert step.neg_efe.min() == -512.0
        assert step.neg_efe.max() > 0.0

    def test_what_turns_out_improbable_stays_cut(self) -> None:
        model = late_treasure()
        start = [np.eye(8)[0]]
        for of_depth, expected in ((changed(model, policy_len=2), [3.0, 3.0, 0.0]), (model, [3.0, 3.0, -512.0])):
            np.testing.assert_allclose(search(of_depth, start)[0]["neg_efe"], expected, atol=1e-12)

    def test_a_clear_choice_stops_the_search(self) -> None:
        model = changed(self.model(np.random.default_rng(0), policy_len=3, gamma=300.0), C=[[0.0, 3.0]])
        one = changed(model, policy_len=1)
        q = [np.full(3, 1 / 3)]
        np.testing.assert_array_equal(search(model, q)[0]["neg_efe"], search(one, q)[0]["neg_efe"])

    def test_threshold(self) -> None:
        assert PRUNE == 0.0625
