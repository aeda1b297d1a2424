"""Demand as a process of its own: steps by one client, as many in flight as told or so many a second.

A line of JSON on standard input says what to do (`Demand`). Once every group has made a first step there is a line on
standard output; the next one on standard input starts it all, and the last one on standard output is the `Outcome`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque
from concurrent.futures import Future

import msgspec
import numpy as np

import beliefd
from beliefd.population import Population
from beliefd.step import Step
from beliefd_proto import Applied
from beliefd_proto.errors import BeliefdError

_PAUSE_S = 0.002
_PATIENCE_S = 120.0


class Demand(msgspec.Struct, frozen=True):
    """What to ask for. `first`, `groups` and `size` say which agents: so many groups, each stepped by a request.

    A group has one request at a time, and the groups take turns. `rate` is in requests per second; 0: as soon as fewer
    than `in_flight` of them wait for an answer.
    """

    endpoint: str
    population: str
    first: int
    groups: int
    size: int
    in_flight: int
    rate: float
    timeout_s: float
    seconds: float


class Outcome(msgspec.Struct):
    """What came of it: requests that were due, those that found no free group, those served, and the errors.

    `unknown` counts the errors that left it open whether the step was made; `cpu_s` is what the client itself took.
    """

    due: int = 0
    unsent: int = 0
    served: int = 0
    unknown: int = 0
    errors: dict[str, int] = {}
    cpu_s: float = 0.0


class Loader:
    """Sends what is due, and counts what comes back."""

    def __init__(self, demand: Demand, population: Population) -> None:
        self._demand = demand
        self._population = population
        self._lock = threading.Lock()  # guards what follows: futures end on the client's thread
        self._free = deque(range(demand.groups))
        self._errors: Counter[str] = Counter()
        self._outcome = Outcome()
        rng = np.random.default_rng(demand.first)
        num_obs = population.info.num_obs
        self._inputs = np.stack([rng.integers(0, count, demand.size) for count in num_obs], axis=1)
        # What a search takes depends on what an agent has seen: who begins anew each time takes the same each time.
        self._anew = np.ones(demand.size, np.bool_)

    def prepare(self) -> None:
        """A step of every group: from then on its ticks are known here."""
        for _ in range(self._demand.groups):
            self._submit(_PATIENCE_S)
        while len(self._free) < self._demand.groups:
            time.sleep(_PAUSE_S)
        self._outcome.served = 0

    def run(self) -> Outcome:
        demand, outcome = self._demand, self._outcome
        started_s, started_cpu_s = time.monotonic(), time.process_time()
        while (passed_s := time.monotonic() - started_s) < demand.seconds:
            room = demand.in_flight - (demand.groups - len(self._free))
            due = int(passed_s * demand.rate) - outcome.due if demand.rate else room
            for _ in range(due):
                outcome.due += 1
                if self._free:
                    self._submit(demand.timeout_s)
                else:
                    outcome.unsent += 1
            time.sleep(_PAUSE_S)
        with self._lock:
            outcome.errors, outcome.cpu_s = dict(self._errors), time.process_time() - started_cpu_s
            return msgspec.structs.replace(outcome)

    def _submit(self, timeout_s: float) -> None:
        with self._lock:
            group = self._free.popleft()
        first = self._demand.first + group * self._demand.size
        agents = np.arange(first, first + self._demand.size)
        try:
            future = self._population.submit(self._inputs, agents=agents, reset=self._anew, timeout_s=timeout_s)
        except BeliefdError as error:  # where the group stands could not be found out in time
            self._ended(group, error)
            return
        future.add_done_callback(lambda future: self._answered(group, future))

    def _answered(self, group: int, future: Future[Step]) -> None:
        self._ended(group, future.exception())

    def _ended(self, group: int, error: BaseException | None) -> None:
        with self._lock:
            self._free.append(group)
            if error is None:
                self._outcome.served += 1
                return
            self._errors[error.code if isinstance(error, BeliefdError) else repr(error)] += 1
            applied = getattr(error, "applied", None)
            self._outcome.unknown += applied is not None and bool((applied == Applied.UNKNOWN).any())


def main() -> None:
    demand = msgspec.json.decode(sys.stdin.readline(), type=Demand)
    with beliefd.connect(demand.endpoint) as client:
        loader = Loader(demand, client.population(demand.population))
        loader.prepare()
        print("ready", flush=True)
        sys.stdin.readline()
        outcome = loader.run()
        print(msgspec.json.encode(outcome).decode(), flush=True)


if __name__ == "__main__":
    main()
