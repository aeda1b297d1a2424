"""NumPy agents by number, each on its way through the forced history."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from benches.drivers.given import Given
from benches.numpy_agent import NumpyAgent, Tables, Vector, margin


class NumpyAgents:
    """Agents `first` to `first + count` of a work."""

    def __init__(self, given: Given, first: int, count: int) -> None:
        self.tables = Tables(given)
        self.ticks = len(given.observations)
        self.observations = given.observations[:, first : first + count].tolist()
        self.forced = given.actions[:, first : first + count].tolist()
        self.agents = [NumpyAgent(self.tables) for _ in range(count)]

    def step(self, number: int, tick: int) -> tuple[int, ...]:
        """One tick of one agent."""
        tick %= self.ticks
        return self.agents[number].step(self.observations[tick][number], tick == 0, self.forced[tick][number])

    def step_from(self, number: int, tick: int, prior: list[Vector]) -> tuple[tuple[int, ...], list[Vector], float]:
        """The same from a prior kept elsewhere; returns the action, the next prior, and the seconds it took."""
        started_s = time.perf_counter()
        self.agents[number].prior = prior
        action = self.step(number, tick)
        return action, self.agents[number].prior, time.perf_counter() - started_s

    def alone_s(self, rounds: int = 200) -> float:
        """Seconds that one agent takes for a step while nothing else runs in this process."""
        started_s = time.perf_counter()
        for tick in range(rounds):
            self.step(0, tick)
        return (time.perf_counter() - started_s) / rounds

    def margins(self) -> NDArray[np.float64]:
        """Margins of the last step of every agent: see `Program.check`."""
        return np.array([margin(agent.worth, self.tables.first_actions) for agent in self.agents])

    def check(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """As `Program.check` returns it, one agent after the other."""
        actions, margins = [], []
        for tick in range(self.ticks):
            actions.append([self.step(number, tick) for number in range(len(self.agents))])
            margins.append(self.margins())
        return np.array(actions), np.stack(margins)
