"""The clients' side of the broker: who they are, what they asked, and what they are told.

Whatever is accepted here ends here, exactly once: with the answer, with an error, without a word where workers have
told the client all of a step, or because its client is gone before anything of it was begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from beliefd_broker import answers
from beliefd_broker.accounts import Account, Accounts
from beliefd_broker.actions import Action, SendClient
from beliefd_broker.crowd import Crowd, Member
from beliefd_broker.population import Population
from beliefd_broker.request import Chunk, Job, Request
from beliefd_broker.session import Session
from beliefd_proto import Arrays, Command, encode
from beliefd_proto import messages as m
from beliefd_proto.error_message import to_header
from beliefd_proto.errors import BeliefdError, Busy, HelloRequired, TooLarge, VersionMismatch

CREDITS = 64
SESSION_IDLE_S = 300.0
MOST_REFUSALS = 256
"""Who sends so many requests beyond its credits between two looks does not heed what it is told."""
CUT_OFF_S = 10.0
MOST_SESSIONS = 65_536
_ROOM_S = 0.02
"""When to ask again where there is no room: some batches later."""


class Desk:
    """Sessions and the requests that are open for them.

    `act` takes what has to be sent, `release` what an admitted request held. `ended` are chunks whose clients have not
    been told yet.
    """

    def __init__(
        self,
        act: Callable[[Action], None],
        epoch: int,
        limits: m.Limits,
        accounts: Accounts,
        release: Callable[[Request], None],
    ) -> None:
        self._act = act
        self._release = release
        self._accounts = accounts
        self._epoch = epoch
        self._limits = limits
        self._sessions: dict[bytes, Session] = {}
        self._requests: dict[bytes, Request] = {}
        self._members: dict[bytes, Member] = {}
        self._refusals: Counter[bytes] = Counter()
        self._cut_off: dict[bytes, float] = {}
        self._open_bytes = 0
        self.ended: list[Chunk] = []
        self.counters = dict.fromkeys(("requests", "answers", "errors", "busy"), 0)

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    @property
    def open(self) -> int:
        """How many requests have no answer yet."""
        return len(self._requests) + len(self._members)

    def client(self, route: bytes) -> str:
        """What the client at `route` calls itself."""
        session = self._sessions.get(route)
        return session.client if session is not None else ""

    def hello(self, route: bytes, header: m.Hello, workers: int, now_s: float) -> None:
        """Open a session, or move it to where its client is now.

        Raises
        ------
        VersionMismatch
        Unauthenticated
        Busy
            The client has as many sessions as it may.
        """
        if m.PROTOCOL_VERSION not in header.versions:
            raise VersionMismatch(
                "no protocol version in common",
                field="versions",
                value=header.versions,
                allowed=str(m.PROTOCOL_VERSION),
            )
        account = self._accounts.of(header.token)
        session = next((s for s in self._sessions.values() if s.id == header.session), None)
        if session is None:
            self._check_sessions(account)
            session = Session(header.session, route, header.client, account, CREDITS, now_s)
        else:
            del self._sessions[session.route]
            session.account = account
        session.route, session.letterbox, session.heard_s = route, header.letterbox, now_s
        self._sessions[route] = session
        welcome = m.Welcome(
            id=header.id,
            version=m.PROTOCOL_VERSION,
            epoch=self._epoch,
            credits=session.credits,
            limits=self._limits,
            workers=workers,
        )
        self.send(route, Command.WELCOME, welcome)

    def _check_sessions(self, account: Account) -> None:
        if len(self._sessions) >= MOST_SESSIONS:
            raise Busy(
                "this server has as many sessions as it may",
                field="sessions",
                allowed=str(MOST_SESSIONS),
                retry_after_s=1.0,
            )
        if account.sessions is None:
            return
        if sum(session.account is account for session in self._sessions.values()) >= account.sessions:
            raise Busy(
                "this client has as many sessions as it may",
                field="sessions",
                allowed=str(account.sessions),
                retry_after_s=1.0,
            )

    def session(self, route: bytes, now_s: float) -> Session:
        """The session of a connection.

        Raises
        ------
        HelloRequired
        """
        session = self._sessions.get(route)
        if session is None:
            raise HelloRequired("say HELLO first: this connection has no session", field="session")
        session.heard_s = now_s
        return session

    def ping(self, route: bytes, header: m.Ping) -> None:
        unknown = tuple(p for p in header.pending if p not in self._requests and p not in self._members)
        self.send(route, Command.PONG, m.Pong(id=header.id, epoch=self._epoch, unknown=unknown))

    def request(self, request_id: bytes) -> Request | None:
        """The open request of this id."""
        return self._requests.get(request_id)

    def join(self, header: m.Request, session: Session, now_s: float) -> bool:
        """A retry of what is under way: it has until the later deadline, and its answer goes to who asked last.

        False where nothing of this id is under way.
        """
        request = self._requests.get(header.id) or self._members.get(header.id)
        if request is None:
            return False
        self._let_go(request)
        request.joined = True
        request.attempt = max(request.attempt, header.attempt)
        request.deadline_s = max(request.deadline_s, now_s + header.deadline_ms / 1000)
        request.expired = request.expired and request.deadline_s <= now_s
        request.reply_to = session
        self._hold(request)
        return True

    def check_credit(self, session: Session, unheard: int) -> None:
        """Refuse a request beyond the session's credits.

        Workers may have told the client of `unheard` of its requests, and not the broker yet.

        Raises
        ------
        Busy
        """
        if session.outstanding >= session.credits + unheard:
            self.counters["busy"] += 1
            self._refusals[session.route] += 1
            raise Busy("more requests than credits", field="credits", value=session.credits, retry_after_s=0.05)

    def check_bytes(self, request: Request) -> None:
        """Refuse a request that there is no room for.

        A session may hold as much as it leaves free, so that whoever comes next finds room.

        Raises
        ------
        TooLarge
        Busy
        """
        most, needed = self._limits.open_bytes, request.held_bytes
        if 2 * needed > most:
            raise TooLarge(
                "this request and its answer are too large for this server; ask for fewer agents at once",
                field="bytes",
                value=needed,
                allowed=f"{most // 2}",
            )
        if not self.has_room(request.session, needed):
            self.counters["busy"] += 1
            raise Busy(
                "the open requests take as much memory as they may",
                field="bytes",
                value=self._open_bytes,
                allowed=f"{most}",
                retry_after_s=_ROOM_S,
            )

    def has_room(self, session: Session, needed: int) -> bool:
        """Whether so many bytes more may be held for a session, which leaves as much free as it takes."""
        return session.held_bytes + needed <= self._limits.open_bytes - self._open_bytes - needed

    def accept(self, request: Chunk | Job) -> None:
        """Hold a request until it ends."""
        self.counters["requests"] += 1
        self._add(request)

    def enter(self, member: Member) -> None:
        """Hold a step of a crowd until it ends."""
        self._members[member.id] = member
        self._hold(member)

    def end(self, request: Request, command: Command, header: m.Header, arrays: Arrays | None = None) -> None:
        """Tell a request's client how it ended."""
        request.answered = True
        self.forget(request)
        self.counters["errors" if command is Command.ERROR else "answers"] += 1
        if isinstance(header, m.Error):
            header = msgspec.structs.replace(header, attempt=request.attempt)
        if request.reply_to.route:  # the broker's own jobs are answered to nobody
            self.send(request.reply_to.route, command, header, arrays)

    def answer(self, request: Request, command: Command, header: m.Header, arrays: Arrays | None = None) -> None:
        """End an admitted request: free what it held and tell its client."""
        self._release(request)
        self.end(request, command, header, arrays)

    def end_if_done(self, chunk: Chunk) -> None:
        """Free the agents of a chunk none of which is open any more; `answer_ended` tells its client."""
        if not chunk.open_agents and not chunk.answered:
            chunk.answered = True
            self._release(chunk)
            self.ended.append(chunk)

    def answer_ended(self) -> None:
        """Tell the clients of chunks that have ended."""
        ended, self.ended = self.ended, []
        for chunk in ended:
            if isinstance(chunk, Crowd):
                self._answer_crowd(chunk)
            elif chunk.is_told:
                self.counters["answers"] += 1
                self.forget(chunk)
            else:
                self.end(chunk, *answers.chunk(chunk, CREDITS))

    def _answer_crowd(self, crowd: Crowd) -> None:
        if not (crowd.is_told or crowd.is_plain):
            for chunk in self.apart(crowd):
                self.end(chunk, *answers.chunk(chunk, CREDITS))
            return
        if not crowd.is_told:
            for route, frame in answers.crowd(crowd, CREDITS):
                self._act(SendClient(route, (frame,)))
        self.counters["answers"] += crowd.count
        for member in crowd.members:
            self.leave(member)

    def fail(self, job: Job, error: BeliefdError) -> None:
        """End an admitted job in an error."""
        self.answer(job, Command.ERROR, to_header(error, job.id))

    def end_unbegun(self, request: Request, error: BeliefdError) -> None:
        """Tell a request's client that it ended in an error before anything of it was begun."""
        self.end(request, Command.ERROR, to_header(error, request.id), answers.not_applied(request.header))

    def refuse(self, route: bytes, error: BeliefdError, request_id: bytes, header: m.Request | None = None) -> None:
        """Tell a client that what it sent was not accepted."""
        self.counters["errors"] += 1
        told, arrays = to_header(error, request_id), None
        if header is not None:
            told = msgspec.structs.replace(told, attempt=header.attempt)
            arrays = answers.not_applied(header)
        self.send(route, Command.ERROR, told, arrays)

    def send(self, route: bytes, command: Command, header: m.Header, arrays: Arrays | None = None) -> None:
        self._act(SendClient(route, encode(command, header, arrays)))

    def gone(self, route: bytes) -> list[Chunk | Job]:
        """The client at `route` cannot be reached; returns what it asked that may not have been begun."""
        session = self._sessions.pop(route, None)
        return list(session.waiting) if session is not None else []

    def forget(self, request: Request) -> None:
        """Hold a request no longer."""
        self._let_go(request)
        del self._requests[request.id]

    def leave(self, member: Member) -> None:
        """Hold a step of a crowd no longer."""
        self._let_go(member)
        del self._members[member.id]

    def apart(self, crowd: Crowd) -> list[Chunk]:
        """Hold what members of a crowd asked as the chunks that they sent."""
        for member in crowd.members:
            self.leave(member)
        chunks = crowd.apart()
        for chunk in chunks:
            self._add(chunk)
        return chunks

    def _add(self, request: Request) -> None:
        self._requests[request.id] = request
        self._hold(request)

    def _hold(self, request: Request | Member) -> None:
        self._open_bytes += request.held_bytes
        request.session.held_bytes += request.held_bytes
        request.reply_to.outstanding += 1

    def _let_go(self, request: Request | Member) -> None:
        self._open_bytes -= request.held_bytes
        request.session.held_bytes -= request.held_bytes
        request.reply_to.outstanding -= 1

    def session_at(self, route: bytes) -> Session | None:
        """The session of a connection that has said HELLO."""
        return self._sessions.get(route)

    def knows(self, request_id: bytes) -> bool:
        """Whether a request of this id is open."""
        return request_id in self._requests or request_id in self._members

    def is_to_begin(self, request_id: bytes) -> bool:
        """Whether a request of this id may be in a crowd that no worker has."""
        member = self._members.get(request_id)
        return member is not None and member.session.in_crowds > 0

    def overdue(self, now_s: float, workers: int) -> Iterator[Request]:
        """The requests that cannot be done by their deadlines any more, each once; see `Chunk.is_over`."""
        for request in [r for r in self._requests.values() if r.is_over(now_s, workers) and not r.expired]:
            request.expired = True
            yield request

    def of(self, population: Population) -> list[Request]:
        """The open requests of a population."""
        return [request for request in self._requests.values() if request.population is population]

    def shuts_out(self, route: bytes) -> bool:
        """Whether what comes from this connection is not even read."""
        return route in self._cut_off

    def cut_off(self, now_s: float) -> list[bytes]:
        """Shut out for a while whoever goes on beyond its credits, so that the refusals cost the others nothing.

        Returns the connections. To be called twice a second.
        """
        self._cut_off = {route: until_s for route, until_s in self._cut_off.items() if until_s > now_s}
        rogues = [route for route, refusals in self._refusals.items() if refusals >= MOST_REFUSALS]
        self._refusals.clear()
        for route in rogues:
            self._cut_off[route] = now_s + CUT_OFF_S
            error = Busy(
                f"{MOST_REFUSALS} requests beyond the credits: nothing is read from this connection for now",
                field="credits",
                value=CREDITS,
                retry_after_s=CUT_OFF_S,
            )
            self.refuse(route, error, m.NO_ID)
        return rogues

    def close_revoked(self) -> int:
        """Forget the sessions whose account was changed or taken back; returns how many.

        What was accepted is answered all the same.
        """
        revoked = [route for route, session in self._sessions.items() if not self._accounts.holds(session.account)]
        for route in revoked:
            del self._sessions[route]
        return len(revoked)

    def close_idle(self, now_s: float) -> None:
        """Forget sessions that nobody has used for minutes, as where a client left; their clients say HELLO again."""
        for route, session in list(self._sessions.items()):
            if session.heard_s < now_s - SESSION_IDLE_S and not session.outstanding:
                del self._sessions[route]
