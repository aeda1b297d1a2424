"""Workers and batches as the broker knows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from beliefd_broker.population import Population
from beliefd_broker.request import Job, Piece
from beliefd_broker.scheduling import LEAST_BATCH_NS
from beliefd_proto.messages import WorkerHello, WorkerStatus
from beliefd_service.process import ProcessIdentity

LOADS_IN_FLIGHT = 2
"""One that runs and one that waits in the worker's socket, so that a worker never waits for the broker."""
LONG_NS = 10_000_000.0
"""A batch that takes longer, or is late by that much, has nobody wait behind it."""


@dataclass(slots=True)
class Batch:
    """What a worker does at once: pieces that run together, or one job.

    It goes to the worker in one message with the others of its `load`, and their results come back in one. From
    `late_s` on it has taken longer than it should, and from `due_s` on its worker counts as hung.
    """

    number: int
    pieces: list[Piece]
    job: Job | None
    predicted_ns: float
    load: int = 0
    late_s: float = 0.0
    due_s: float = 0.0

    @classmethod
    def of_job(cls, job: Job) -> Batch:
        return cls(0, [], job, job.predicted_ns)

    @classmethod
    def of_pieces(cls, pieces: list[Piece]) -> Batch:
        chunk = pieces[0].chunk
        return cls(0, pieces, None, chunk.population.predicted_ns(chunk.cost_key, sum([p.count for p in pieces])))

    @property
    def is_small(self) -> bool:
        """Whether it takes so little that others go along with it."""
        if self.job is not None or self.predicted_ns > LEAST_BATCH_NS:
            return False
        return all(piece.count == piece.chunk.count for piece in self.pieces)

    @property
    def opening_ns(self) -> float:
        """What its worker may take before it begins, where nobody has opened the population under its kernels."""
        return self.population.opening_ns if self.population is not None else 0.0

    @property
    def population(self) -> Population | None:
        return self.job.population if self.job is not None else self.pieces[0].chunk.population

    @property
    def is_usual(self) -> bool:
        """Whether a batch of its kind has been done before, so that it is known to take no longer than predicted."""
        return (
            self.population is not None and self.job is None and self.population.has_run(self.pieces[0].chunk.cost_key)
        )

    @property
    def deaths(self) -> int:
        """How many workers died over it."""
        return self.job.deaths if self.job is not None else max([piece.deaths for piece in self.pieces])

    @property
    def agents(self) -> int:
        return sum([piece.count for piece in self.pieces])


@dataclass(slots=True)
class Worker:
    """A registered worker process.

    Its incarnation names its connection too. `state` is ``"greeted"`` until it has said that it is idle under this
    broker's epoch, then ``"ready"``; ``"silent"`` while it is idle and does not say so; ``"leaving"`` after it asked
    to end; ``"doomed"`` from the SIGKILL on.
    """

    name: str
    incarnation: bytes
    identity: ProcessIdentity
    state: str = "greeted"
    heard_s: float = 0.0
    batches: dict[int, Batch] = field(default_factory=dict)
    batches_done: int = 0
    agent_steps: int = 0
    cpu_s: float = 0.0
    rss_bytes: int = 0
    worn: bool = False

    @classmethod
    def from_hello(cls, hello: WorkerHello) -> Worker:
        identity = ProcessIdentity(hello.pid, hello.start_time, hello.boot_id)
        return cls(hello.worker, hello.incarnation, identity)

    @property
    def ahead_ns(self) -> float:
        """How long what it has will take."""
        return sum([batch.predicted_ns for batch in self.batches.values()])

    @property
    def opening_ns(self) -> float:
        return sum([batch.opening_ns for batch in self.batches.values()])

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
