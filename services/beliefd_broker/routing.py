"""The broker's core: a pure state machine. Messages and times go in, actions come out; no socket, file or clock in it.

A request's way: `client_message` decodes and checks it, the desk keeps it, the scheduler gives it a turn, `dispatch`
cuts batches from it for workers that have room, `worker_message` brings results home, and the desk answers when no
agent of it is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd.wire import ID_ARRAYS
from beliefd_broker import answers
from beliefd_broker.accounts import Accounts
from beliefd_broker.actions import Action, Emit, Log, MarkQuarantine, SendWorker
from beliefd_broker.admission import check_arrays, check_chunk, check_removed, quarantined_error
from beliefd_broker.batching import job_message, pieces_message, shares
from beliefd_broker.desk import CREDITS, Desk
from beliefd_broker.population import Damaged, Population
from beliefd_broker.registry import Registry
from beliefd_broker.request import MAKING, Chunk, Job, Piece, Request
from beliefd_broker.scheduling import BATCH_NS, Scheduler
from beliefd_broker.session import Session
from beliefd_broker.upkeep import Upkeep
from beliefd_broker.worker import Batch, Worker
from beliefd_broker.workforce import Workforce
from beliefd_proto import Applied, Arrays, Command, Message, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.bundle import bundle, unbundled
from beliefd_proto.error_message import from_header, to_header
from beliefd_proto.errors import (
    BeliefdError,
    Cancelled,
    DeadlineExceeded,
    MalformedMessage,
    PopulationExists,
    UnknownPopulation,
    WorkerCrashed,
)
from beliefd_proto.framing import request_id
from beliefd_service import events
from beliefd_service.access import Grant
from beliefd_service.process import ProcessIdentity

DEATHS_TO_QUARANTINE = 3
TELEMETRY_S = 0.5
CALL_NS = 100_000.0
"""What a batch takes of its worker beside what its agents take."""
_JOBS = frozenset(
    {
        Command.CREATE,
        Command.DROP,
        Command.ADD_AGENTS,
        Command.REMOVE_AGENTS,
        Command.PARAMETERS,
        Command.CHECKPOINT,
        Command.SNAPSHOT,
        Command.RESTORE,
        Command.FORK,
    }
)


class Core:
    """All that the broker decides. After each call the shell does what `take_actions` returns, in order."""

    def __init__(
        self,
        epoch: int,
        populations: Iterable[Population],
        held_leases: dict[ProcessIdentity, str],
        now_s: float,
        wall_s: float,
        limits: m.Limits | None = None,
        upkeep: Upkeep | None = None,
        grants: Iterable[Grant] | None = None,
    ) -> None:
        self.epoch = epoch
        self.limits = limits or m.Limits()
        self._actions: list[Action] = []
        self.workforce = Workforce(epoch, held_leases, now_s)
        self._accounts = Accounts(grants, now_s)
        self._desk = Desk(self._actions.append, epoch, self.limits, self._accounts)
        self._scheduler = Scheduler()
        self._upkeep = upkeep or Upkeep(epoch)
        self._populations = Registry(self.limits)
        self.adopt(populations)
        self._retries: list[Batch] = []
        self._next_batch = 1
        self._started_s = now_s
        self._wall_s = wall_s
        self._telemetry_s = now_s
        self._counters = dict.fromkeys(("batches", "retried_batches", "agent_steps", "malformed"), 0)
        self._emit(events.BrokerStarted(time_s=wall_s, epoch=epoch))

    def adopt(self, populations: Iterable[Population], damaged: Iterable[Damaged] = ()) -> None:
        """Serve these populations: what the data folder holds, once no worker of an earlier broker can change it.

        Those that are damaged keep their names, and whoever asks for one is told. Those that are stale are rebuilt
        before anything is begun with them.
        """
        self._populations.add_damaged(damaged)
        for population in populations:
            self._populations.add(population)
            if population.stale:
                self._take_up(self._upkeep.recovery(population))

    def _take_up(self, job: Job) -> None:
        """Accept a job of the broker's own."""
        self._desk.accept(job)
        self._scheduler.push(job)

    @property
    def state_bytes(self) -> int:
        """What the core holds of its populations, beside requests."""
        return self._populations.state_bytes

    @property
    def clients(self) -> int:
        """How many are connected, as far as that is known."""
        return self._desk.sessions

    @property
    def open_requests(self) -> int:
        """How many have no answer yet."""
        return self._desk.open

    def take_actions(self) -> list[Action]:
        """What the shell has to do now."""
        taken = self._actions.copy()
        self._actions.clear()
        return taken

    def renew_access(self, grants: Iterable[Grant], now_s: float) -> None:
        """These grants hold from now on: sessions of a grant that was changed or taken back have to say HELLO again."""
        self._accounts.renew(grants, now_s)
        self._actions.append(Log("info", "access_renewed", {"sessions_closed": self._desk.close_revoked()}))

    # What arrives from clients.

    def client_message(self, route: bytes, frames: Sequence[Any], now_s: float) -> None:
        """Take one message of a client; whatever is wrong with it is answered, and changes nothing."""
        if self._desk.shuts_out(route):
            return
        try:
            message = decode(frames)
        except BeliefdError as error:
            self._counters["malformed"] += 1
            self._desk.refuse(route, error, request_id(frames))
            return
        header = message.header
        if not isinstance(header, m.Request) or header.id == bytes(16):
            self._desk.refuse(route, _not_for_clients(header), bytes(16))
            return
        try:
            self._request(route, message.command, header, message.arrays, now_s)
        except BeliefdError as error:
            self._desk.refuse(route, error, header.id, header)

    def client_gone(self, route: bytes) -> None:
        """The client at `route` cannot be reached: what it asked and nothing has begun is dropped."""
        for request in self._desk.gone(route):
            if self._scheduler.withdraw(request):
                self._desk.forget(request)

    def _request(self, route: bytes, command: Command, header: m.Request, arrays: Arrays, now_s: float) -> None:
        over_agents = isinstance(header, m.AgentRequest)  # as nearly all are: what is only for others is not asked
        if not over_agents:
            check_arrays(command, arrays)
            if isinstance(header, m.Hello):
                self._desk.hello(route, header, self.workforce.ready, now_s)
                return
        session = self._desk.session(route, now_s)
        if not over_agents:
            if isinstance(header, m.Ping):
                self._desk.ping(route, header)
                return
            if isinstance(header, m.Cancel):
                self._cancel(route, session, header)
                return
        account = session.account
        if account.guarded:
            account.permit(command)
        if self._desk.join(header, session, now_s):
            return
        if account.guarded:
            account.charge(header, now_s)
        if over_agents or not self._answer_at_once(route, command, header, now_s):
            self._desk.check_credit(session)
            request = self._build(session, command, header, arrays, now_s)
            self._desk.check_bytes(request)
            self._desk.accept(request)
            self._scheduler.push(request)

    def _cancel(self, route: bytes, session: Session, header: m.Cancel) -> None:
        """Take back what was not begun of a client's own requests, and answer: those, and then the CANCEL."""
        for asked in header.requests:
            request = self._desk.request(asked)
            if request is not None and request.reply_to is session:
                self._take_back(request, Cancelled("the client cancelled this before it was begun"))
        self._desk.send(route, Command.DONE, m.Done(id=header.id, credits=CREDITS))

    def _answer_at_once(self, route: bytes, command: Command, header: m.Request, now_s: float) -> bool:
        """Answer what needs no worker."""
        if isinstance(header, m.List):
            found = tuple(population.info for population in self._populations)
            self._desk.send(route, Command.POPULATIONS, m.Populations(id=header.id, populations=found, credits=CREDITS))
        elif isinstance(header, m.Attach):
            self._desk.send(route, *answers.population(header.id, self._populations.named(header.name), CREDITS))
        elif isinstance(header, m.Status):
            self._desk.send(route, Command.STATUS_REPORT, self._status(header.id, now_s))
        elif isinstance(header, m.Release):
            released = self._populations.get(header.population)
            if released.stale and released.info.quarantined:
                self._take_up(self._upkeep.recovery(released))
            self._quarantine(released, False)
            self._desk.send(route, Command.DONE, m.Done(id=header.id, credits=CREDITS))
        elif isinstance(header, m.Drop) and header.population not in self._populations:
            self._populations.check_damaged(header.population)
            self._desk.send(route, Command.DONE, m.Done(id=header.id, credits=CREDITS))
        else:
            return False
        return True

    def _build(
        self, session: Session, command: Command, header: m.Request, arrays: Arrays, now_s: float
    ) -> Chunk | Job:
        if isinstance(header, m.AgentRequest):
            population = self._populations.get(header.population)
            check_chunk(header, arrays, population, self.limits)
            return Chunk(session, command, header, arrays, now_s, population)
        if command not in _JOBS:
            raise MalformedMessage("this command is not for clients", field="command", value=command.name)
        job = Job(session, command, header, arrays, now_s)
        if isinstance(header, MAKING):
            self._populations.check_making(header)
        if not isinstance(header, m.Create | m.Restore):
            job.population = self._populations.get(getattr(header, "population", ""))
        if isinstance(header, m.RemoveAgents) and job.population is not None:
            check_removed(arrays, job.population)
        if isinstance(header, m.AddAgents):
            self._populations.check_room(header.count, job.population)
        return job

    # What goes to workers.

    def dispatch(self, now_s: float) -> bool:
        """Give a worker with room its next work; whether any was given. Until False: there is no more work, or no room.

        One at a time, so that a worker has its work before the message to the next is made.
        """
        while (self._scheduler or self._retries) and (free := self.workforce.free(now_s)):
            worker = free[0]
            if self._retries:
                self._start(worker, [self._retries.pop(0)], now_s)
                return True
            idle = 0
            for other in free:
                idle += not other.batches
            found = self._scheduler.next(idle or 1, now_s, self.workforce.ready)
            load = []
            if isinstance(found, Job):
                if not self._settle_making(found):
                    load = [Batch.of_job(found)]
            elif found is not None:
                load = self._load(Batch.of_pieces(found), idle or len(free))
            for chunk in self._scheduler.take_late():
                self._desk.end_unbegun(chunk, self._too_late())
            if load:
                self._start(worker, load, now_s)
                return True
            if found is None:
                return False
        return False

    def _load(self, first: Batch, workers: int) -> list[Batch]:
        """The batch, and where it takes little others with it: as long as a large one, a fair share of `workers`."""
        load = [first]
        most = -(-(self._scheduler.waiting + 1) // workers)
        room_ns = BATCH_NS - CALL_NS - first.predicted_ns
        while room_ns > 0 and len(load) < most and first.is_small:
            pieces = self._scheduler.next_small()
            if pieces is None:
                break
            load.append(Batch.of_pieces(pieces))
            room_ns -= CALL_NS + load[-1].predicted_ns
        return load

    def _settle_making(self, job: Job) -> bool:
        """Answer where a name is taken: attach where that was asked for, or where it is our own earlier try."""
        if not isinstance(job.header, MAKING):
            return False
        population = self._populations.find(job.header.name)
        if population is None:
            return False
        same = population.info.uid == m.population_uid(job.id)
        info, asked = population.info, job.header
        if not isinstance(asked, m.Create):
            if same:
                self._answer(job, *answers.population(job.id, population, CREDITS))
            else:
                self._fail(job, PopulationExists("a population of this name exists", field="name", value=asked.name))
            return True
        attach = asked.exist_ok and (info.model.hash, info.seed) == (asked.hash, asked.seed)
        if same or attach:
            self._answer(job, *answers.population(job.id, population, CREDITS))
        else:
            other = "model" if info.model.hash != asked.hash else "seed"
            why = f"has another {other}" if asked.exist_ok else "exists; pass exist_ok=True to attach to it"
            self._fail(job, PopulationExists(f"a population of this name {why}", field="name", value=job.header.name))
        return True

    def _start(self, worker: Worker, load: list[Batch], now_s: float) -> None:
        """Hand batches to a worker in one message."""
        messages, number = [], self._next_batch
        for batch in load:
            batch.number, batch.load, self._next_batch = self._next_batch, number, self._next_batch + 1
            self.workforce.start(worker, batch, now_s)
            if batch.job is not None:
                messages.append(job_message(batch.job, self.epoch, batch.number))
            else:
                messages.append(pieces_message(batch.pieces, self.epoch, batch.number))
        self._counters["batches"] += len(load)
        self._actions.append(SendWorker(worker.incarnation, bundle(messages)))

    def drain(self) -> None:
        """Begin nothing more. What is not begun has no answer: its client asks the next broker."""
        self._scheduler.admit_no_more()

    @property
    def drained(self) -> bool:
        """Whether nothing that was begun is open."""
        return not (self.workforce.busy or self._retries or self._scheduler.open)

    # What arrives from workers.

    def worker_message(self, route: bytes, frames: Sequence[Any], now_s: float, wall_s: float) -> None:
        """Take one message of a worker. What comes from an old epoch, or from nobody known, is dropped."""
        try:
            messages = [*map(decode, unbundled(frames))]
        except BeliefdError as error:
            self._actions.append(Log("error", "malformed_worker_message", {"reason": str(error)}))
            return
        for message in messages:
            self._worker_message(route, message, now_s, wall_s)

    def _worker_message(self, route: bytes, message: Message, now_s: float, wall_s: float) -> None:
        header = message.header
        if isinstance(header, m.WorkerHello) and header.incarnation == route:
            for action in self.workforce.hello(header, now_s):
                self._actions.append(action)
                if isinstance(action, Log):
                    self._emit(
                        events.WorkerRegistered(time_s=wall_s, epoch=self.epoch, worker=header.worker, pid=header.pid)
                    )
        elif isinstance(header, m.Leaving):
            if self.workforce.leaving(route):
                self._actions.append(SendWorker(route, encode(Command.LEFT, m.Left())))
        elif isinstance(header, m.Result) and header.epoch == self.epoch:
            worker = self.workforce.get(route)
            batch = worker.give_back(header.batch) if worker is not None else None
            if worker is not None and batch is not None:
                worker.heard_s = now_s
                self._result(worker, batch, header, message.arrays, now_s, wall_s)

    def worker_died(self, incarnation: bytes, wall_s: float) -> None:
        """The kernel says that a worker's process is gone: run again what was in its hands, each batch alone."""
        worker = self.workforce.died(incarnation)
        if worker is None:
            return
        batches = list(worker.batches.values())
        fields: dict[str, Any] = {"worker": worker.name, "pid": worker.identity.pid, "batches": len(batches)}
        if jobs := [batch.job for batch in batches if batch.job is not None]:
            fields |= {"job": jobs[0].command.name.lower(), "request": jobs[0].id.hex()}
        left = worker.state == "leaving" and not batches
        self._actions.append(Log("info", "worker_left", fields) if left else Log("warning", "worker_lost", fields))
        self._emit(
            events.WorkerLost(
                time_s=wall_s,
                epoch=self.epoch,
                worker=worker.name,
                pid=worker.identity.pid,
                batches_lost=len(batches),
            )
        )
        for batch in batches:
            # Loads of a worker run in the order in which it got them: only one of the oldest can have killed it.
            self._retry(batch, blamed=batch.load == batches[0].load)

    def _retry(self, batch: Batch, blamed: bool) -> None:
        self._counters["retried_batches"] += 1
        if batch.job is not None:
            batch.job.deaths += blamed
            if batch.job.deaths < DEATHS_TO_QUARANTINE:
                self._retries.append(batch)
            else:
                self._crashed(batch.job, batch.job.population)
            return
        for piece in batch.pieces:
            piece.deaths += blamed
            if piece.deaths < DEATHS_TO_QUARANTINE and not population_of(piece).info.quarantined:
                share = batch.predicted_ns * piece.count / batch.agents
                self._retries.append(Batch(0, [piece], None, share))
            else:
                piece.chunk.fail(_crashed_error(piece.chunk.population), piece.start, piece.count, Applied.UNKNOWN)
                self._quarantine(population_of(piece), True)
                self._end_if_done(piece.chunk)

    def _crashed(self, job: Job, population: Population | None) -> None:
        self._fail(job, _crashed_error(population))
        if population is not None:
            self._quarantine(population, True)

    def _result(
        self, worker: Worker, batch: Batch, header: m.Result, arrays: Arrays, now_s: float, wall_s: float
    ) -> None:
        worker.batches_done += 1
        worker.cpu_s, worker.rss_bytes, worker.worn = header.cpu_s, header.rss_bytes, header.worn
        if batch.job is not None:
            self._job_result(batch.job, header, arrays, wall_s)
            return
        if header.error is None:
            self._learn(worker, batch, header, arrays.get("status"), now_s)
        if header.error is not None:
            error = from_header(header.error, {})
            for piece in batch.pieces:
                piece.chunk.fail(error, piece.start, piece.count, Applied.UNKNOWN)
        else:
            for piece, share in shares(batch.pieces, arrays):
                piece.chunk.finish(piece.start, piece.count, share)
        for piece in batch.pieces:
            self._end_if_done(piece.chunk)

    def _learn(
        self, worker: Worker, batch: Batch, header: m.Result, status: NDArray[np.uint8] | None, now_s: float
    ) -> None:
        """Take into predictions and telemetry what a batch did."""
        agents = batch.agents
        chunk = batch.pieces[0].chunk
        population = population_of(batch.pieces[0])
        population.record(chunk.cost_key, agents, header.elapsed_ns, now_s)
        population.journal_bytes += header.journal_bytes
        if chunk.command is Command.STEP:
            applied = agents if status is None else agents - int(np.count_nonzero(status))
            population.count_steps(applied, header.telemetry)
            population.unsaved_steps += applied
            worker.agent_steps += applied
            self._counters["agent_steps"] += applied

    def _job_result(self, job: Job, result: m.Result, arrays: Arrays, wall_s: float) -> None:
        told_of = result.info or (job.population.info if job.population is not None else None)
        fields = {
            "kind": job.command.name.lower(),
            "request": job.id.hex(),
            "population": told_of.name if told_of is not None else getattr(job.header, "name", ""),
            "client": job.session.client,
        }
        if result.error is not None:
            error = from_header(result.error, {})
            self._actions.append(Log("warning", "job_failed", {**fields, "code": error.code, "reason": str(error)}))
            if job.population is not None:
                job.population.checkpointing = False
            self._fail(job, error)
            if job.command is Command.RECOVER and job.population is not None:
                self._not_rebuilt(job.population, error)
            return
        self._actions.append(Log("info", "job_done", fields))
        header = job.header
        if isinstance(header, MAKING) and result.info is not None:
            generation = 0 if isinstance(header, m.Create) else 1  # what is made of another begins with a checkpoint
            population = Population(result.info, *_members(arrays), generation)
            self._populations.add(population)
            self._emit(events.PopulationCreated(time_s=wall_s, epoch=self.epoch, info=result.info))
            self._answer(job, *answers.population(job.id, population, CREDITS))
        elif isinstance(header, m.Recover) and result.info is not None and job.population is not None:
            self._rebuilt(job.population, result.info, _members(arrays), wall_s)
            self._answer(job, Command.DONE, m.Done(id=job.id))
        elif isinstance(header, m.Checkpoint) and job.population is not None:
            job.population.checkpointed(result.first)
            job.population.checkpointing = False
            self._answer(job, Command.DONE, m.Done(id=job.id, credits=CREDITS))
        elif isinstance(header, m.Snapshot):
            self._answer(job, Command.DONE, m.Done(id=job.id, credits=CREDITS))
        elif isinstance(header, m.Drop):
            self._dropped(header.population, wall_s)
            self._answer(job, Command.DONE, m.Done(id=job.id, credits=CREDITS))
        elif isinstance(header, m.AddAgents | m.RemoveAgents) and result.info is not None:
            population = self._populations.get(header.population)
            population.update(result.info, *_members(arrays))
            self._emit(events.PopulationChanged(time_s=wall_s, epoch=self.epoch, info=result.info))
            told = m.Agents(id=job.id, first=result.first, count=result.count, info=result.info, credits=CREDITS)
            self._answer(job, Command.AGENTS, told)
            self._recheck(population)
        else:
            self._answer(job, Command.VALUES, m.Values(id=job.id, spec=result.spec, credits=CREDITS), arrays)

    def _dropped(self, uid: str, wall_s: float) -> None:
        population = self._populations.remove(uid)
        self._emit(events.PopulationDropped(time_s=wall_s, epoch=self.epoch, uid=uid))
        for worker in self.workforce.all():
            self._actions.append(SendWorker(worker.incarnation, encode(Command.FORGET, m.Forget(population=uid))))
        gone = UnknownPopulation("the population was dropped", field="population", value=population.info.name)
        for request in self._desk.of(population):
            if self._scheduler.withdraw(request):
                self._desk.end_unbegun(request, gone)

    def _rebuilt(
        self,
        population: Population,
        info: m.PopulationInfo,
        members: tuple[NDArray[np.int64], Arrays],
        wall_s: float,
    ) -> None:
        """Serve a population that was rebuilt, and say what was found and what was lost."""
        population.update(info, *members)
        population.stale = False
        told = info.rebuilt
        if told is not None:
            fields = {"population": info.name, "lost": told.lost, **msgspec.structs.asdict(told)}
            self._actions.append(Log("info" if told.whole else "error", "population_rebuilt", fields))
        self._emit(events.PopulationChanged(time_s=wall_s, epoch=self.epoch, info=info))

    def _not_rebuilt(self, population: Population, error: BeliefdError) -> None:
        """A population cannot be rebuilt: it keeps its name and its folder, and whoever asks for it is told why."""
        told = self._populations.replace_damaged(population, error)
        for request in self._desk.of(population):
            if self._scheduler.withdraw(request):
                self._desk.end_unbegun(request, told)

    def _recheck(self, population: Population) -> None:
        """Refuse what waited while agents were removed and now names one of them."""
        for request in [r for r in self._desk.of(population) if isinstance(r, Chunk)]:
            try:
                check_chunk(request.header, request.arrays, population, self.limits)
            except BeliefdError as error:
                if self._scheduler.withdraw(request):
                    self._desk.end_unbegun(request, error)

    def _quarantine(self, population: Population, quarantined: bool) -> None:
        """Begin or end a quarantine. At its begin, nothing that waits or has not been handed out is begun any more."""
        if population.info.quarantined == quarantined:
            return
        population.set_quarantined(quarantined)
        info = population.info
        self._actions.append(MarkQuarantine(info.uid, quarantined))
        fields = {"population": info.name, "quarantined": quarantined}
        self._actions.append(Log("error" if quarantined else "info", "quarantine", fields))
        self._emit(events.PopulationChanged(time_s=self._wall_s, epoch=self.epoch, info=info))
        if quarantined:
            self._recheck(population)
            self._stop_begun(population)

    def _stop_begun(self, population: Population) -> None:
        """End what of a quarantined population has been admitted and is in nobody's hands."""
        held = [batch for batch in self._retries if batch.population is population]
        self._retries = [batch for batch in self._retries if batch.population is not population]
        for batch in held:
            for piece in batch.pieces:
                piece.chunk.fail(_crashed_error(piece.chunk.population), piece.start, piece.count, Applied.UNKNOWN)
        for request in self._desk.of(population):
            if isinstance(request, Chunk):
                if rest := self._scheduler.withdraw_rest(request):
                    request.fail(quarantined_error(population), request.count - rest, rest, Applied.NO)
                self._end_if_done(request)

    # Time.

    def tick(self, now_s: float, wall_s: float) -> None:
        """Do what time alone brings about: deadlines, hung workers, telemetry, sessions that nobody uses."""
        self._wall_s = wall_s
        for request in self._desk.overdue(now_s, self.workforce.ready or 1):
            self._expire(request)
        self._actions.extend(self.workforce.overdue(now_s))
        self._actions.extend(self.workforce.retire(now_s))
        interval_s = now_s - self._telemetry_s
        if interval_s >= TELEMETRY_S:
            self._telemetry_s = now_s
            self._report(wall_s, interval_s)
            for job in self._upkeep.checkpoints(self._populations, now_s):
                self._take_up(job)
            self._desk.close_idle(now_s)
            for route in self._desk.cut_off(now_s):
                self._actions.append(Log("warning", "client_cut_off", {"client": self._desk.client(route)}))
                self.client_gone(route)

    def _expire(self, request: Request) -> None:
        self._take_back(request, self._too_late())

    def _too_late(self) -> DeadlineExceeded:
        why = "no worker is ready" if not self.workforce.ready else "the workers had no room in time"
        return DeadlineExceeded(f"this could not be done by its deadline: {why}", field="deadline_ms")

    def _take_back(self, request: Request, error: BeliefdError) -> None:
        """End in an error what of a request no worker has been given. What one has is finished."""
        if self._scheduler.withdraw(request):
            self._desk.end_unbegun(request, error)
        elif isinstance(request, Chunk) and (rest := self._scheduler.withdraw_rest(request)):
            request.fail(error, request.count - rest, rest, Applied.NO)
            self._end_if_done(request)

    def _report(self, wall_s: float, interval_s: float) -> None:
        for population in self._populations:
            told = population.take_telemetry(wall_s, self.epoch, interval_s)
            if told is not None:
                self._emit(told)
        for status in self.workforce.report():
            self._emit(
                events.WorkerTelemetry(
                    time_s=wall_s,
                    epoch=self.epoch,
                    worker=status.name,
                    pid=status.pid,
                    state=status.state,
                    batches=status.batches,
                    agent_steps=status.agent_steps,
                    cpu_s=status.cpu_s,
                    rss_bytes=status.rss_bytes,
                )
            )

    # Answers.

    def _end_if_done(self, chunk: Chunk) -> None:
        if not chunk.open_agents and not chunk.answered:
            self._answer(chunk, *answers.chunk(chunk, CREDITS))

    def _answer(self, request: Request, command: Command, header: m.Header, arrays: Arrays | None = None) -> None:
        """End an admitted request: free what it held and tell its client."""
        self._scheduler.release(request)
        self._desk.end(request, command, header, arrays)

    def _fail(self, job: Job, error: BeliefdError) -> None:
        self._answer(job, Command.ERROR, to_header(error, job.id))

    def _emit(self, event: events.AnyEvent) -> None:
        self._actions.append(Emit(event))

    def _status(self, request: bytes, now_s: float) -> m.StatusReport:
        return m.StatusReport(
            id=request,
            epoch=self.epoch,
            uptime_s=now_s - self._started_s,
            sessions=self._desk.sessions,
            open_requests=self._desk.open,
            ready=self.workforce.ready > 0,
            workers=self.workforce.report(),
            populations=tuple(population.info for population in self._populations),
            counters={**self._desk.counters, **self._counters},
            credits=CREDITS,
        )


def population_of(piece: Piece) -> Population:
    population = piece.chunk.population
    assert population is not None
    return population


def _members(arrays: Arrays) -> tuple[NDArray[np.int64], Arrays]:
    """Who lives, and their ids, of the result of a job; no view of the frames it came in."""
    ids = {name: arrays[name].copy() for name in ID_ARRAYS if name in arrays}
    return arrays["members"].copy(), ids


def _crashed_error(population: Population | None) -> WorkerCrashed:
    then = "the population is quarantined" if population is not None else "no population was made"
    return WorkerCrashed(f"{DEATHS_TO_QUARANTINE} workers died over this request; {then}")


def _not_for_clients(header: m.Header) -> MalformedMessage:
    if isinstance(header, m.Request):
        return MalformedMessage("zeros are no id: they stand for one that could not be read", field="id")
    return MalformedMessage("this command is not for clients", field="command")
