"""The populations as wholes: made, changed, rebuilt, put under quarantine, dropped, and the jobs that do it.

Agents and their steps are not its concern, but for those that a change of their population ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd.wire import ID_ARRAYS
from beliefd_broker import answers
from beliefd_broker.actions import Action, Emit, Log, MarkQuarantine, SendWorker
from beliefd_broker.admission import check_chunk, check_removed, quarantined_error
from beliefd_broker.desk import CREDITS, Desk
from beliefd_broker.population import Damaged, Population
from beliefd_broker.registry import Registry
from beliefd_broker.request import MAKING, Chunk, Job
from beliefd_broker.scheduling import Scheduler
from beliefd_broker.session import Session
from beliefd_broker.upkeep import Upkeep
from beliefd_broker.workforce import Workforce
from beliefd_proto import Applied, Arrays, Command, encode
from beliefd_proto import messages as m
from beliefd_proto.error_message import from_header
from beliefd_proto.errors import BeliefdError, MalformedMessage, PopulationExists, UnknownPopulation, WorkerCrashed
from beliefd_service import events

DEATHS_TO_QUARANTINE = 3
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


class Keeper:
    """Keeps the registry of populations, and ends the jobs over them. `act` takes what has to be done outside."""

    def __init__(
        self,
        act: Callable[[Action], None],
        epoch: int,
        limits: m.Limits,
        desk: Desk,
        scheduler: Scheduler,
        workforce: Workforce,
        upkeep: Upkeep,
        wall_s: float,
    ) -> None:
        self._act = act
        self._epoch = epoch
        self._limits = limits
        self._desk = desk
        self._scheduler = scheduler
        self._workforce = workforce
        self._upkeep = upkeep
        self._wall_s = wall_s
        self.populations = Registry(limits)

    def adopt(self, populations: Iterable[Population], damaged: Iterable[Damaged] = ()) -> None:
        """Serve these populations; those that are stale are rebuilt before anything is begun with them."""
        self.populations.add_damaged(damaged)
        for population in populations:
            self.populations.add(population)
            if population.stale:
                self._take_up(self._upkeep.recovery(population))

    def tick(self, wall_s: float) -> None:
        """Take the time that events are told to be of."""
        self._wall_s = wall_s

    def make_checkpoints(self, now_s: float) -> None:
        """Begin the checkpoints that are due."""
        for job in self._upkeep.checkpoints(self.populations, now_s):
            self._take_up(job)

    def job(self, session: Session, command: Command, header: m.Request, arrays: Arrays, now_s: float) -> Job:
        """The job that a client asks for, checked.

        Raises
        ------
        InvalidInput, UnknownPopulation, UnknownAgent, StorageError
        """
        if command not in _JOBS:
            raise MalformedMessage("this command is not for clients", field="command", value=command.name)
        job = Job(session, command, header, arrays, now_s)
        if isinstance(header, MAKING):
            self.populations.check_making(header)
        if not isinstance(header, m.Create | m.Restore):
            job.population = self.populations.get(getattr(header, "population", ""))
        if isinstance(header, m.RemoveAgents) and job.population is not None:
            check_removed(arrays, job.population)
        if isinstance(header, m.AddAgents):
            self.populations.check_room(header.count, job.population)
        return job

    def settle_making(self, job: Job) -> bool:
        """Answer where a name is taken: attach where that was asked for, or where it is our own earlier try."""
        if not isinstance(job.header, MAKING):
            return False
        population = self.populations.find(job.header.name)
        if population is None:
            return False
        same = population.info.uid == m.population_uid(job.id)
        info, asked = population.info, job.header
        if not isinstance(asked, m.Create):
            if same:
                self._desk.answer(job, *answers.population(job.id, population, CREDITS))
            else:
                taken = PopulationExists("a population of this name exists", field="name", value=asked.name)
                self._desk.fail(job, taken)
            return True
        attach = asked.exist_ok and (info.model.hash, info.seed) == (asked.hash, asked.seed)
        if same or attach:
            self._desk.answer(job, *answers.population(job.id, population, CREDITS))
        else:
            other = "model" if info.model.hash != asked.hash else "seed"
            why = f"has another {other}" if asked.exist_ok else "exists; pass exist_ok=True to attach to it"
            taken = PopulationExists(f"a population of this name {why}", field="name", value=asked.name)
            self._desk.fail(job, taken)
        return True

    def end_job(self, job: Job, result: m.Result, arrays: Arrays, wall_s: float) -> None:
        """Take over what a worker says of a job, and answer."""
        told_of = result.info or (job.population.info if job.population is not None else None)
        fields = {
            "kind": job.command.name.lower(),
            "request": job.id.hex(),
            "population": told_of.name if told_of is not None else getattr(job.header, "name", ""),
            "client": job.session.client,
        }
        if result.error is None:
            self._act(Log("info", "job_done", fields))
            self._done(job, result, arrays, wall_s)
            return
        error = from_header(result.error, {})
        self._act(Log("warning", "job_failed", {**fields, "code": error.code, "reason": str(error)}))
        if job.population is not None:
            job.population.checkpointing = False
        self._desk.fail(job, error)
        if job.command is Command.RECOVER and job.population is not None:
            self._not_rebuilt(job.population, error)

    def end_crashed(self, job: Job) -> None:
        """Too many workers died over a job: it ends, and its population takes no steps any more."""
        self._desk.fail(job, crashed_error(job.population))
        if job.population is not None:
            self.quarantine(job.population, True)

    def release(self, uid: str) -> None:
        """End a quarantine. A population that could not be rebuilt is tried again.

        Raises
        ------
        UnknownPopulation, StorageError
        """
        population = self.populations.get(uid)
        if population.stale and population.info.quarantined:
            self._take_up(self._upkeep.recovery(population))
        self.quarantine(population, False)

    def quarantine(self, population: Population, quarantined: bool) -> None:
        """Begin or end a quarantine. At its begin, nothing that waits or has not been handed out is begun any more."""
        if population.info.quarantined == quarantined:
            return
        population.set_quarantined(quarantined)
        info = population.info
        self._act(MarkQuarantine(info.uid, quarantined))
        fields = {"population": info.name, "quarantined": quarantined}
        self._act(Log("error" if quarantined else "info", "quarantine", fields))
        self._emit(events.PopulationChanged(time_s=self._wall_s, epoch=self._epoch, info=info))
        if quarantined:
            self._recheck(population)
            self._stop_begun(population)

    def _take_up(self, job: Job) -> None:
        """Accept a job of the broker's own."""
        self._desk.accept(job)
        self._scheduler.push(job)

    def _done(self, job: Job, result: m.Result, arrays: Arrays, wall_s: float) -> None:
        header = job.header
        if isinstance(header, MAKING) and result.info is not None:
            generation = 0 if isinstance(header, m.Create) else 1  # what is made of another begins with a checkpoint
            population = Population(result.info, *_members(arrays), generation)
            self.populations.add(population)
            self._emit(events.PopulationCreated(time_s=wall_s, epoch=self._epoch, info=result.info))
            self._desk.answer(job, *answers.population(job.id, population, CREDITS))
        elif isinstance(header, m.Recover) and result.info is not None and job.population is not None:
            self._rebuilt(job.population, result.info, _members(arrays), wall_s)
            self._desk.answer(job, Command.DONE, m.Done(id=job.id))
        elif isinstance(header, m.Checkpoint) and job.population is not None:
            job.population.checkpointed(result.first)
            job.population.checkpointing = False
            self._desk.answer(job, Command.DONE, m.Done(id=job.id, credits=CREDITS))
        elif isinstance(header, m.Snapshot):
            self._desk.answer(job, Command.DONE, m.Done(id=job.id, credits=CREDITS))
        elif isinstance(header, m.Drop):
            self._dropped(header.population, wall_s)
            self._desk.answer(job, Command.DONE, m.Done(id=job.id, credits=CREDITS))
        elif isinstance(header, m.AddAgents | m.RemoveAgents) and result.info is not None:
            population = self.populations.get(header.population)
            population.update(result.info, *_members(arrays))
            self._emit(events.PopulationChanged(time_s=wall_s, epoch=self._epoch, info=result.info))
            told = m.Agents(id=job.id, first=result.first, count=result.count, info=result.info, credits=CREDITS)
            self._desk.answer(job, Command.AGENTS, told)
            self._recheck(population)
        else:
            self._desk.answer(job, Command.VALUES, m.Values(id=job.id, spec=result.spec, credits=CREDITS), arrays)

    def _dropped(self, uid: str, wall_s: float) -> None:
        population = self.populations.remove(uid)
        self._emit(events.PopulationDropped(time_s=wall_s, epoch=self._epoch, uid=uid))
        for worker in self._workforce.all():
            self._act(SendWorker(worker.incarnation, encode(Command.FORGET, m.Forget(population=uid))))
        self._end_waiting(
            population,
            UnknownPopulation("the population was dropped", field="population", value=population.info.name),
        )

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
            self._act(Log("info" if told.whole else "error", "population_rebuilt", fields))
        self._emit(events.PopulationChanged(time_s=wall_s, epoch=self._epoch, info=info))

    def _not_rebuilt(self, population: Population, error: BeliefdError) -> None:
        """A population cannot be rebuilt: it keeps its name and its folder, and whoever asks for it is told why."""
        self._end_waiting(population, self.populations.replace_damaged(population, error))

    def _end_waiting(self, population: Population, error: BeliefdError) -> None:
        """The population is not served any more: what waited for it ends."""
        for request in self._desk.of(population):
            if self._scheduler.withdraw(request):
                self._desk.end_unbegun(request, error)

    def _recheck(self, population: Population) -> None:
        """Refuse what waited while agents were removed and now names one of them."""
        for request in [r for r in self._desk.of(population) if isinstance(r, Chunk)]:
            try:
                check_chunk(request.header, request.arrays, population, self._limits)
            except BeliefdError as error:
                if self._scheduler.withdraw(request):
                    self._desk.end_unbegun(request, error)

    def _stop_begun(self, population: Population) -> None:
        """End what of a quarantined population has been admitted and is in nobody's hands."""
        for batch in self._workforce.withdraw_lost(population):
            for piece in batch.pieces:
                piece.chunk.fail(crashed_error(population), piece.start, piece.count, Applied.UNKNOWN)
        for request in self._desk.of(population):
            if isinstance(request, Chunk):
                if rest := self._scheduler.withdraw_rest(request):
                    request.fail(quarantined_error(population), request.count - rest, rest, Applied.NO)
                self._desk.end_if_done(request)

    def _emit(self, event: events.AnyEvent) -> None:
        self._act(Emit(event))


def crashed_error(population: Population | None) -> WorkerCrashed:
    """What is told of a request over which too many workers died."""
    then = "the population is quarantined" if population is not None else "no population was made"
    return WorkerCrashed(f"{DEATHS_TO_QUARANTINE} workers died over this request; {then}")


def _members(arrays: Arrays) -> tuple[NDArray[np.int64], Arrays]:
    """Who lives, and their ids, of the result of a job; no view of the frames it came in."""
    ids = {name: arrays[name].copy() for name in ID_ARRAYS if name in arrays}
    return arrays["members"].copy(), ids
