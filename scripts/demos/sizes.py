"""How much of everything a demonstration does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of one run.

    Attributes
    ----------
    maze_agents, maze_trials : int
        Agents of the T-maze, and how often each goes through it.
    threads : int
        Python threads of the comparison, one agent each.
    threads_s : float
        How long each of its measurements lasts, in seconds.
    lakes, lake_episodes : int
        FrozenLake environments, and how many episodes of each count.
    noisy_lakes, noisy_ticks : int
        The same with a noisy position. More ticks than the environment's limit of 100 steps, so that the first episode
        of each ends.
    """

    maze_agents: int
    maze_trials: int
    threads: int
    threads_s: float
    lakes: int
    lake_episodes: int
    noisy_lakes: int
    noisy_ticks: int


FULL = Sizes(
    maze_agents=10_000,
    maze_trials=200,
    threads=50,
    threads_s=1.5,
    lakes=1_000,
    lake_episodes=2,
    noisy_lakes=1_000,
    noisy_ticks=120,
)
QUICK = Sizes(
    maze_agents=10_000,
    maze_trials=20,
    threads=50,
    threads_s=0.3,
    lakes=300,
    lake_episodes=1,
    noisy_lakes=200,
    noisy_ticks=105,
)
