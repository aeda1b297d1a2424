"""Workers and batches as the broker knows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from beliefd_broker.population import Population
from beliefd_broker.request import Job, Piece
from beliefd_broker.scheduling import LEAST_BATCH_NS
from beliefd_proto.messages import WorkerHello, WorkerStatus
from beliefd_service.process import ProcessIdentity

if TYPE_CHECKING:
    from beliefd_broker.sharing import Shared

LOADS_IN_FLIGHT = 2
"""One that runs and one that waits in the worker's socket, so that a worker never waits for the broker."""
LONG_NS = 10_000_000.0
"""A batch that takes longer, or is late by that much, has nobody wait behind it."""


class Batch(msgspec.Struct, eq=False):
    """What a worker does at once: pieces that run together, or one job.

    It goes to the worker in one message with the others of its `load`, and their results come back in one. From
    `late_s` on it has taken longer than it should, and from `due_s` on its worker counts as hung. Its piece may be
    `shared` with another worker's batch; one of the two takes it `from_end`.
    """

    number: int
    pieces: list[Piece]
    job: Job | None
    predicted_ns: float
    load: int = 0
    late_s: float = 0.0
    due_s: float = 0.0
    shared: Shared | None = None
    from_end: bool = False

    @classmethod
    def of_job(cls, job: Job) -> Batch:
        return cls(0, [], job, job.predicted_ns)

    @classmethod
    def of_pieces(cls, pieces: list[Piece]) -> Batch:
        chunk = pieces[0].chunk
        agents = pieces[0].count if len(pieces) == 1 else sum([piece.count for piece in pieces])
        return cls(0, pieces, None, chunk.population.predicted_ns(chunk.cost_key, agents))

    @property
    def is_small(self) -> bool:
        """Whether it takes so little that others go along with it."""
        if self.job is not None or self.predicted_ns > LEAST_BATCH_NS:
            return False
        return all(piece.count == piece.chunk.count for piece in self.pieces)

    @property
    def is_open(self) -> bool:
        """Whether somebody waits for it; not, where who shares its piece has done all of it."""
        return self.shared is None or self.shared.piece.chunk.open_agents > 0

    @property
    def opening_ns(self) -> float:
        """What its worker may take before it begins, where nobody has opened the population under its kernels."""
        population = self.population
        return population.opening_ns if population is not None else 0.0

    @property
    def population(self) -> Population | None:
        return self.job.population if self.job is not None else self.pieces[0].chunk.population

    @property
    def is_usual(self) -> bool:
        """Whether a batch of its kind has been done before, so that it is known to take no longer than predicted."""
        if self.job is not None:
            return False
        chunk = self.pieces[0].chunk
        return chunk.population.has_run(chunk.cost_key)

    @property
    def deaths(self) -> int:
        """How many workers died over it."""
        if self.job is not None:
            return self.job.deaths
        return self.pieces[0].deaths if len(self.pieces) == 1 else max([piece.deaths for piece in self.pieces])

    @property
    def agents(self) -> int:
        return self.pieces[0].count if len(self.pieces) == 1 else sum([piece.count for piece in self.pieces])


@dataclass(slots=True)
class Worker:
    """A registered worker process.

    Its incarnation names its connection too. `state` is ``"greeted"`` until it has said that it is idle under this
    broker's epoch, then ``"ready"``; ``"silent"`` while it is idle and does not say so; ``"leaving"`` after it asked
    to end; ``"doomed"`` from the SIGKILL on. What is in its hands takes `ahead_ns` in all, so that it should
    be done at `done_s`, 0 where there is nothing; and `opening_ns` more where nobody has opened those populations.
    """

    name: str
    incarnation: bytes
    identity: ProcessIdentity
    state: str = "greeted"
    heard_s: float = 0.0
    batches: dict[int, Batch] = field(default_factory=dict)
    ahead_ns: float = 0.0
    opening_ns: float = 0.0
    done_s: float = 0.0
    batches_done: int = 0
    agent_steps: int = 0
    cpu_s: float = 0.0
    rss_bytes: int = 0
    worn: bool = False

    @classmethod
    def from_hello(cls, hello: WorkerHello) -> Worker:
        identity = ProcessIdentity(hello.pid, hello.start_time, hello.boot_id)
        return cls(hello.worker, hello.incarnation, identity)

    def take(self, batch: Batch, now_s: float) -> None:
        """Have a batch in its hands."""
        self.batches[batch.number] = batch
        self.ahead_ns += batch.predicted_ns
        self.done_s = max(self.done_s, now_s) + batch.predicted_ns / 1e9
        self.opening_ns += batch.opening_ns

    def give_back(self, number: int, now_s: float) -> Batch | None:
        """Have the batch of this number, which is done, in its hands no longer; None where it was not."""
        batch = self.batches.pop(number, None)
        if not self.batches:  # not by subtraction: what was rounded would stay for ever
            self.ahead_ns = self.opening_ns = self.done_s = 0.0
        elif batch is not None:
            self.ahead_ns -= batch.predicted_ns
            self.opening_ns -= batch.opening_ns
            self.done_s = now_s + self.ahead_ns / 1e9
        return batch

    def awaited_s(self, now_s: float) -> float:
        """When it is likely to be done; 0 where it has nothing. Who is late is likely to be as late again."""
        return self.done_s if self.done_s >= now_s or not self.batches else 2 * now_s - self.done_s

    def left_ns(self, batch: Batch, now_s: float) -> float:
        """What of a batch in its hands is likely to be left to do."""
        left_ns = (self.awaited_s(now_s) - now_s) * 1e9
        for other in reversed(self.batches.values()):  # they run in their order
            if other is batch:
                break
            left_ns -= other.predicted_ns
        return min(left_ns, batch.predicted_ns)

    def relieve(self, batch: Batch, by_ns: float, now_s: float) -> None:
        """So much of a batch in its hands somebody else does."""
        batch.predicted_ns -= by_ns
        self.ahead_ns -= by_ns
        if self.done_s > now_s:  # who is late does not get later
            self.done_s -= by_ns / 1e9

    def has_room(self, now_s: float) -> bool:
        if self.state != "ready":
            return False
        if len(self.batches) >= LOADS_IN_FLIGHT and len({b.load for b in self.batches.values()}) >= LOADS_IN_FLIGHT:
            return False
        return not self.batches or (
            self.ahead_ns <= LONG_NS and all(now_s < batch.late_s for batch in self.batches.values())
        )

    def status(self, registrations: int) -> WorkerStatus:
        return WorkerStatus(
            name=self.name,
            pid=self.identity.pid,
            state="busy" if self.state == "ready" and self.batches else self.state,
            batches=self.batches_done,
            agent_steps=self.agent_steps,
            registrations=registrations,
            cpu_s=self.cpu_s,
            rss_bytes=self.rss_bytes,
            in_flight=len(self.batches),
        )
