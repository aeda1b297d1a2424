"""Agents of a work on their way through a forced history, served by a stack or stepped in this process."""

from __future__ import annotations

import itertools
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from beliefd.model import Model
from beliefd.step import Step
from benches.history import History, drawn_history
from benches.timing import repeated
from benches.works import Work

_numbers = itertools.count()


class Steppable(Protocol):
    """`beliefd.population.Population` and `beliefd.engine.Engine` are."""

    def step(self, observations: Any, agents: Any = None, **options: Any) -> Step: ...


def fresh_name(work: str) -> str:
    """A name for a population that none had before in this run."""
    return f"{work}-{next(_numbers)}"


class Walk:
    """The agents of a work, all in one call per tick.

    Parameters
    ----------
    agents : Steppable
        As many as `history` has.
    history : History
        Kept as an attribute.
    forced : bool
        Whether the agents are told the actions of the history, and start anew with its first tick, as other programs
        are. Otherwise they are told the observations alone, and believe that they did as they chose.
    """

    def __init__(self, agents: Any, history: History, forced: bool) -> None:
        self._agents: Steppable = agents
        self.history = history
        self._observations = list(history.observations)
        self._executed: list[NDArray[np.int32]] = list(history.actions)
        self._everyone = np.ones(history.observations.shape[1], np.bool_)
        self._forced = forced
        self._tick = 0

    def step(self) -> Step:
        """The next tick."""
        tick = self._tick % len(self._observations)
        self._tick += 1
        if not self._forced:
            return self._agents.step(self._observations[tick])
        if tick == 0:
            return self._agents.step(self._observations[tick], reset=self._everyone)
        return self._agents.step(self._observations[tick], executed_actions=self._executed[tick - 1])

    def steps(self, limit_s: float) -> list[float]:
        """Seconds of each tick, until `limit_s` are over."""
        return repeated(self.step, limit_s)

    def choices(self) -> NDArray[np.int32]:
        """What the agents choose along the history, from its start: shape (ticks, agents, factors)."""
        self._tick = 0
        return np.stack([self.step().actions for _ in self._observations])


def material(work: Work, agents: int | None = None) -> tuple[Model, History]:
    """The model of a work, and a history of its agents or of as many as are asked for."""
    model = work.make()
    return model, drawn_history(model, agents or work.agents, work.moves, work.ticks)
