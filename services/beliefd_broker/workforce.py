"""The workers of a broker: who registered, who is trusted with work, what is in whose hands.

Only death fences: work that was in a worker's hands goes to another only after the kernel has said that the worker's
process is gone. For the same reason nothing is dispatched after a start until every worker that outlived the last
broker, as the leases tell, has registered idle or died.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from beliefd_broker.actions import Action, KillWorker, Log, SendWorker, WatchWorker
from beliefd_broker.population import Population
from beliefd_broker.worker import LOADS_IN_FLIGHT, LONG_NS, Batch, Worker
from beliefd_proto import Command, encode
from beliefd_proto.errors import DeadlineExceeded
from beliefd_proto.messages import Retire, WorkerHello, WorkerStatus, WorkerWelcome
from beliefd_service.process import ProcessIdentity

SETTLE_S = 1.5
"""How long a worker that outlived the last broker may take to register before it is killed."""
HANG_FLOOR_S = 5.0
"""No batch counts as hung earlier: the machine may be busy with something else."""
FIRST_FLOOR_S = 30.0
"""Nor the first of its kind, for which a worker may have to load what it has not needed before."""
HANG_FACTOR = 50.0
RETIRE_EVERY_S = 2.0
"""A worker that is to be replaced waits for the one before it to be back."""
LATE_FACTOR = 2.0
SILENT_S = 1.0
"""An idle worker that has not said hello for so long, ten times in a row, gets no work until it does."""


class Workforce:
    """All registered workers, by incarnation.

    Attributes
    ----------
    lost : list of Batch
        What dead workers had in hand, until it is run again.
    """

    def __init__(self, epoch: int, held: dict[ProcessIdentity, str], now_s: float) -> None:
        self._epoch = epoch
        self._unsettled = dict(held)
        self._settle_by_s = now_s + SETTLE_S
        self._workers: dict[bytes, Worker] = {}
        self._registrations: dict[str, int] = {}
        self._retire_s = now_s
        self.lost: list[Batch] = []

    @property
    def settled(self) -> bool:
        """Whether every worker that outlived the last broker has registered or died."""
        return not self._unsettled

    @property
    def capacity(self) -> int:
        """How many loads its workers hold at the most."""
        return LOADS_IN_FLIGHT * len(self._workers)

    @property
    def ready(self) -> int:
        """How many workers take work."""
        if self._unsettled:
            return 0
        ready = 0
        for worker in self._workers.values():
            ready += worker.state == "ready"
        return ready

    def too_late(self) -> DeadlineExceeded:
        """Why what was not begun by its deadline was not."""
        why = "no worker is ready" if not self.ready else "the workers had no room in time"
        return DeadlineExceeded(f"this could not be done by its deadline: {why}", field="deadline_ms")

    def hello(self, hello: WorkerHello, now_s: float) -> Iterator[Action]:
        """A worker says who it is: at its start, while it is idle, and in answer to our welcome."""
        worker = self._workers.get(hello.incarnation)
        if worker is None:
            if any(other.name == hello.worker for other in self._workers.values()):
                return  # its predecessor's death is not known yet; the newcomer says hello again in 100 ms
            worker = self._workers[hello.incarnation] = Worker.from_hello(hello)
            yield WatchWorker(worker.incarnation, worker.identity)
        worker.cpu_s, worker.rss_bytes, worker.worn, worker.heard_s = hello.cpu_s, hello.rss_bytes, hello.worn, now_s
        if worker.state == "silent":
            worker.state = "ready"
        if hello.epoch != self._epoch:
            yield SendWorker(worker.incarnation, encode(Command.WORKER_WELCOME, WorkerWelcome(epoch=self._epoch)))
        elif worker.state == "greeted":
            worker.state = "ready"
            self._unsettled.pop(worker.identity, None)
            self._registrations[worker.name] = self._registrations.get(worker.name, 0) + 1
            yield Log("info", "worker_registered", {"worker": worker.name, "pid": worker.identity.pid})

    def leaving(self, incarnation: bytes) -> bool:
        """A worker asked to end: it gets nothing more. False where it is not known."""
        worker = self._workers.get(incarnation)
        if worker is not None:
            worker.state = "leaving"
        return worker is not None

    def died(self, incarnation: bytes) -> Worker | None:
        """The kernel says that the process is gone: its work is free for others."""
        worker = self._workers.pop(incarnation, None)
        if worker is not None:
            self._unsettled.pop(worker.identity, None)
        return worker

    def withdraw_lost(self, population: Population) -> list[Batch]:
        """Run nothing of this population again; returns what was lost of it."""
        withdrawn = [batch for batch in self.lost if batch.population is population]
        self.lost = [batch for batch in self.lost if batch.population is not population]
        return withdrawn

    def settle_died(self, identity: ProcessIdentity) -> None:
        """A process that held a lease when we started is gone."""
        self._unsettled.pop(identity, None)

    def all(self) -> Iterable[Worker]:
        return self._workers.values()

    @property
    def busy(self) -> bool:
        """Whether work that somebody waits for is in anybody's hands."""
        return any(batch.is_open for worker in self._workers.values() for batch in worker.batches.values())

    def get(self, incarnation: bytes) -> Worker | None:
        return self._workers.get(incarnation)

    def free(self, now_s: float) -> list[Worker]:
        """Workers that can take a batch, first who is likely to be done first with what is in its hands."""
        if self._unsettled:
            return []
        free = [worker for worker in self._workers.values() if worker.has_room(now_s)]
        if len(free) > 1:
            free.sort(key=lambda worker: worker.awaited_s(now_s))
        return free

    def start(self, worker: Worker, batch: Batch, now_s: float) -> None:
        """Note that `batch` is in the worker's hands, and by when it must be done if the worker is not hung."""
        worker.take(batch, now_s)
        batch.late_s = now_s + (LATE_FACTOR * worker.ahead_ns + LONG_NS) / 1e9
        # Later with every death: it may be the machine that is slow, and the third death is a quarantine.
        floor_s = (HANG_FLOOR_S if batch.is_usual else FIRST_FLOOR_S) * 2**batch.deaths
        batch.due_s = now_s + floor_s + HANG_FACTOR * (worker.ahead_ns + worker.opening_ns) / 1e9

    def overdue(self, now_s: float) -> Iterator[Action]:
        """Kill what hangs: batches long past their time, and survivors that do not register; note who is silent."""
        for worker in self._workers.values():
            if worker.state != "doomed" and any(batch.due_s < now_s for batch in worker.batches.values()):
                worker.state = "doomed"
                yield KillWorker(worker.incarnation, "a batch took fifty times what it should")
            if worker.state == "ready" and not worker.batches and worker.heard_s < now_s - SILENT_S:
                worker.state = "silent"
                yield Log("warning", "worker_silent", {"worker": worker.name, "pid": worker.identity.pid})
        if self._unsettled and now_s > self._settle_by_s:
            self._settle_by_s = now_s + SETTLE_S
            for identity in self._unsettled:
                yield KillWorker(survivor_key(identity), "it outlived the last broker and did not register")

    def retire(self, now_s: float) -> Iterator[Action]:
        """Have one worker that is over its limits make way for another: the others serve meanwhile."""
        if now_s < self._retire_s or any(worker.state == "leaving" for worker in self._workers.values()):
            return
        for worker in self._workers.values():
            if worker.worn and worker.state == "ready":
                self._retire_s = now_s + RETIRE_EVERY_S
                yield SendWorker(worker.incarnation, encode(Command.RETIRE, Retire()))
                yield Log("info", "retire", {"worker": worker.name, "batches": worker.batches_done})
                return

    def report(self) -> tuple[WorkerStatus, ...]:
        found = (worker.status(self._registrations.get(worker.name, 0)) for worker in self._workers.values())
        return tuple(sorted(found, key=lambda status: status.name))


def survivor_key(identity: ProcessIdentity) -> bytes:
    """Names a process that held a lease at our start and has not registered: it has no incarnation that we know."""
    return f"{identity.boot_id}/{identity.pid}/{identity.start_time}".encode()
