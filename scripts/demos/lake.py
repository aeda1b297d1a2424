"""Gymnasium's FrozenLake, played by served agents, by value iteration and at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

import beliefd
from demos.episodes import Episodes, Scores
from demos.lake_model import Table, lake_model, optimal_policy
from demos.screen import Advance, Screen
from demos.sizes import Sizes
from demos.table import Figure, percent

WANTED_OF_OPTIMUM = 0.55
_SEED = 11

Choose = Callable[[NDArray[np.int64], NDArray[np.bool_]], NDArray[np.int32]]
"""Observations and starts in, actions out; each with one entry per environment."""


@dataclass(frozen=True)
class LakeResult:
    """Fractions of the counted episodes that ended at the goal, and how many episodes those were."""

    lakes: int
    episodes: int
    agents: float
    optimum: float
    random: float

    @property
    def of_optimum(self) -> float:
        return self.agents / self.optimum

    def figures(self) -> list[Figure]:
        return [
            Figure("lake: random, at the goal", percent(self.random)),
            Figure("lake: value iteration, at the goal", percent(self.optimum)),
            Figure("lake: beliefd, at the goal", percent(self.agents)),
            Figure(
                "lake: beliefd, of value iteration",
                percent(self.of_optimum),
                f">= {percent(WANTED_OF_OPTIMUM)}",
                self.of_optimum >= WANTED_OF_OPTIMUM,
            ),
        ]


def make_lakes(count: int) -> tuple[VectorEnv[Any, Any, Any], Table, NDArray[np.float64]]:
    """`count` lakes as one vector environment, their transition table and the distribution of the start."""
    env = gymnasium.make_vec("FrozenLake-v1", num_envs=count, vectorization_mode="sync", is_slippery=True)
    lake: Any = gymnasium.make("FrozenLake-v1", is_slippery=True).unwrapped
    return env, lake.P, np.asarray(lake.initial_state_distrib)


def play(env: VectorEnv[Any, Any, Any], choose: Choose, episodes: int, seed: int, advance: Advance) -> float:
    """Play until every environment has had `episodes` episodes; the fraction of them that ended at the goal."""
    world, scores = Episodes(env, seed), Scores(env.num_envs, episodes)
    while not scores.complete:
        before = scores.finished
        scores.add(*world.step(choose(world.observations, world.starts)))
        advance(scores.finished - before)
    return float(scores.rewards.mean())


def run_lake(client: beliefd.Client, sizes: Sizes, screen: Screen) -> LakeResult:
    """Let the three play the same lakes, from the same seeds."""
    env, table, start = make_lakes(sizes.lakes)
    agents = client.create_population("lake", lake_model(table, start), agents=sizes.lakes, seed=_SEED)
    best, draws = optimal_policy(table), np.random.default_rng(_SEED)
    players: dict[str, Choose] = {
        "agents": lambda observations, starts: agents.step(observations, reset=starts, timeout_s=60.0).control,
        "optimum": lambda observations, starts: best[observations],
        "random": lambda observations, starts: draws.integers(0, 4, len(observations), dtype=np.int32),
    }
    success = {}
    for name, choose in players.items():
        shown = {"agents": "beliefd", "optimum": "value iteration", "random": "random"}[name]
        with screen.track(f"{sizes.lakes:,} lakes: {shown}", sizes.lakes * sizes.lake_episodes) as advance:
            success[name] = play(env, choose, sizes.lake_episodes, _SEED, advance)
    env.close()
    return LakeResult(lakes=sizes.lakes, episodes=sizes.lakes * sizes.lake_episodes, **success)
