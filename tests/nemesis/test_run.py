"""What a run is drawn from, and what its report says."""

from types import SimpleNamespace

import numpy as np

from nemesis import soak
from nemesis.checker import Verdict
from nemesis.faults import KINDS
from nemesis.herds import HERDS
from nemesis.inputs import observations, resets
from nemesis.run import plan


def test_a_seed_gives_the_same_faults_and_every_kind_is_among_them():
    first, again, other = plan(1, 40, KINDS), plan(1, 40, KINDS), plan(2, 40, KINDS)
    assert first == again != other
    assert {fault.kind.name for fault in first} == {kind.name for kind in KINDS}
    assert sum(fault.kind.name != "nothing" for fault in first) == 40
    assert len({fault.seed for fault in first}) == len(first)


def test_inputs_are_of_seed_agent_and_tick_alone():
    rng = np.random.default_rng(0)
    agents, ticks = rng.permutation(96), rng.integers(1, 10**6, 96)
    for herd in HERDS:
        num_obs = herd.make().num_obs
        together = observations(herd.seed, num_obs, agents, ticks)
        alone = [observations(herd.seed, num_obs, agents[i : i + 1], ticks[i : i + 1])[0] for i in range(96)]
        np.testing.assert_array_equal(together, alone)
        assert (together >= -1).all()
        assert (together < num_obs).all()
        assert 0 < resets(herd.seed, agents, ticks).sum() < 24
        later = observations(herd.seed, num_obs, agents, ticks + 1)
        assert (together != later).any(axis=1).mean() > 0.5


def test_what_differs_in_the_end_is_among_what_a_soak_violated():
    checkers = {herd.name: SimpleNamespace(verdict=Verdict()) for herd in HERDS}
    checkers["mice"].verdict.violations.append("mice: a tick was left out")
    scene = SimpleNamespace(violations=["mice: beliefs in the end are not the engine's"], checkers=checkers)
    samples = SimpleNamespace(series={}, disk_at_s=[0.0, 1.0], disk_bytes=[1, 1])
    assert soak.report(scene, samples, 0.0)["violations"] == [
        "mice: beliefs in the end are not the engine's",
        "mice: a tick was left out",
    ]
