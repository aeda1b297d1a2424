"""FrozenLake seen through noise; in the middle of it a worker is killed, and afterwards every bit is compared."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import beliefd
from beliefd.engine import Engine
from beliefd_proto.errors import StartupError
from beliefd_service.stack import Stack
from demos.episodes import Episodes, Scores
from demos.lake import make_lakes
from demos.lake_model import cells_of_reward, lake_model, noisy_sensor
from demos.screen import Screen
from demos.sizes import Sizes
from demos.table import Figure, percent

SENSOR_RIGHT = 0.7
VICTIM = "worker_00"
_SEED = 13


class Sensor:
    """Shows where agents are, with errors drawn from the columns of A."""

    def __init__(self, A: NDArray[np.float64], seed: int) -> None:
        self._running = np.cumsum(A, axis=0)
        self._draws = np.random.default_rng(seed)

    def observe(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """One shown cell per true cell."""
        draws = self._draws.random(len(cells))
        # The last entry of a running sum may be a rounding error under 1.
        return np.asarray((self._running[:-1, cells] <= draws).sum(axis=0))


@dataclass(frozen=True)
class Walk:
    """What happened, tick by tick.

    Attributes
    ----------
    cells, observations, actions : ndarray of int, shape (ticks, agents)
        Where each agent was, what it saw, what it did.
    starts : ndarray of bool, shape (ticks, agents)
        Where a new episode began.
    beliefs : ndarray of float32, shape (ticks, agents, cells)
    step_s : ndarray, shape (ticks,)
        How long each call took, in seconds.
    """

    cells: NDArray[np.int64]
    observations: NDArray[np.int64]
    starts: NDArray[np.bool_]
    actions: NDArray[np.int32]
    beliefs: NDArray[np.floating]
    step_s: NDArray[np.float64]


@dataclass(frozen=True)
class NoisyLakeResult:
    """The walk, what became of it, and how much of it an uninterrupted run repeats.

    `goals` and `holes` are the cells of the lake that end an episode.
    `success` is the fraction of first episodes that ended at the goal. `same_actions` and `same_beliefs` count the
    agent-steps with equal actions, and with beliefs equal in every bit.
    """

    walk: Walk
    goals: NDArray[np.int64]
    holes: NDArray[np.int64]
    success: float
    killed_tick: int
    killed_pid: int
    same_actions: int
    same_beliefs: int

    @property
    def agent_steps(self) -> int:
        return self.walk.actions.size

    @property
    def longest_s(self) -> float:
        """The longest step from the kill on, in seconds: a worker ends, and its successor starts."""
        return float(self.walk.step_s[self.killed_tick :].max())

    def figures(self) -> list[Figure]:
        total = f"{self.agent_steps:,}"
        median_ms, longest_ms = 1e3 * float(np.median(self.walk.step_s)), 1e3 * self.longest_s
        return [
            Figure("noisy lake: beliefd, at the goal", percent(self.success)),
            Figure("kill -9: longest step after it", f"{longest_ms:.0f} ms"),
            Figure("kill -9: median step of the run", f"{median_ms:.0f} ms"),
            Figure(
                "actions as in a run without kill",
                f"{self.same_actions:,}",
                f"all {total}",
                self.same_actions == self.agent_steps,
            ),
            Figure(
                "beliefs too, in every bit",
                f"{self.same_beliefs:,}",
                f"all {total}",
                self.same_beliefs == self.agent_steps,
            ),
        ]


def run_noisy_lake(client: beliefd.Client, stack: Stack, sizes: Sizes, screen: Screen) -> NoisyLakeResult:
    """Walk, kill a worker on the way, and compare with the same walk in this process."""
    env, table, start = make_lakes(sizes.noisy_lakes)
    A = noisy_sensor(round(len(table) ** 0.5), SENSOR_RIGHT)
    model = lake_model(table, start, A)
    agents = client.create_population("noisy-lake", model, agents=sizes.noisy_lakes, seed=_SEED)
    world, sensor, scores = Episodes(env, _SEED), Sensor(A, _SEED), Scores(sizes.noisy_lakes, 1)
    victim, killed_tick = _victim(stack), sizes.noisy_ticks // 2
    ticks = []
    with screen.track(f"{sizes.noisy_lakes:,} agents on a lake that they see dimly", sizes.noisy_ticks) as advance:
        for tick in range(sizes.noisy_ticks):
            cells, starts, observations = world.observations, world.starts, sensor.observe(world.observations)
            sent_s = time.perf_counter()
            future = agents.submit(observations, reset=starts, want=("beliefs",), timeout_s=60.0)
            if tick == killed_tick:
                os.kill(victim, signal.SIGKILL)
                screen.say(f"  [bold red]kill -9 {victim}[/bold red]: {VICTIM} dies while step {tick + 1} is under way")
            step = future.result()
            step_s = time.perf_counter() - sent_s
            assert step.beliefs is not None
            ticks.append((cells, observations, starts, step.control, step.beliefs[0], step_s))
            scores.add(*world.step(step.control))
            advance(1)
    env.close()
    walk = Walk(*(np.array(column) for column in zip(*ticks, strict=True)))
    with screen.track("the same walk in this process, uninterrupted"):
        same_actions, same_beliefs = compare_with_engine(model, _SEED, walk)
    success = float(scores.rewards.mean())
    return NoisyLakeResult(walk, *cells_of_reward(table), success, killed_tick, victim, same_actions, same_beliefs)


def compare_with_engine(model: beliefd.Model, seed: int, walk: Walk) -> tuple[int, int]:
    """Give an `Engine` the same observations; count agent-steps with equal actions, and with equal bits of belief."""
    same_actions = same_beliefs = 0
    with Engine(model, agents=walk.actions.shape[1], seed=seed) as engine:
        for tick, observations in enumerate(walk.observations):
            step = engine.step(observations, reset=walk.starts[tick], want=("beliefs",))
            assert step.beliefs is not None
            same_actions += int((step.control == walk.actions[tick]).sum())
            bits, served_bits = (belief.view(np.uint32) for belief in (step.beliefs[0], walk.beliefs[tick]))
            same_beliefs += int((bits == served_bits).all(axis=1).sum())
    return same_actions, same_beliefs


def _victim(stack: Stack) -> int:
    pid = stack.worker_pid(VICTIM)
    if not pid:
        raise StartupError("this worker does not run, so it cannot be killed; see its log", field=VICTIM, value=pid)
    return pid
