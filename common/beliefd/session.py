"""A client's side of the protocol, without I/O: requests in, frames out; frames in, answers out.

Rules
-----
1. A session says HELLO before anything else, and again whenever the broker no longer knows it: after a broker's
   restart, or when the connection came back under another address.
2. A request keeps its id for life. Sending it again is always safe: the server applies it at most once, and answers a
   repeated one with what it recorded. So everything that was not answered is sent again after a new HELLO.
3. When nothing has been heard for a while, PING asks which of the open requests the broker holds; those that it does
   not hold are sent again. Nothing else is sent twice.
4. At most `credits` requests are open at the broker; the others wait here. What the broker refuses as busy waits again,
   for as long as the broker said. What has waited until no time is left is not sent: then it is sure not to be done.
5. Every request ends by its deadline: in an answer, or in an error. The broker is told an earlier one, and has given up
   by then what it has not begun.
6. A step is answered by the broker, or by workers in parts, which `receive` takes as well. What is heard first counts.
7. What the caller cancels ends at once where it waits here; else the broker is asked to take back what is not begun.

The session knows no socket and no clock: `now_s` comes with every call. A shell sends what `take_outgoing` returns,
hands in what arrives by `receive`, calls `tick` by `next_wakeup_s`, and resolves what has `ended`.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from beliefd_proto import Applied, Arrays, Command, Message, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.error_message import from_header, to_header
from beliefd_proto.errors import (
    BeliefdError,
    Cancelled,
    DeadlineExceeded,
    Disconnected,
    InvalidInput,
    TickGap,
    TickTaken,
    Unauthenticated,
    VersionMismatch,
)

SILENCE_S = 0.25
"""How long the session waits for a word from the broker before it asks whether it is still known."""
_MAX_SILENCE_S = 2.0
_HOMEWARD_S = 0.1
"""How long before a deadline the broker shall have answered."""
_SURE = (InvalidInput, TickTaken, TickGap)
"""These say of a request that was sent more than once that it changed nothing. Others say so of the last time alone."""
_PATIENCE_MS = 50
"""How long to wait where a busy broker does not say."""
_IDLE_S = 60.0
"""How long its shell may sleep where nothing is open."""
_FINAL = frozenset({VersionMismatch.code, Unauthenticated.code})
_NOBODY = "the broker did not answer in time; is it running, and does it want keys, or does it not know these?"


class Pending(msgspec.Struct, eq=False):
    """A request that has no answer yet.

    `sent` counts how often its frames left and were not refused as busy; at `deadline_s` it ends at last. `order` is
    that of submission; `cancelled` says that the caller took it back. `ended` is called once it has an outcome, on the
    thread that drives, and may be called again. `parts` are those of the answer that workers told: of how many agents
    each, by where it starts.

    Of a `Future` it has what a caller who drives needs; one costs as much as the rest of a small step.
    """

    command: Command
    header: m.Request
    arrays: Arrays
    deadline_s: float
    ended: Callable[[], None] | None = None
    sent: int = 0
    order: int = 0
    cancelled: bool = False
    outcome: Message | BeliefdError | None = None
    parts: dict[int, tuple[int, Arrays]] = {}

    def done(self) -> bool:
        return self.outcome is not None

    def result(self) -> Message:
        """The answer; raises the error in which the request ended."""
        if isinstance(self.outcome, BeliefdError):
            raise self.outcome
        assert self.outcome is not None
        return self.outcome

    def resolve(self) -> None:
        """Tell whoever waits. Not under a lock: callbacks of the caller run here."""
        if self.ended is not None:
            self.ended()

    def frames(self, now_s: float) -> list[Any]:
        remaining_s = max(self.deadline_s - now_s, 0.0)
        # The broker gives up a little earlier: it can say what it has not begun, and here that would be unknown.
        broker_s = remaining_s - min(_HOMEWARD_S, remaining_s / 4)
        return encode(self.command, self.header, self.arrays, deadline_ms=round(broker_s * 1000))


class Session:
    """State of one client: see the rules above.

    `ended` are the requests that have an outcome, each to be resolved. What goes from one place to another stands in
    both for a moment: where an error such as MemoryError strikes in it, a request may end twice, but is not lost.
    """

    def __init__(
        self, client: str = "", session_id: bytes | None = None, token: str = "", letterbox: bytes | None = None
    ) -> None:
        self.id = session_id or secrets.token_bytes(16)
        self.limits = m.Limits()
        self.epoch = 0
        self._client = client
        self._token = token
        self._letterbox = letterbox
        self._hello_id = bytes(16)
        self._refusal: BeliefdError | None = None
        self._credits = self._granted = 0
        self._greeted = False
        self._hello_sent_s = float("-inf")
        self._heard_s = float("-inf")
        self._asked_s = float("-inf")
        self._silence_s = SILENCE_S
        self._patient_until_s = float("-inf")
        self._submitted = 0
        self._held_back = 0  # the order of the last one that there were no credits for
        self._waiting: deque[Pending] = deque()
        self._open: dict[bytes, Pending] = {}
        self._outgoing: list[list[Any]] = []
        self.ended: deque[Pending] = deque()

    @property
    def idle(self) -> bool:
        """Whether no request is waiting or open."""
        return not self._open and not self._waiting

    def submit(self, pending: Pending) -> None:
        """Take a request. It ends in the answer, or in an error of the tree."""
        self._submitted += 1
        pending.order = self._submitted
        self._waiting.append(pending)

    def cancel(self, pending: Pending) -> None:
        """Take a request back: what of it nobody has begun ends in `Cancelled`."""
        if pending.done() or pending.cancelled:
            return
        pending.cancelled = True
        if pending.header.id in self._open:
            self._outgoing.append(_cancel(pending))
        else:
            self._end(pending, _with_applied(_taken_back(), pending))
            self._waiting.remove(pending)

    def take_outgoing(self, now_s: float) -> list[list[Any]]:
        """What has to be sent now."""
        if not self._greeted:
            if now_s >= self._hello_due_s:
                self._hello_sent_s = now_s
                self._outgoing = [self._hello(now_s)]
        elif now_s >= self._patient_until_s:
            late = []
            while self._waiting and len(self._open) < self._credits:
                pending = self._waiting[0]
                if pending.order <= self._held_back and pending.deadline_s < now_s + _HOMEWARD_S:
                    late.append(self._waiting.popleft())
                    continue
                self._open[pending.header.id] = pending
                self._waiting.popleft()
                self._send(pending, now_s)
            if late:
                self._waiting.extendleft(reversed(late))
            if self._waiting:
                self._held_back = self._waiting[-1].order
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def receive(self, frames: Sequence[Any], now_s: float) -> None:
        """Take one message of the broker.

        What is not a message of this protocol is ignored: its request is asked for again by rule 3, and ends by its
        deadline.
        """
        try:
            message = decode(frames)
        except VersionMismatch as error:
            self.give_up(error)
            return
        except BeliefdError:
            return
        header = message.header
        if isinstance(header, m.SteppedPart) and header.id not in self._open:
            return  # from anybody: nobody that we wait for was heard
        self._heard_s = now_s
        self._silence_s = SILENCE_S
        if isinstance(header, m.SteppedPart):
            self._part(header, message.arrays)
        elif isinstance(header, m.Welcome):
            self._welcome(header, now_s)
        elif isinstance(header, m.Pong):
            self._pong(header, now_s)
        elif isinstance(header, m.Error) and header.code == "hello_required":
            self.introduce()
        elif isinstance(header, m.Error) and header.code in _FINAL:
            self.give_up(from_header(header, {}))
        elif isinstance(header, m.Error) and header.id == self._hello_id:
            # Such as too many sessions: it may pass, and is what is told if it does not.
            self._refusal = from_header(header, {})
        else:
            self._answer(message, now_s)

    def introduce(self) -> None:
        """Say HELLO, and all that is open again: who listens does not know us, as where the connection is a new one."""
        self._greeted = False
        self._hello_sent_s = float("-inf")

    def tick(self, now_s: float) -> None:
        """Do what time brings about: end what is past its deadline, ask after a silence."""
        for pending in (*self._open.values(), *self._waiting):
            if pending.deadline_s <= now_s:
                self._expire(pending)
        if self._greeted and self._open and now_s >= self._ping_due_s:
            self._asked_s = now_s
            self._silence_s = min(self._silence_s * 2, _MAX_SILENCE_S)
            ping = m.Ping(id=secrets.token_bytes(16), deadline_ms=1000, pending=tuple(self._open)[:4096])
            self._outgoing.append(encode(Command.PING, ping))

    def next_wakeup_s(self, now_s: float) -> float:
        """When `tick` or `take_outgoing` has something to do if nothing arrives before."""
        if self.ended:
            return now_s
        due_s = now_s + _IDLE_S
        for requests in (self._open.values(), self._waiting):
            for pending in requests:
                if pending.deadline_s < due_s:
                    due_s = pending.deadline_s
        if not self._greeted:
            due_s = min(due_s, self._hello_due_s)
        elif self._open:
            due_s = min(due_s, self._ping_due_s)
        if self._greeted and self._waiting and self._patient_until_s > now_s:
            due_s = min(due_s, self._patient_until_s)
        return due_s

    # What `next_wakeup_s` says and what is then due are one sum each: two ways to write it may differ by a rounding.

    @property
    def _hello_due_s(self) -> float:
        return self._hello_sent_s + self._silence_s

    @property
    def _ping_due_s(self) -> float:
        return max(self._heard_s, self._asked_s) + self._silence_s

    def give_up(self, error: BeliefdError) -> None:
        """End everything in an error: the broker speaks another version, does not know the token, or lets nobody in."""
        header = to_header(error, bytes(16))
        for pending in (*self._open.values(), *self._waiting):
            self._end(pending, _with_applied(from_header(header, {}), pending))
        self._open.clear()
        self._waiting.clear()

    def close(self, reason: str) -> None:
        """End everything that has no answer."""
        self.give_up(Disconnected(reason, field="client"))

    def _hello(self, now_s: float) -> list[Any]:
        self._hello_id = secrets.token_bytes(16)
        header = m.Hello(
            id=self._hello_id,
            deadline_ms=1000,
            session=self.id,
            versions=(m.PROTOCOL_VERSION,),
            client=self._client,
            token=self._token,
            letterbox=self._letterbox,
        )
        return encode(Command.HELLO, header)

    def _welcome(self, header: m.Welcome, now_s: float) -> None:
        if self._greeted:
            return  # the answer to a HELLO that was sent twice
        self._greeted = True
        self._refusal = None
        self.epoch = header.epoch
        self.limits = header.limits
        self._credits = self._granted = header.credits
        for pending in self._open.values():
            self._send(pending, now_s)

    def _pong(self, header: m.Pong, now_s: float) -> None:
        for unknown in header.unknown:
            pending = self._open.get(unknown)
            if pending is not None:
                self._send(pending, now_s)

    def _part(self, header: m.SteppedPart, arrays: Arrays) -> None:
        """Take what a worker says of some agents of a step, which has its answer once all of them are told of.

        Parts of an earlier time that it was sent may be among them: a step's answer is the same each time.
        """
        pending = self._open[header.id]
        if not isinstance(pending.header, m.Step):
            return
        pending.parts[header.start] = header.count, arrays
        following, told = [], 0
        while told in pending.parts:
            count, arrays = pending.parts[told]
            following.append(arrays)
            told += count
        if told == pending.header.count:
            if len(following) > 1:
                arrays = {name: np.concatenate([part[name] for part in following]) for name in arrays}
            self._credits = self._granted  # as an answer of the broker's would
            self._end(pending, Message(Command.STEPPED, m.Stepped(id=header.id), arrays))
            del self._open[header.id]

    def _answer(self, message: Message, now_s: float) -> None:
        header = message.header
        pending = self._open.get(getattr(header, "id", b""))
        if pending is None:
            if isinstance(header, m.Error) and header.id == bytes(16):
                self._refused(message)
            return
        if isinstance(header, m.Error) and header.attempt != pending.header.attempt:
            return  # it ended an earlier attempt, which was over here already
        if isinstance(header, m.Error) and header.code == "busy":
            # Not an end: the broker asks for patience. What it refused waits here again.
            pending.sent -= 1
            if pending.cancelled:
                self._end(pending, _with_applied(_taken_back(), pending))
                del self._open[header.id]
                return
            self._waiting = deque(sorted((*self._waiting, pending), key=lambda waiting: waiting.order))
            del self._open[header.id]
            self._patient_until_s = now_s + (header.retry_after_ms or _PATIENCE_MS) / 1000
            self._credits = max(min(self._credits, len(self._open)), 1)
            return
        if granted := getattr(header, "credits", 0):
            self._credits = self._granted = granted
        if isinstance(header, m.Error):
            error = from_header(header, message.arrays)
            error.partial = message.arrays
            if error.applied is not None and (pending.sent > 1 or header.attempt) and not isinstance(error, _SURE):
                error.applied = np.where(error.applied == Applied.NO, Applied.UNKNOWN, error.applied).astype(np.uint8)
            self._end(pending, _with_applied(error, pending))
        else:
            self._end(pending, message)
        del self._open[pending.header.id]

    def _refused(self, message: Message) -> None:
        """The broker could not read something that we sent, and cannot say what: with one request open it was that."""
        if len(self._open) == 1 and isinstance(message.header, m.Error):
            (pending,) = self._open.values()
            self._end(pending, _with_applied(from_header(message.header, {}), pending))
            self._open.clear()

    def _expire(self, pending: Pending) -> None:
        if not self._greeted:
            error = self._refusal or Disconnected(_NOBODY, field="endpoint")
        else:
            error = DeadlineExceeded("no answer before the deadline", field="timeout_s")
        self._end(pending, _with_applied(error, pending))
        if self._open.pop(pending.header.id, None) is None:
            self._waiting.remove(pending)

    def _end(self, pending: Pending, outcome: Message | BeliefdError) -> None:
        pending.outcome = outcome
        self.ended.append(pending)

    def _send(self, pending: Pending, now_s: float) -> None:
        pending.sent += 1
        self._outgoing.append(pending.frames(now_s))
        if pending.cancelled:  # an earlier broker may have begun it: this one shall settle what it did, and no more
            self._outgoing.append(_cancel(pending))


def _cancel(pending: Pending) -> list[Any]:
    header = m.Cancel(id=secrets.token_bytes(16), deadline_ms=1000, requests=(pending.header.id,))
    return encode(Command.CANCEL, header)


def _taken_back() -> Cancelled:
    return Cancelled("this was cancelled before it was begun")


def _with_applied(error: BeliefdError, pending: Pending) -> BeliefdError:
    """Say per agent what a step's error means for it, where the broker did not."""
    if isinstance(pending.header, m.Step) and error.applied is None:
        applied = Applied.UNKNOWN if pending.sent else Applied.NO
        error.applied = np.full(pending.header.count, applied, np.uint8)
    return error
