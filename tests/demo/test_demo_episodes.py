from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from beliefd_proto.errors import InvalidArgument
from demos.episodes import Episodes, Scores

STEPS = st.lists(st.integers(1, 4), min_size=1, max_size=5)


class Counter(gymnasium.Env[int, int]):
    """Shows how many steps the episode is old; episodes last as long as `lengths` says, in turn."""

    def __init__(self, lengths: list[int]) -> None:
        self.observation_space = gymnasium.spaces.Discrete(8)
        self.action_space = gymnasium.spaces.Discrete(2)
        self._lengths = lengths
        self._episode = -1
        self._age = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        self._episode += 1
        self._age = 0
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self._age += 1
        over = self._age == self._lengths[self._episode % len(self._lengths)]
        return self._age, float(over), over and self._episode % 2 == 0, over and self._episode % 2 == 1, {}


def vector_env(lengths: list[list[int]], mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv([lambda each=each: Counter(each) for each in lengths], autoreset_mode=mode)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@settings(max_examples=25)
@given(lengths=st.lists(STEPS, min_size=1, max_size=4))
def test_starts_mark_first_observations_and_no_others(mode: AutoresetMode, lengths: list[list[int]]) -> None:
    world = Episodes(vector_env(lengths, mode), seed=0)
    shown = [world.observations]
    for _ in range(12):
        np.testing.assert_array_equal(world.starts, world.observations == 0)
        rewards, ended = world.step(np.zeros(len(lengths), np.int32))
        np.testing.assert_array_equal(rewards == 1.0, ended)
        shown.append(world.observations)
    ages = np.array(shown)
    # Within an episode every observation is there: none was swallowed by a reset, and none came twice.
    continued = ages[1:] > 0
    np.testing.assert_array_equal(ages[1:][continued], ages[:-1][continued] + 1)


@pytest.mark.parametrize(
    ("mode", "observations", "ended"),
    [
        (AutoresetMode.NEXT_STEP, [1, 2, 0, 1, 2], [False, True, False, False, True]),
        (AutoresetMode.SAME_STEP, [1, 0, 1, 0, 1], [False, True, False, True, False]),
        (AutoresetMode.DISABLED, [1, 0, 1, 0, 1], [False, True, False, True, False]),
    ],
)
def test_each_mode_gives_what_gymnasium_says(mode: AutoresetMode, observations: list[int], ended: list[bool]) -> None:
    world = Episodes(vector_env([[2]], mode), seed=0)
    seen = [(bool(world.step(np.zeros(1, np.int32))[1][0]), int(world.observations[0])) for _ in range(5)]
    assert seen == list(zip(ended, observations, strict=True))


def test_an_environment_that_does_not_name_its_mode_is_refused() -> None:
    env = vector_env([[2]], AutoresetMode.NEXT_STEP)
    del env.metadata["autoreset_mode"]
    with pytest.raises(InvalidArgument) as caught:
        Episodes(env, seed=0)
    assert caught.value.field == "metadata['autoreset_mode']"


def test_scores_count_the_first_episodes_of_each_and_no_later_ones() -> None:
    scores = Scores(envs=2, episodes=2)
    fast, slow = [True, False], [True, True]
    for ended, finished in ((fast, 1), (fast, 2), (fast, 2), (slow, 3)):
        assert not scores.complete
        scores.add(np.array([1.0, 0.5]), np.array(ended))
        assert scores.finished == finished
    scores.add(np.array([1.0, 0.5]), np.array(slow))
    assert scores.complete
    assert scores.rewards.tolist() == [[1.0, 1.0], [2.0, 0.5]]
