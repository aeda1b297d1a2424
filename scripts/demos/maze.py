"""The T-maze: agents that look at a cue before they choose, served through the broker."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import beliefd
from beliefd.worlds import CUE, LEFT_ARM, RIGHT_ARM, tmaze
from demos.maze_world import MazeWorld
from demos.screen import Screen
from demos.sizes import Sizes
from demos.table import Figure, percent, rate

CUE_VALIDITY = 0.95
MOVES = 2
"""Of a trial: one to the cue and one into an arm. The observation after the second shows the outcome."""
WANTED_REWARDED = 0.9
WANTED_PER_S = 200_000.0
_SEED = 7


@dataclass(frozen=True)
class Recording:
    """What some of the agents saw and did, tick by tick.

    Attributes
    ----------
    observations : ndarray of int32, shape (ticks, agents, 3)
    starts : ndarray of bool, shape (ticks,)
        Ticks at which a new trial begins.
    actions : ndarray of int32, shape (ticks, agents)
    """

    observations: NDArray[np.int32]
    starts: NDArray[np.bool_]
    actions: NDArray[np.int32]


@dataclass(frozen=True)
class MazeResult:
    """What the agents did, over all trials.

    `cue_first` and `rewarded` are fractions of all trials. `arms` counts the trials that ended in the right and the
    left arm (rows), with and without the reward (columns). `agent_steps_per_s` counts the time of the calls alone, each
    of which waited for the one before it: the median of the trials after the first.
    """

    agents: int
    trials: int
    cue_first: float
    rewarded: float
    arms: NDArray[np.int64]
    agent_steps_per_s: float
    recording: Recording

    def figures(self) -> list[Figure]:
        return [
            Figure("T-maze: look at the cue first", percent(self.cue_first)),
            Figure(
                "T-maze: end with the reward",
                percent(self.rewarded),
                f">= {percent(WANTED_REWARDED)}",
                self.rewarded >= WANTED_REWARDED,
            ),
            Figure(
                "T-maze: agent-steps, served",
                rate(self.agent_steps_per_s),
                f">= {rate(WANTED_PER_S)}",
                self.agent_steps_per_s >= WANTED_PER_S,
            ),
        ]


def maze_model() -> beliefd.Model:
    """What the agents know of the maze: all of it but the side of the reward.

    The arm tells the side for certain and the cue only with 0.95, so an agent that just wants to know would try an arm.
    If it liked the reward as much as it disliked the punishment, a blind try would cost it nothing on average. Hence
    the punishment weighs double: a blind try then costs (6 - 3) / 2 = 1.5 nats for each step in the arm, more than the
    ln 2 = 0.7 nats that it tells. The cue costs nothing and tells 0.5 nats. After it the arm is worth
    0.95 * 3 - 0.05 * 6 = 2.55 nats a step, and the agent goes.
    """
    maze = tmaze(cue_validity=CUE_VALIDITY, reward_validity=1.0)
    nothing_reward_punishment = [0.0, 3.0, -6.0]
    return beliefd.Model(
        A=maze.A,
        B=maze.B,
        C=[np.zeros(4), nothing_reward_punishment, np.zeros(2)],
        D=maze.D,
        A_dependencies=maze.A_dependencies,
        policy_len=MOVES,
    )


def run_maze(client: beliefd.Client, sizes: Sizes, screen: Screen) -> MazeResult:
    """Send the agents through the maze, trial after trial, one call per tick."""
    agents, trials = sizes.maze_agents, sizes.maze_trials
    mice = client.create_population("mice", maze_model(), agents=agents, seed=_SEED)
    world = MazeWorld(agents, CUE_VALIDITY, _SEED)
    kept_observations, kept_actions, step_s = [], [], []
    cue_first = 0
    arms = np.zeros((2, 2), np.int64)
    with screen.track(f"{agents:,} agents, {trials} trials of {MOVES + 1} ticks", trials) as advance:
        for _ in range(trials):
            observations = world.start()
            for tick in range(MOVES + 1):
                sent_s = time.perf_counter()
                step = mice.step(observations, reset=np.full(agents, tick == 0), timeout_s=60.0)
                step_s.append(time.perf_counter() - sent_s)
                kept_observations.append(observations[: sizes.threads])
                kept_actions.append(step.control[: sizes.threads])
                if tick < MOVES:
                    observations = world.move(step.control)
                if tick == 0:
                    cue_first += int((world.locations == CUE).sum())
            for row, arm in enumerate((RIGHT_ARM, LEFT_ARM)):
                there = world.locations == arm
                arms[row] += [int((there & world.rewarded).sum()), int((there & ~world.rewarded).sum())]
            advance(1)
    # The first trial loads the model into every worker. A median, since other programs may take a core for a while.
    trial_s = np.reshape(step_s, (trials, MOVES + 1)).sum(axis=1)
    median_s = float(np.median(trial_s[1:]))
    return MazeResult(
        agents=agents,
        trials=trials,
        cue_first=cue_first / (agents * trials),
        rewarded=int(arms[:, 0].sum()) / (agents * trials),
        arms=arms,
        agent_steps_per_s=agents * (MOVES + 1) / median_s,
        recording=Recording(
            np.array(kept_observations), np.arange(len(step_s)) % (MOVES + 1) == 0, np.array(kept_actions)
        ),
    )
