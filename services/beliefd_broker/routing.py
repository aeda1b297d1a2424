"""The broker's core: a pure state machine. Messages and times go in, actions come out; no socket, file or clock in it.

A request's way: `client_message` decodes and checks it, the desk keeps it, the scheduler gives it a turn, `dispatch`
has the foreman make batches of it for workers that have room, `worker_message` brings results home, and `answer` has
the desk tell the client when no agent of it is open. What is gathered into crowds is neither decoded nor waits for a
turn. Who has nothing to do then may `help`. What is done to a population as a whole is the keeper's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from beliefd_broker import answers
from beliefd_broker.accounts import Accounts
from beliefd_broker.actions import Action, Emit, Log, SendWorker
from beliefd_broker.admission import check_arrays, check_chunk
from beliefd_broker.desk import CREDITS, Desk
from beliefd_broker.foreman import Foreman
from beliefd_broker.gathering import Gathering
from beliefd_broker.keeper import Keeper
from beliefd_broker.population import Damaged, Population
from beliefd_broker.request import Chunk, Job, Request
from beliefd_broker.scheduling import Scheduler
from beliefd_broker.session import Session
from beliefd_broker.upkeep import Upkeep
from beliefd_broker.workforce import Workforce
from beliefd_proto import Applied, Arrays, Command, Message, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.bundle import unbundled
from beliefd_proto.errors import BeliefdError, Cancelled, MalformedMessage
from beliefd_proto.framing import request_id
from beliefd_service import events
from beliefd_service.access import Grant
from beliefd_service.process import ProcessIdentity

TELEMETRY_S = 0.5


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
        self._scheduler = Scheduler()
        self._desk = Desk(self._actions.append, epoch, self.limits, self._accounts, self._scheduler.release)
        self._keeper = Keeper(
            self._actions.append,
            epoch,
            self.limits,
            self._desk,
            self._scheduler,
            self.workforce,
            upkeep or Upkeep(epoch),
            wall_s,
        )
        self._populations = self._keeper.populations
        self._gathering = Gathering(self._desk, self._populations, self._scheduler, self.workforce, self.limits)
        self._foreman = Foreman(
            self._actions.append, epoch, self._scheduler, self._gathering, self.workforce, self._desk, self._keeper
        )
        self.adopt(populations)
        self._started_s = now_s
        self._telemetry_s = now_s
        self._malformed = 0
        self._emit(events.BrokerStarted(time_s=wall_s, epoch=epoch))

    def adopt(self, populations: Iterable[Population], damaged: Iterable[Damaged] = ()) -> None:
        """Serve these populations: what the data folder holds, once no worker of an earlier broker can change it.

        Those that are damaged keep their names, and whoever asks for one is told. Those that are stale are rebuilt
        before anything is begun with them.
        """
        self._keeper.adopt(populations, damaged)

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
        self._give_up()
        self._accounts.renew(grants, now_s)
        self._actions.append(Log("info", "access_renewed", {"sessions_closed": self._desk.close_revoked()}))

    # What arrives from clients.

    def client_message(self, route: bytes, frames: Sequence[Any], now_s: float) -> None:
        """Take one message of a client; whatever is wrong with it is answered, and changes nothing."""
        if not self._desk.shuts_out(route) and not self._gathering.take(route, frames, now_s):
            self._usual(route, frames, now_s)

    def _usual(self, route: bytes, frames: Sequence[Any], now_s: float) -> None:
        try:
            message = decode(frames)
        except BeliefdError as error:
            self._malformed += 1
            self._desk.refuse(route, error, request_id(frames))
            return
        header = message.header
        if not isinstance(header, m.Request) or header.id == m.NO_ID:
            self._desk.refuse(route, _not_for_clients(header), m.NO_ID)
            return
        try:
            if self._request(route, message.command, header, message.arrays, now_s) and isinstance(header, m.Step):
                self._gathering.learn(route, header, message.arrays, frames, now_s)
        except BeliefdError as error:
            self._desk.refuse(route, error, header.id, header)

    def client_gone(self, route: bytes) -> None:
        """The client at `route` cannot be reached: what it asked and nothing has begun is dropped."""
        session = self._desk.session_at(route)
        if session is not None and session.in_crowds:
            self._give_up()
        for request in self._desk.gone(route):
            if self._scheduler.withdraw(request):
                self._desk.forget(request)

    def _request(self, route: bytes, command: Command, header: m.Request, arrays: Arrays, now_s: float) -> bool:
        """Take a request; whether it was checked and accepted, for workers to do."""
        over_agents = isinstance(header, m.AgentRequest)  # as nearly all are: what is only for others is not asked
        if not over_agents:
            check_arrays(command, arrays)
            if isinstance(header, m.Hello):
                self._desk.hello(route, header, self.workforce.ready, now_s)
                return False
        session = self._desk.session(route, now_s)
        if session.in_crowds or self._desk.is_to_begin(header.id):  # what came before is to go before
            self._give_up()
        if not over_agents:
            if isinstance(header, m.Ping):
                self._desk.ping(route, header)
                return False
            if isinstance(header, m.Cancel):
                self._cancel(route, session, header)
                return False
        account = session.account
        if account.guarded:
            account.permit(command)
        if self._desk.join(header, session, now_s):
            return False
        if account.guarded:
            account.charge(header, now_s)
        if not over_agents and self._answer_at_once(route, command, header, now_s):
            return False
        self._desk.check_credit(session, self.workforce.capacity if session.letterbox is not None else 0)
        request = self._build(session, command, header, arrays, now_s)
        self._desk.check_bytes(request)
        self._desk.accept(request)
        self._scheduler.push(request)
        return True

    def _cancel(self, route: bytes, session: Session, header: m.Cancel) -> None:
        """Take back what was not begun of a client's own requests, and answer: those, and then the CANCEL."""
        for asked in header.requests:
            request = self._desk.request(asked)
            if request is not None and request.reply_to is session:
                self._take_back(request, Cancelled("the client cancelled this before it was begun"))
        self.answer()
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
            self._keeper.release(header.population)
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
        return self._keeper.job(session, command, header, arrays, now_s)

    # What goes to workers.

    def dispatch(self, now_s: float) -> bool:
        """Give a worker with room its next work. To be called until it says False: no more work, or no room."""
        if self._foreman.dispatch(now_s):
            return True
        if not self._gathering:
            return False
        self._give_up()
        return self._foreman.dispatch(now_s)

    def _give_up(self) -> None:
        """Have all that is in crowds, and no worker has, go the usual way."""
        for member in self._gathering.give_up():
            self._usual(member.reply_to.route, (member.frame,), member.received_s)

    def answer(self) -> None:
        """Make the answers to chunks that have ended: after `dispatch`, since workers wait while that is done."""
        if self._desk.ended:
            self._desk.answer_ended()

    def help(self, now_s: float) -> bool:
        """Have an idle worker help another; whether one does. After `answer`: for an answer somebody waits."""
        return self._foreman.help(now_s)

    def drain(self) -> None:
        """Begin nothing more. What is not begun has no answer: its client asks the next broker."""
        self._give_up()
        self._scheduler.admit_no_more()

    @property
    def drained(self) -> bool:
        """Whether nothing that was begun is open."""
        return self._foreman.done and not (self._scheduler.open or self._desk.ended)

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
            self._foreman.result(route, header, message.arrays, now_s, wall_s)

    def worker_died(self, incarnation: bytes, wall_s: float) -> None:
        """The kernel says that a worker's process is gone."""
        self._foreman.worker_died(incarnation, wall_s)

    # Time.

    def tick(self, now_s: float, wall_s: float) -> None:
        """Do what time alone brings about: deadlines, hung workers, telemetry, sessions that nobody uses."""
        self._keeper.tick(wall_s)
        for request in self._desk.overdue(now_s, self.workforce.ready or 1):
            self._expire(request)
        self._actions.extend(self.workforce.overdue(now_s))
        self._actions.extend(self.workforce.retire(now_s))
        interval_s = now_s - self._telemetry_s
        if interval_s >= TELEMETRY_S:
            self._telemetry_s = now_s
            self._report(wall_s, interval_s)
            self._keeper.make_checkpoints(now_s)
            self._desk.close_idle(now_s)
            for route in self._desk.cut_off(now_s):
                self._actions.append(Log("warning", "client_cut_off", {"client": self._desk.client(route)}))
                self.client_gone(route)

    def _expire(self, request: Request) -> None:
        self._take_back(request, self.workforce.too_late())

    def _take_back(self, request: Request, error: BeliefdError) -> None:
        """End in an error what of a request no worker has been given. What one has is finished."""
        if self._scheduler.withdraw(request):
            self._desk.end_unbegun(request, error)
        elif isinstance(request, Chunk) and (rest := self._scheduler.withdraw_rest(request)):
            request.fail(error, request.count - rest, rest, Applied.NO)
            self._desk.end_if_done(request)

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
            counters={**self._desk.counters, **self._foreman.counters, "malformed": self._malformed},
            credits=CREDITS,
        )


def _not_for_clients(header: m.Header) -> MalformedMessage:
    if isinstance(header, m.Request):
        return MalformedMessage("zeros are no id: they stand for one that could not be read", field="id")
    return MalformedMessage("this command is not for clients", field="command")
