"""A simulator as a process of its own: ``python -m nemesis.herd NAME ENDPOINT DIARY``, until its standard input closes.

It steps its population in parts, over and over, settles whatever came to no certain end, and writes all of it down. It
may be killed at any moment, and another one started in its place.
"""

from __future__ import annotations

import contextlib
import random
import select
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

import beliefd
from beliefd.client import Client
from beliefd.step import Step
from beliefd_proto import Applied
from beliefd_proto.errors import BeliefdError, Conflict, Quarantined, StorageError, Unavailable, WorkerCrashed
from nemesis.diary import Diary, Ended, Found, Sent
from nemesis.herds import HERDS, PARTS, Herd
from nemesis.inputs import observations, resets

_PAUSE_S = 0.01
_RETRY_S = 0.2

T = TypeVar("T")


@dataclass
class Flight:
    """A step on its way, and when it ended; `future` is None where it did not leave."""

    number: int
    agents: NDArray[np.int64]
    deadline_s: float
    future: Future[Step] | None = None
    ended_s: list[float] = field(default_factory=list)

    def note_end(self, _: object = None) -> None:
        self.ended_s.append(time.monotonic())


class Simulator:
    """Steps one population by one client."""

    def __init__(self, herd: Herd, client: Client, diary: Diary) -> None:
        self._herd = herd
        self._diary = diary
        self._rng = random.Random()  # who is stepped together changes no result
        self._sent = 0
        self._population = patiently(lambda: client.population(herd.name))
        self._ticks = np.zeros(herd.agents, np.int64)
        self._find(np.arange(herd.agents), fresh=True)

    def step(self) -> None:
        """One step of every agent, in parts that are in flight together."""
        order = np.array(self._rng.sample(range(self._herd.agents), self._herd.agents))
        parts = np.array_split(order, self._rng.randint(1, PARTS))
        for flight in [self._submitted(np.sort(part)) for part in parts]:
            if flight.future is not None:
                self._settle(flight, flight.future.result)

    def _submitted(self, agents: NDArray[np.int64]) -> Flight:
        ticks = self._ticks[agents] + 1
        timeout_s = self._herd.wait_s * self._rng.uniform(0.1, 1.0)
        self._sent += 1
        sent_s = time.monotonic()
        self._diary.write(Sent(self._sent, sent_s, agents.tobytes(), ticks.tobytes()))
        flight = Flight(self._sent, agents, sent_s + timeout_s)
        try:
            flight.future = self._population.submit(
                observations(self._herd.seed, self._population.info.num_obs, agents, ticks),
                agents=agents,
                reset=resets(self._herd.seed, agents, ticks),
                want=("vfe",),
                timeout_s=timeout_s,
            )
            flight.future.add_done_callback(flight.note_end)
        except BeliefdError as error:
            flight.note_end()
            self._note_error(flight, error)
        return flight

    def _settle(self, flight: Flight, outcome: Callable[[], Step]) -> None:
        """Wait for a step, and ask again for what is unknown, under the same ids, until it is known."""
        while True:
            try:
                step = outcome()
            except BeliefdError as error:
                if not self._note_error(flight, error):
                    return
                outcome = self._another_attempt(flight, error)
                continue
            if not flight.ended_s:
                flight.note_end()
            assert step.vfe is not None
            self._note(flight, ticks=step.tick.tobytes(), actions=step.actions.tobytes(), vfe=step.vfe.tobytes())
            self._ticks[flight.agents] = step.tick
            return

    def _another_attempt(self, flight: Flight, error: BeliefdError) -> Callable[[], Step]:
        def attempt() -> Step:
            time.sleep(_RETRY_S)
            flight.deadline_s = time.monotonic() + self._herd.wait_s
            return self._population.retry(error, timeout_s=self._herd.wait_s)

        return attempt

    def _note_error(self, flight: Flight, error: BeliefdError) -> bool:
        """Write an error down; returns whether it left something unknown."""
        if not flight.ended_s:
            flight.note_end()
        applied = np.full(len(flight.agents), Applied.NO, np.uint8) if error.applied is None else error.applied
        ticks = b"" if error.call is None else error.call.ticks.tobytes()
        self._note(flight, error.code, str(error)[:300], applied.tobytes(), ticks)
        if isinstance(error, Quarantined | WorkerCrashed):
            patiently(self._population.release)
        if (applied == Applied.UNKNOWN).any():
            return True
        if error.call is not None:
            done = applied == Applied.YES
            self._ticks[flight.agents[done]] = error.call.ticks[done]
        if isinstance(error, Conflict):
            self._find(flight.agents, fresh=False)
        return False

    def _note(
        self,
        flight: Flight,
        code: str = "",
        text: str = "",
        applied: bytes = b"",
        ticks: bytes = b"",
        actions: bytes = b"",
        vfe: bytes = b"",
    ) -> None:
        at_s = flight.ended_s.pop()
        self._diary.write(
            Ended(flight.number, at_s, at_s - flight.deadline_s, code, text, applied, ticks, actions, vfe)
        )

    def _find(self, agents: NDArray[np.int64], fresh: bool) -> None:
        self._ticks[agents] = patiently(lambda: self._population.read(agents, want=())).tick
        self._diary.write(Found(time.monotonic(), fresh, agents.tobytes(), self._ticks[agents].tobytes()))


def patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns, once the server can say it."""
    while True:
        try:
            return ask()
        except (Unavailable, StorageError, WorkerCrashed, Quarantined):
            time.sleep(_RETRY_S)


def main(name: str, endpoint: str, diary_file: str) -> None:
    herd = next(herd for herd in HERDS if herd.name == name)
    with Diary(Path(diary_file)) as diary, patiently(lambda: beliefd.connect(endpoint)) as client:
        simulator = Simulator(herd, client, diary)
        while not select.select([sys.stdin], [], [], _PAUSE_S)[0]:
            simulator.step()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:])
