"""Workers and batches as the broker knows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from beliefd_broker.population import Population
from beliefd_broker.request import Job, Piece
from beliefd_proto.messages import WorkerHello, WorkerStatus
from beliefd_service.process import ProcessIdentity

BATCHES_IN_FLIGHT = 2
"""One that runs and one that waits in the worker's socket, so that a worker never waits for the broker."""


@dataclass(slots=True)
class Batch:
    """What one message hands to a worker: pieces that run together, or one job."""

    number: int
    pieces: list[Piece]
    job: Job | None
    predicted_ns: float
    due_s: float = 0.0

    @property
    def population(self) -> Population | None:
        return self.job.population if self.job is not None else self.pieces[0].chunk.population

    @property
    def agents(self) -> int:
        return sum(piece.count for piece in self.pieces)


@dataclass(slots=True)
class Worker:
    """A registered worker process.

    Its incarnation is its routing id too. `state` is ``"greeted"`` until it has said that it is idle under this
    broker's epoch, then ``"ready"``; ``"leaving"`` after it asked to end; ``"doomed"`` from the SIGKILL on.
    """

    name: str
    incarnation: bytes
    identity: ProcessIdentity
    state: str = "greeted"
    batches: dict[int, Batch] = field(default_factory=dict)
    batches_done: int = 0
    agent_steps: int = 0
    cpu_s: float = 0.0
    rss_bytes: int = 0

    @classmethod
    def from_hello(cls, hello: WorkerHello) -> Worker:
        identity = ProcessIdentity(hello.pid, hello.start_time, hello.boot_id)
        return cls(hello.worker, hello.incarnation, identity)

    @property
    def room(self) -> int:
        return BATCHES_IN_FLIGHT - len(self.batches) if self.state == "ready" else 0

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
