"""Occam's window in the kernels: the oracle's posterior, what is never drawn, and what it leaves as it was."""

from __future__ import annotations

import numpy as np
import pytest
from searches import compare

from beliefd.engine import Engine
from beliefd_proto.errors import InvalidModel
from models import changed, grid, random_model, tmaze, with_counts


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["pymdp", "legacy", "spm"])
@pytest.mark.parametrize("sharp", [False, True])
def test_random_models(profile: str, sharp: bool) -> None:
    excluded = 0
    for seed in range(6):
        rng = np.random.default_rng(9300 + seed)
        dtype = ("float64", "float32")[seed % 2]
        window = float(rng.uniform(0.1, 3.0))
        model = random_model(rng, dtype=dtype, sharp=sharp, occam_window=window, profile=profile, alpha=0.3)
        if seed >= 4 and not sharp:
            model = with_counts(rng, model)
        excluded += compare(model, seed)
    assert excluded <= 2


@pytest.mark.parametrize("mode", ["full", "marginal"])
def test_what_is_left_out_is_never_drawn(mode: str) -> None:
    """A small alpha makes draws nearly uniform, over what is left."""
    options = {"action_selection": "stochastic", "sampling_mode": mode, "alpha": 1e-6, "gamma": 4.0}
    drawn = {}
    for window in (None, 1.0):
        engine = Engine(tmaze(occam_window=window, **options), 500, seed=1)
        step = engine.step(np.zeros((500, 3), int), want=("q_pi",))
        assert step.q_pi is not None
        drawn[window] = set(step.actions[:, 0].tolist())
        policies = engine.model.policies
    assert drawn[None] == {0, 1, 2, 3}
    assert drawn[1.0] == set(policies[step.q_pi[0] > 0, 0, 0].tolist()) < drawn[None]
    np.testing.assert_allclose(step.q_pi.sum(axis=1), 1.0, rtol=1e-6)


def test_policies_are_dropped_and_behaviour_stays() -> None:
    """Most policies of an agent on a grid are out, and it does what it did."""
    world = changed(grid(5), gamma=8.0)
    agents, rng, dropped = 40, np.random.default_rng(2), []
    pruned, whole = Engine(changed(world, occam_window=3.0), agents), Engine(world, agents)
    for _ in range(12):
        seen = rng.integers(0, world.num_obs[0], (agents, 1))
        one, other = pruned.step(seen, want=("q_pi", "beliefs")), whole.step(seen, want=("q_pi", "beliefs"))
        assert one.q_pi is not None
        assert other.q_pi is not None
        np.testing.assert_array_equal(one.actions, other.actions)
        kept = one.q_pi > 0
        np.testing.assert_allclose(
            one.q_pi * (other.q_pi * kept).sum(axis=1, keepdims=True), other.q_pi * kept, atol=1e-6
        )
        dropped.append(1.0 - kept.mean())
    assert np.mean(dropped) > 0.5


def test_a_window_without_meaning_is_refused() -> None:
    for window in (0.0, -1.0, 37.0, float("nan")):
        with pytest.raises(InvalidModel, match="occam_window"):
            tmaze(occam_window=window)
