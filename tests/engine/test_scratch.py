"""Populations of one model share their scratch: whatever stands in it, a call comes to the same bits."""

import numpy as np
import pytest

from algorithms import ALGORITHMS, model_of
from beliefd.engine import Engine

WANT = ("beliefs", "q_pi", "neg_efe", "vfe")
AGENTS = 70  # a tile and a part of one


@pytest.mark.parametrize("name", ALGORITHMS)
def test_nothing_in_scratch_outlives_a_call(name):
    rng = np.random.default_rng(3)
    model = model_of(name, rng)
    clean, spoilt = (Engine(model, agents=AGENTS, seed=5) for _ in range(2))
    scratch = spoilt._parts[0].scratch
    for _ in range(4):
        observations = [rng.integers(-1, n, AGENTS) for n in model.num_obs]
        for array, junk in ((scratch.work, np.nan), (scratch.lanes, -(10**6)), (scratch.marks, 10**6)):
            array[...] = junk
        one, other = (engine.step(observations, want=WANT) for engine in (clean, spoilt))
        for part in ("actions", "q_pi", "neg_efe", "vfe"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part), err_msg=part)
        for q, p in zip(one.beliefs, other.beliefs, strict=True):
            np.testing.assert_array_equal(q, p)
