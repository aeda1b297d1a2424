"""Agents of every algorithm, served: an engine's bits, and the same after everything was stopped and started."""

import numpy as np
import pytest

import beliefd
from algorithms import ALGORITHMS, model_of, own_of
from beliefd.engine import Engine
from models import by_state, changed, random_model

pytestmark = pytest.mark.system
AGENTS = 100
WANT = ("beliefs", "q_pi", "neg_efe", "vfe")


class Twins:
    """A population and an engine that are told the same."""

    def __init__(self, client, name, model, seed, per_agent=None):
        self.name, self.model, self.rng = name, model, np.random.default_rng(seed)
        client.create_population(name, model, agents=AGENTS, seed=seed, per_agent=per_agent)
        self.local = Engine(model, agents=AGENTS, seed=seed, per_agent=per_agent)

    def step(self, client, count):
        mice = client.population(self.name)
        for _ in range(count):
            observations = [self.rng.integers(-1, n, AGENTS) for n in self.model.num_obs]
            executed = np.stack([self.rng.integers(-1, n, AGENTS) for n in self.model.num_controls], axis=1)
            options = {"reset": self.rng.random(AGENTS) < 0.1, "executed_actions": executed, "want": WANT}
            self.same(mice.step(observations, timeout_s=60, **options), self.local.step(observations, **options))
        self.same(mice.read(want=WANT, timeout_s=60), self.local.read(want=WANT))
        served, local = mice.parameters(timeout_s=60), self.local.parameters()
        assert served.keys() == local.keys()
        for letter, arrays in local.items():
            for array, other in zip(served[letter], arrays, strict=True):
                np.testing.assert_array_equal(array, other, err_msg=f"{self.name}: p{letter}")

    def same(self, served, local):
        for part in ("tick", "actions", "q_pi", "neg_efe", "vfe"):
            np.testing.assert_array_equal(getattr(served, part), getattr(local, part), err_msg=f"{self.name}: {part}")
        for q, p in zip(served.beliefs, local.beliefs, strict=True):
            np.testing.assert_array_equal(q, p, err_msg=self.name)


def test_every_algorithm_is_served_and_goes_on_after_a_stop(own_stack):
    """Every other one with parameters of its agents' own."""
    rng, herds = np.random.default_rng(31), []
    with beliefd.connect(own_stack.endpoint) as client:
        for i, name in enumerate(ALGORITHMS):
            model = model_of(name, rng)
            own = own_of(name, rng, model, AGENTS) if i % 2 else None
            herds.append(Twins(client, name.replace(" ", "-").replace("'", ""), model, i, own))
        for herd in herds:
            herd.step(client, 4)
    own_stack.stop()
    own_stack.start()
    with beliefd.connect(own_stack.endpoint) as client:
        for herd in herds:
            herd.step(client, 3)


@pytest.mark.parametrize("profile", ["pymdp", "legacy", "spm"])
def test_given_policies_and_preferences_that_change(client, name, profile):
    """Preferences over the steps of a policy, those by state too where a profile has them; policies of the caller's."""
    rng = np.random.default_rng(32)
    model = random_model(rng, dtype="float32", profile=profile, sampling_mode="full")
    model = changed(model, policies=model.policies[::2], E=None)
    model = changed(model, C=[rng.normal(size=(model.policy_len, n)) for n in model.num_obs])
    Twins(client, name, model, 1).step(client, 3)
    if profile == "pymdp":
        Twins(client, f"{name}.states", by_state(rng, model), 2).step(client, 3)


@pytest.mark.parametrize("control_fac_idx", [None, [0]])
def test_controls_that_move_several_factors_or_none(client, name, control_fac_idx):
    rng, states, actions, moved_by = np.random.default_rng(33), (3, 2, 4), (2, 3), ([0, 1], [], [1])
    model = beliefd.Model(
        [np.moveaxis(rng.dirichlet(np.ones(3), states), -1, 0)],
        [
            np.moveaxis(rng.dirichlet(np.ones(n), [n, *(actions[c] for c in by)]), -1, 0)
            for n, by in zip(states, moved_by, strict=True)
        ],
        C=[rng.normal(size=3)],
        B_action_dependencies=moved_by,
        policy_len=2,
        control_fac_idx=control_fac_idx,
        action_selection="stochastic",
    )
    Twins(client, name, model, 3).step(client, 3)
