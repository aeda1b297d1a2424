"""Work on its way through workers: what each gets, what comes home, and what is run again when one dies.

What is to be done next is the scheduler's to say; whose agents may be touched it knows too. Here batches are made of it
for workers that have room, and results go to the chunks and jobs that they are of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd_broker.actions import Action, Emit, Log, ResetTally, SendWorker
from beliefd_broker.batching import job_message, pieces_message, shares
from beliefd_broker.crowd import Crowd
from beliefd_broker.desk import Desk
from beliefd_broker.gathering import Gathering
from beliefd_broker.keeper import DEATHS_TO_QUARANTINE, Keeper, crashed_error
from beliefd_broker.request import Job, Piece
from beliefd_broker.scheduling import BATCH_NS, Scheduler
from beliefd_broker.sharing import Sharing
from beliefd_broker.worker import Batch, Worker
from beliefd_broker.workforce import Workforce
from beliefd_proto import Applied, Arrays, Command
from beliefd_proto import messages as m
from beliefd_proto.bundle import bundle
from beliefd_proto.error_message import from_header
from beliefd_proto.errors import BeliefdError
from beliefd_service import events

CALL_NS = 100_000.0
"""What a batch takes of its worker beside what its agents take."""


class Foreman:
    """Gives the workforce its work and takes what it did. `act` takes what has to be done outside."""

    def __init__(
        self,
        act: Callable[[Action], None],
        epoch: int,
        scheduler: Scheduler,
        gathering: Gathering,
        workforce: Workforce,
        desk: Desk,
        keeper: Keeper,
    ) -> None:
        self._act = act
        self._epoch = epoch
        self._scheduler = scheduler
        self._gathering = gathering
        self._workforce = workforce
        self._desk = desk
        self._keeper = keeper
        self._sharing = Sharing()
        self._next_batch = 1
        self.counters = dict.fromkeys(("batches", "retried_batches", "agent_steps"), 0)

    def dispatch(self, now_s: float) -> bool:
        """Give a worker with room its next work; whether any was given. Until False: there is no more work, or no room.

        One at a time, so that a worker has its work before the message to the next is made.
        """
        while self._has_work and (free := self._workforce.free(now_s)):
            worker = free[0]
            if self._workforce.lost:
                self._start(worker, [self._workforce.lost.pop(0)], now_s)
                return True
            if self._gathering:  # nobody had waited for a turn before they came
                waiting = len(self._gathering)
                first = self._next_crowd()
                if first is not None:
                    self._start(worker, self._load(first, waiting, len(free), self._next_crowd), now_s)
                    return True
            idle = -len(self._sharing)  # who will help with what was handed out before
            for other in free:
                idle += not other.batches
            found = self._scheduler.next(max(idle, 1), now_s, self._workforce.ready)
            load = []
            if isinstance(found, Job):
                if not self._keeper.settle_making(found):
                    load = [Batch.of_job(found)]
            elif found is not None:
                waiting = self._scheduler.waiting + 1
                load = self._load(Batch.of_pieces(found), waiting, idle if idle > 0 else len(free), self._next_small)
            for chunk in self._scheduler.take_late():
                self._desk.end_unbegun(chunk, self._workforce.too_late())
            if load:
                if len(load) == 1 and (shared := self._sharing.begin(worker, load[0])) is not None:
                    self._act(ResetTally(shared.tally))
                self._start(worker, load, now_s)
                return True
            if found is None:
                break
        return False

    def help(self, now_s: float) -> bool:
        """Have an idle worker help another with its piece, since there is nothing else to do; whether one does."""
        if not len(self._sharing):
            return False
        free = self._workforce.free(now_s)
        if not free or free[0].batches:
            return False
        batch = self._sharing.help(now_s)
        if batch is not None:
            self._start(free[0], [batch], now_s)
        return batch is not None

    @property
    def _has_work(self) -> bool:
        return bool(self._scheduler or self._workforce.lost or self._gathering)

    def _next_crowd(self) -> Batch | None:
        crowd = self._gathering.next()
        return Batch.of_pieces([Piece(crowd, 0, crowd.count)]) if crowd is not None else None

    def _next_small(self) -> Batch | None:
        pieces = self._scheduler.next_small()
        return Batch.of_pieces(pieces) if pieces is not None else None

    def _load(self, first: Batch, waiting: int, workers: int, more: Callable[[], Batch | None]) -> list[Batch]:
        """The batch, and where it takes little others with it: as long as a large one, a fair share of `workers`."""
        load = [first]
        most = -(-waiting // workers)
        room_ns = BATCH_NS - CALL_NS - first.predicted_ns
        while room_ns > 0 and len(load) < most and first.is_small:
            batch = more()
            if batch is None:
                break
            load.append(batch)
            room_ns -= CALL_NS + batch.predicted_ns
        return load

    def _start(self, worker: Worker, load: list[Batch], now_s: float) -> None:
        """Hand batches to a worker in one message."""
        messages, number = [], self._next_batch
        for batch in load:
            batch.number, batch.load, self._next_batch = self._next_batch, number, self._next_batch + 1
            self._workforce.start(worker, batch, now_s)
            if batch.job is not None:
                messages.append(job_message(batch.job, self._epoch, batch.number))
            else:
                messages.append(pieces_message(batch, self._epoch, alone=len(load) == 1))
        self.counters["batches"] += len(load)
        self._act(SendWorker(worker.incarnation, bundle(messages)))

    @property
    def done(self) -> bool:
        """Whether no worker has anything in hand, and nothing is to be run again."""
        return not (self._workforce.busy or self._workforce.lost)

    def result(self, route: bytes, header: m.Result, arrays: Arrays, now_s: float, wall_s: float) -> None:
        """Take the result of a batch from the worker at `route`; nothing where that worker does not have it."""
        worker = self._workforce.get(route)
        batch = worker.give_back(header.batch, now_s) if worker is not None else None
        if worker is not None and batch is not None:
            worker.heard_s = now_s
            self._end(worker, batch, header, arrays, now_s, wall_s)

    def worker_died(self, incarnation: bytes, wall_s: float) -> None:
        """The kernel says that a worker's process is gone: run again what was in its hands, each batch alone."""
        worker = self._workforce.died(incarnation)
        if worker is None:
            return
        batches = list(worker.batches.values())
        fields: dict[str, Any] = {"worker": worker.name, "pid": worker.identity.pid, "batches": len(batches)}
        if jobs := [batch.job for batch in batches if batch.job is not None]:
            fields |= {"job": jobs[0].command.name.lower(), "request": jobs[0].id.hex()}
        left = worker.state == "leaving" and not batches
        self._act(Log("info", "worker_left", fields) if left else Log("warning", "worker_lost", fields))
        lost = events.WorkerLost(
            time_s=wall_s, epoch=self._epoch, worker=worker.name, pid=worker.identity.pid, batches_lost=len(batches)
        )
        self._act(Emit(lost))
        for batch in batches:
            # Loads of a worker run in the order in which it got them: only one of the oldest can have killed it.
            self._retry(batch, blamed=batch.load == batches[0].load)

    def _retry(self, batch: Batch, blamed: bool) -> None:
        self.counters["retried_batches"] += batch.is_open
        if batch.job is not None:
            batch.job.deaths += blamed
            if batch.job.deaths < DEATHS_TO_QUARANTINE:
                self._workforce.lost.append(batch)
            else:
                self._keeper.end_crashed(batch.job)
            return
        if batch.shared is not None:
            batch.shared.blamed |= blamed
            self._end_shared(batch, 0, 0, None)
            return
        for piece in self._apart(batch):
            piece.deaths += blamed
            self._run_again(piece, batch.predicted_ns * piece.count / batch.agents)

    def _apart(self, batch: Batch) -> list[Piece]:
        """The pieces of a batch, each of one client."""
        chunk = batch.pieces[0].chunk
        if not isinstance(chunk, Crowd):
            return batch.pieces
        return [Piece(each, 0, 1) for each in self._desk.apart(chunk)]

    def _run_again(self, piece: Piece, predicted_ns: float) -> None:
        """Run alone what a dead worker had in hand, unless too many have died of it."""
        if piece.deaths < DEATHS_TO_QUARANTINE and not piece.chunk.population.info.quarantined:
            self._workforce.lost.append(Batch(0, [piece], None, predicted_ns))
        else:
            piece.chunk.fail(crashed_error(piece.chunk.population), piece.start, piece.count, Applied.UNKNOWN)
            self._keeper.quarantine(piece.chunk.population, True)
            self._desk.end_if_done(piece.chunk)

    def _end_shared(self, batch: Batch, taken: int, elapsed_ns: int, error: BeliefdError | None) -> None:
        """One of the two that share a piece has ended. Once both have, what has no result is run again, or failed."""
        shared = batch.shared
        assert shared is not None
        if not self._sharing.end(batch, taken, elapsed_ns, error) or (rest := shared.rest) is None:
            return
        chunk = rest.chunk
        if shared.error is not None:
            chunk.fail(shared.error, rest.start, rest.count, Applied.UNKNOWN)
            self._desk.end_if_done(chunk)
        else:
            self._run_again(rest, chunk.population.predicted_ns(chunk.cost_key, rest.count))

    def _end(self, worker: Worker, batch: Batch, header: m.Result, arrays: Arrays, now_s: float, wall_s: float) -> None:
        worker.batches_done += 1
        worker.cpu_s, worker.rss_bytes, worker.worn = header.cpu_s, header.rss_bytes, header.worn
        if batch.job is not None:
            self._keeper.end_job(batch.job, header, arrays, wall_s)
            return
        error = None if header.error is None else from_header(header.error, {})
        taken = batch.agents if batch.shared is None else header.count
        if error is None and taken:
            self._learn(worker, batch, taken, header, arrays.get("status"))
        if header.told:
            batch.pieces[0].chunk.told_agents += taken
        if batch.shared is not None:
            if taken:
                piece = batch.pieces[0]
                start = piece.start + piece.count - taken if batch.from_end else piece.start
                piece.chunk.finish(start, taken, dict(arrays))
            self._end_shared(batch, taken, header.elapsed_ns, error)
        elif error is not None:
            for piece in batch.pieces:
                piece.chunk.fail(error, piece.start, piece.count, Applied.UNKNOWN)
        else:
            for piece, share in shares(batch.pieces, arrays):
                piece.chunk.finish(piece.start, piece.count, share)
        chunk, shared = batch.pieces[0].chunk, batch.shared
        if shared is None and error is None:
            chunk.population.record(chunk.cost_key, taken, header.elapsed_ns, now_s)
        elif shared is not None and not shared.open and shared.rest is None:
            # Both together: one that took little, and was held up, would say that agents are slow.
            chunk.population.record(chunk.cost_key, shared.piece.count, shared.elapsed_ns, now_s)
        for piece in batch.pieces:
            self._desk.end_if_done(piece.chunk)

    def _learn(
        self, worker: Worker, batch: Batch, agents: int, header: m.Result, status: NDArray[np.uint8] | None
    ) -> None:
        """Count what a batch did with so many agents."""
        chunk = batch.pieces[0].chunk
        population = chunk.population
        population.journal_bytes += header.journal_bytes
        if chunk.command is Command.STEP:
            applied = agents if status is None else agents - int(np.count_nonzero(status))
            population.count_steps(applied, header.telemetry)
            population.unsaved_steps += applied
            worker.agent_steps += applied
            self.counters["agent_steps"] += applied
