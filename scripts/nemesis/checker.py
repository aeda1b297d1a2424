"""Whether what a herd was told can be the truth: per agent no gap, no duplicate, no reorder, and the bits of an engine.

An agent's tick may be another than the herd was last told of in one case: a herd was killed with a step of it open.
Then that step may be made later, once, with the inputs that its record names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import Engine
from beliefd_proto import Applied
from beliefd_proto.errors import (
    DeadlineExceeded,
    Disconnected,
    DiskFull,
    FolderNotUsable,
    Quarantined,
    StaleTick,
    StorageError,
    TickTaken,
    WorkerCrashed,
)
from nemesis.diary import Ended, Found, Record, Sent
from nemesis.herds import Herd
from nemesis.inputs import observations, resets

LATE_S = 0.5
"""How long after its deadline a request may end: the machine does more than this."""
EARLY = 0.3
"""The part of its time that a request is given at least: the broker has less than the client, and keeps some back."""
_MOST_TOLD = 20
_EXPECTED = {
    error.code
    for error in (DeadlineExceeded, Disconnected, DiskFull, FolderNotUsable, StorageError, WorkerCrashed, Quarantined)
}
_CONFLICTS = {TickTaken.code, StaleTick.code}


@dataclass
class Answer:
    """What a step told of its agents."""

    agents: NDArray[np.int64]
    ticks: NDArray[np.int64]
    actions: NDArray[np.int32]
    vfe: NDArray[np.float64]

    def since(self, tick: int) -> Answer:
        """What it tells of this tick and later ones."""
        told = self.ticks >= tick
        return Answer(self.agents[told], self.ticks[told], self.actions[told], self.vfe[told])


@dataclass
class Flight:
    """A step that has no certain end yet for some of `agents`, and the inputs they were sent.

    `made` is the tick at which it was made, 0 where that is not known. Who has one is asked again with the others, and
    told of once more.
    """

    agents: NDArray[np.int64]
    inputs: NDArray[np.int64]
    made: NDArray[np.int64]
    sent_s: float


@dataclass
class Verdict:
    """What a herd's diary says. Times are in seconds, on the machine's monotonic clock."""

    violations: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    agent_steps: int = 0
    lives: int = 0
    latest_s: float = -np.inf
    served_s: list[float] = field(default_factory=list)


class Checker:
    """Follows one herd's records in their order."""

    def __init__(self, herd: Herd) -> None:
        self._herd = herd
        self._model = herd.make()
        self._engine = Engine(self._model, agents=herd.agents, seed=herd.seed)
        self._expected: list[tuple[NDArray[np.int32], NDArray[np.floating]]] = []  # what it did at `_first` and after
        self._first = 1
        self._last = np.zeros(herd.agents, np.int64)
        self._maybe = np.zeros(herd.agents, np.int64)  # the input of a step that a killed herd left open, 0 for none
        self._shifted: dict[tuple[int, int], int] = {}  # (agent, tick) whose input is that of another tick
        self._flights: dict[int, Flight] = {}
        self._answers: list[Answer] = []
        self.verdict = Verdict()

    def follow(self, records: Iterable[Record]) -> None:
        for record in records:
            match record:
                case Found():
                    self._found(record)
                case Sent():
                    agents = _ints(record.agents)
                    flight = Flight(agents, _ints(record.ticks), np.zeros_like(agents), record.at_s)
                    self._flights[record.number] = flight
                case Ended():
                    self._ended(record)

    def advance(self) -> None:
        """Compare as far as all agents have come, and let go of what was compared."""
        self._step_engine(int(self._last.min()))
        self._compare()

    def conclude(self, ticks: NDArray[np.int64]) -> Engine:
        """Compare with where the agents are in the end; returns an engine that was given what they were given."""
        self._leave_open()
        self._arrive(np.arange(self._herd.agents), ticks, "in the end")
        self._step_engine(int(self._last.max()))
        self._compare()
        return self._engine

    def violation(self, text: str) -> None:
        if len(self.verdict.violations) < _MOST_TOLD:
            self.verdict.violations.append(f"{self._herd.name}: {text}")

    def _found(self, record: Found) -> None:
        if record.fresh:
            self.verdict.lives += 1
            self._leave_open()
        self._arrive(_ints(record.agents), _ints(record.ticks), "read")

    def _leave_open(self) -> None:
        """The herd is gone; what it had open may still be done."""
        for flight in self._flights.values():
            unknown = flight.made == 0
            self._maybe[flight.agents[unknown]] = flight.inputs[unknown]
        self._flights.clear()

    def _arrive(self, agents: NDArray[np.int64], ticks: NDArray[np.int64], how: str) -> None:
        """Agents are found at these ticks."""
        moved = ticks != self._last[agents]
        for agent, tick in zip(agents[moved].tolist(), ticks[moved].tolist(), strict=True):
            if tick == self._last[agent] + 1 and self._maybe[agent]:
                self._advance(agent, tick, int(self._maybe[agent]))
            else:
                self.violation(f"agent {agent} is at tick {tick} ({how}); it was told {self._last[agent]}")
                self._last[agent] = tick

    def _ended(self, record: Ended) -> None:
        flight = self._flights[record.number]
        self.verdict.latest_s = max(self.verdict.latest_s, record.late_s)
        if record.late_s > LATE_S:
            self.violation(f"step {record.number} ended {record.late_s:.3f} s after its deadline")
        lasted_s = record.at_s - flight.sent_s
        given_s = lasted_s - record.late_s
        if record.code == DeadlineExceeded.code and lasted_s < EARLY * given_s:
            self.violation(f"step {record.number} was given up after {lasted_s:.3f} of its {given_s:.3f} s")
        if not record.code:
            self._answered(flight, record)
            del self._flights[record.number]
            return
        self.verdict.errors[record.code] += 1
        contested = record.code in _CONFLICTS and self._maybe[flight.agents].any()
        if record.code not in _EXPECTED and not contested:
            self.violation(f"step {record.number}: {record.code}: {record.text}")
        applied = np.frombuffer(record.applied, np.uint8)
        if (applied == Applied.YES).any():
            self._made(flight, record, applied == Applied.YES)
        if not (applied == Applied.UNKNOWN).any():
            del self._flights[record.number]

    def _answered(self, flight: Flight, record: Ended) -> None:
        ticks = _ints(record.ticks)
        self._made(flight, record, np.ones(len(ticks), np.bool_))
        actions = np.frombuffer(record.actions, np.int32).reshape(len(ticks), -1)
        vfe = np.frombuffer(record.vfe, self._model.dtype)
        self._answers.append(Answer(flight.agents, ticks, actions, vfe))
        self.verdict.steps += 1
        self.verdict.agent_steps += len(ticks)
        self.verdict.served_s.append(record.at_s)

    def _made(self, flight: Flight, record: Ended, said: NDArray[np.bool_]) -> None:
        """A step was made for those that this is `said` of."""
        ticks = _ints(record.ticks)
        again = said & (flight.made != 0)
        if (flight.made[again] != ticks[again]).any():
            self.violation(f"step {record.number} is told of at other ticks than before")
        news = said & ~again
        self._commit(flight.agents[news], ticks[news], flight.inputs[news])
        flight.made[news] = ticks[news]

    def _commit(self, agents: NDArray[np.int64], ticks: NDArray[np.int64], inputs: NDArray[np.int64]) -> None:
        """These steps are acknowledged."""
        plain = (ticks == self._last[agents] + 1) & (ticks == inputs)
        self._last[agents[plain]] = ticks[plain]
        self._maybe[agents[plain]] = 0
        for agent, tick, given in zip(*(a[~plain].tolist() for a in (agents, ticks, inputs)), strict=True):
            if tick == self._last[agent] + 2 and self._maybe[agent]:
                self._advance(agent, tick - 1, int(self._maybe[agent]))
            if tick != self._last[agent] + 1:
                kind = "again" if tick <= self._last[agent] else "after a gap"
                self.violation(f"agent {agent}: tick {tick} acknowledged {kind}; it was at {self._last[agent]}")
            self._advance(agent, tick, given)

    def _advance(self, agent: int, tick: int, given: int) -> None:
        self._last[agent] = tick
        self._maybe[agent] = 0
        if given != tick:
            self._shifted[agent, tick] = given

    def _step_engine(self, until: int) -> None:
        """Give the engine the inputs of all ticks up to this one, of agents that have come so far."""
        for tick in range(self._first + len(self._expected), until + 1):
            chosen = np.flatnonzero(self._last >= tick)
            inputs = np.full(len(chosen), tick)
            for place, agent in enumerate(chosen.tolist() if self._shifted else ()):
                inputs[place] = self._shifted.pop((agent, tick), tick)
            step = self._engine.step(
                observations(self._herd.seed, self._model.num_obs, chosen, inputs),
                agents=chosen,
                reset=resets(self._herd.seed, chosen, inputs),
                want=("vfe",),
            )
            actions = np.zeros((self._herd.agents, len(self._model.num_controls)), np.int32)
            vfe = np.zeros(self._herd.agents, self._model.dtype)
            actions[chosen], vfe[chosen] = step.actions, step.vfe
            self._expected.append((actions, vfe))

    def _compare(self) -> None:
        """Hold every answer that the engine has come to against what it did."""
        if not self._expected:
            return
        actions, vfe = (np.stack(arrays) for arrays in zip(*self._expected, strict=True))
        reached = self._first + len(self._expected)
        # What is told of ticks that are done with was acknowledged long before, or is a violation already.
        self._answers = [answer.since(self._first) for answer in self._answers if answer.ticks.max() >= self._first]
        for answer in [answer for answer in self._answers if answer.ticks.max() < reached]:
            at = (answer.ticks - self._first, answer.agents)
            differs = (answer.actions != actions[at]).any(axis=1) | (answer.vfe != vfe[at])
            for place in np.flatnonzero(differs)[:1]:
                self.violation(f"agent {answer.agents[place]}, tick {answer.ticks[place]}: not what the engine answers")
        self._answers = [answer for answer in self._answers if answer.ticks.max() >= reached]
        keep = min([reached, *(int(answer.ticks.min()) for answer in self._answers)])
        del self._expected[: keep - self._first]
        self._first = keep


def _ints(body: bytes) -> NDArray[np.int64]:
    return np.frombuffer(body, np.int64)
