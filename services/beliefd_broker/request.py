"""Requests in the broker's hands: chunks over agents, and jobs over a whole population."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd_broker.population import PLAN_NS, Population, cost_key
from beliefd_broker.session import Session
from beliefd_proto import Applied, Arrays, Command
from beliefd_proto import messages as m
from beliefd_proto.errors import BeliefdError
from beliefd_proto.messages import AgentRequest, Step
from beliefd_proto.messages import Request as RequestHeader

JOB_NS = 1e9
JOB_AGENT_NS = 1000.0
JOB_JOURNAL_BYTE_NS = 500.0
MAKING = (m.Create, m.Restore, m.Fork)
"""Requests that make a population, of the name that they say."""
REQUEST_BYTES = 2048
"""What a request takes beside its arrays and its answer."""
_OF_THE_BROKER = frozenset({"agents", "ticks"})


class Request:
    """A request that was accepted and will be answered exactly once.

    `session` is the one whose turn it takes; `reply_to` gets the answer: another one where a client came back under a
    new session and asked again. `joined` says that it was asked again, by whomever. `held_bytes` is what it takes in
    memory at the most until it is answered.
    """

    def __init__(self, session: Session, command: Command, header: RequestHeader, arrays: Arrays, now_s: float) -> None:
        self.id = header.id
        self.session = session
        self.command = command
        self.header = header
        self.arrays = arrays
        self.received_s = now_s
        self.deadline_s = now_s + header.deadline_ms / 1000
        self.attempt = header.attempt
        self.reply_to = session
        self.joined = False
        self.answered = False
        self.expired = False
        self.population: Population | None = None
        self.held_bytes = REQUEST_BYTES
        for array in arrays.values():
            self.held_bytes += array.nbytes

    def is_over(self, now_s: float, workers: int) -> bool:
        """Whether it cannot be done by its deadline any more."""
        return self.deadline_s <= now_s


class Job(Request):
    """A request over a whole population, run by one worker while nothing else touches the population."""

    deaths = 0

    def __init__(self, session: Session, command: Command, header: RequestHeader, arrays: Arrays, now_s: float) -> None:
        super().__init__(session, command, header, arrays, now_s)
        self.held_bytes += len(getattr(header, "spec", b""))

    @property
    def predicted_ns(self) -> float:
        """How long a worker may take: for what it writes per agent, and for the plan of a model that comes with it."""
        agents = getattr(self.header, "agents", 0) or getattr(self.header, "count", 0)
        journal_bytes = 0
        if self.population is not None:  # a job may copy all of it, or step its journal again
            agents += self.population.info.rows
            journal_bytes = self.population.journal_bytes
        entries = sum(array.size for array in self.arrays.values())
        return JOB_NS + JOB_AGENT_NS * agents + JOB_JOURNAL_BYTE_NS * journal_bytes + PLAN_NS * entries


class Chunk(Request):
    """A step or read of `count` agents, cut into pieces that run where there is room.

    Attributes
    ----------
    row_bytes : int
        What an agent takes in the answer.
    rows : ndarray of int64, or None
        The agents; None where they are `first` and those that follow.
    next : int
        Where the next piece begins: all before it has been handed out.
    share : int
        How many agents a piece gets where all are to be of one size; 0 before the first of them.
    open_agents, told_agents : int
        How many of `count` have no result yet; of how many the worker has told the client itself.
    status : ndarray of uint8, or None
        Status per agent as workers reported it, where it was not plain success.
    applied : ndarray of uint8, or None
        `Applied` per agent, where the chunk will end in an error.
    """

    header: AgentRequest
    population: Population

    def __init__(
        self,
        session: Session,
        command: Command,
        header: AgentRequest,
        arrays: Arrays,
        now_s: float,
        population: Population,
    ) -> None:
        super().__init__(session, command, header, arrays, now_s)
        self.population = population
        self.row_bytes = population.row_bytes(header.want)
        self.held_bytes += header.count * self.row_bytes
        self.count = header.count
        self.first = header.first
        self.rows: NDArray[np.int64] | None = None
        if header.first is None:
            self.rows = arrays["agents"].astype(np.int64)
        self.tick = header.tick if isinstance(header, Step) else None
        self.per_agent: Arrays = {}
        signature: list[Any] = [population, command, header.want]
        for name, array in arrays.items():
            if name not in _OF_THE_BROKER:
                self.per_agent[name] = array
                signature += (name, array.dtype, array.shape[1:])
        self.signature = signature
        self.cost_key = cost_key(command, header.want)
        self.next = 0
        self.share = 0
        self.open_agents = header.count
        self.told_agents = 0
        self.results: list[tuple[int, Arrays]] = []
        self.status: NDArray[np.uint8] | None = None
        self.applied: NDArray[np.uint8] | None = None
        self.error: BeliefdError | None = None

    @property
    def is_told(self) -> bool:
        """Whether workers have told the client all of it. Who asks again may not have heard them."""
        return self.told_agents == self.count and not self.joined

    @property
    def letterbox(self) -> bytes | None:
        """Where workers may tell of it."""
        return self.reply_to.letterbox

    def parts(self, start: int, count: int) -> Sequence[m.Part]:
        """Whose requests the agents of a piece are of."""
        return (m.Part(self.id, count),)

    def is_over(self, now_s: float, workers: int) -> bool:
        """Whether it cannot be done by its deadline any more, though all of that many workers had nothing else.

        What has been begun is given until the deadline.
        """
        return self.deadline_s <= now_s or (not self.next and not self.fits(now_s, 1 / workers))

    def fits(self, now_s: float, share: float) -> bool:
        """Whether all of it can be done by its deadline where it and others share the workers.

        `share` is how many share one. In an overload whatever is begun has waited for so long that its deadline is
        near: what could not be finished by then would keep workers from what can.
        """
        left_ns = (self.deadline_s - now_s) * 1e9
        return left_ns >= self.population.needed_ns(self.cost_key, self.count, share, now_s)

    def selector(self) -> int | slice | NDArray[np.int64]:
        """Picks the agents out of an array over the population's rows; a single one by its number."""
        if self.first is None:
            return self._rows()
        return self.first if self.count == 1 else slice(self.first, self.first + self.count)

    def numbers(self, start: int, count: int) -> int | NDArray[np.int64]:
        """The agents of a piece; of a single one in a range, the bare number."""
        if self.first is None:
            return self._rows()[start : start + count]
        return self.first + start if count == 1 else np.arange(self.first + start, self.first + start + count)

    def ticks(self, start: int, count: int) -> int | NDArray[np.int64]:
        """The ticks of a piece, or the one that they have in common; only a step has them."""
        return self.tick if self.tick is not None else self.arrays["ticks"][start : start + count]

    def fail(self, error: BeliefdError, start: int, count: int, applied: Applied) -> None:
        """End a piece in an error. The first error of a chunk is the one that is told."""
        self.error = self.error or error
        if self.applied is None:
            self.applied = np.full(self.count, Applied.YES, np.uint8)
        self.applied[start : start + count] = applied
        self.open_agents -= count

    def finish(self, start: int, count: int, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the results of a piece."""
        status = arrays.pop("status", None)
        if status is not None:
            if self.status is None:
                self.status = np.zeros(self.count, np.uint8)
            self.status[start : start + count] = status
        self.results.append((start, arrays))
        self.open_agents -= count

    def gathered(self) -> Arrays:
        """The results of all pieces in the order of the chunk; zeros for a piece that failed."""
        if not self.results:
            return {}
        if len(self.results) == 1 and self.applied is None:
            return self.results[0][1]
        gathered: Arrays = {}
        make = np.empty if self.applied is None else np.zeros
        for name, like in self.results[0][1].items():
            whole = make((self.count, *like.shape[1:]), like.dtype)
            for start, arrays in self.results:
                part = arrays[name]
                whole[start : start + len(part)] = part
            gathered[name] = whole
        return gathered

    def _rows(self) -> NDArray[np.int64]:
        assert self.rows is not None
        return self.rows


class Piece(msgspec.Struct, gc=False):
    """`count` agents of a chunk from `start` on, and how many workers died over them."""

    chunk: Chunk
    start: int
    count: int
    deaths: int = 0
