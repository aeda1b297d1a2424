"""Steps of an agent each, which many clients ask alike at about the same time, as one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec
import numpy as np

from beliefd_broker.population import Population, cost_key
from beliefd_broker.request import Chunk
from beliefd_broker.session import Session
from beliefd_proto import Applied, Arrays, Command, decode
from beliefd_proto.messages import MAX_CONTENT_BYTES, NO_ID, Part, Step


class Member(msgspec.Struct, eq=False, gc=False, kw_only=True):
    """One client's step: what makes it another than the others', and all of its message.

    The rest is as in `Request`.
    """

    session: Session
    reply_to: Session
    population: Population
    id: bytes
    agent: int
    tick: int
    content: bytes
    frame: bytes
    received_s: float
    deadline_s: float
    held_bytes: int
    attempt: int = 0
    joined: bool = False
    expired: bool = False


class Asked(NamedTuple):
    """What of a step is the same for all members of a crowd: the outputs that are wanted, and the observations' form.

    `columns` is the shape of one agent's.
    """

    want: int
    dtype: np.dtype[Any]
    columns: tuple[int, ...]

    @property
    def cost_key(self) -> int:
        return cost_key(Command.STEP, self.want)

    @property
    def content_bytes(self) -> int:
        """What an agent's observations take."""
        return math.prod(self.columns) * self.dtype.itemsize


class Crowd(Chunk):
    """A chunk that nobody sent: `members` did, each for one agent of it.

    It has no id, session, deadline or room of its own: its members have, and each has an answer. Where that is not the
    plain one for all of them they are taken `apart`, and each is the chunk that it had been on the usual way.
    """

    def __init__(self, members: list[Member], header: Step, arrays: Arrays) -> None:
        first = members[0]
        super().__init__(first.session, Command.STEP, header, arrays, first.received_s, first.population)
        self.members = members

    @classmethod
    def of(cls, members: list[Member], asked: Asked) -> Crowd:
        """The crowd of these members, whose agents are others each."""
        only, n = members[0], len(members)
        content = b"".join([member.content for member in members])
        arrays: Arrays = {"observations": np.ndarray((n, *asked.columns), asked.dtype, content)}
        first: int | None = only.agent
        tick: int | None = only.tick
        if n > 1:
            first = None
            arrays["agents"] = np.array([member.agent for member in members], np.uint32)
            ticks = [member.tick for member in members]
            if ticks.count(only.tick) < n:
                tick = None
                arrays["ticks"] = np.array(ticks, np.int64)
        uid = only.population.info.uid
        header = Step(id=NO_ID, deadline_ms=0, population=uid, count=n, first=first, tick=tick, want=asked.want)
        return cls(members, header, arrays)

    @property
    def letterbox(self) -> bytes | None:
        return self.members[0].reply_to.letterbox if self.count == 1 else None

    @property
    def is_told(self) -> bool:
        return self.told_agents == self.count and not any(member.joined for member in self.members)

    @property
    def is_plain(self) -> bool:
        """Whether each member's answer is its part of what workers said, in a message of one frame."""
        if self.error is not None or self.status is not None:
            return False
        [(_, arrays)] = self.results
        return all(0 < array.nbytes <= self.count * MAX_CONTENT_BYTES for array in arrays.values())

    def parts(self, start: int, count: int) -> list[Part]:
        return [Part(member.id, 1) for member in self.members[start : start + count]]

    def apart(self) -> list[Chunk]:
        """The chunks that its members sent, in a worker's hands or done as it is, each with its part of what came."""
        chunks = []
        results = self.gathered()
        for number, member in enumerate(self.members):
            message = decode([member.frame])
            header, arrays = message.header, message.arrays
            assert isinstance(header, Step)
            chunk = Chunk(member.session, message.command, header, arrays, member.received_s, self.population)
            chunk.reply_to, chunk.attempt, chunk.joined = member.reply_to, member.attempt, member.joined
            chunk.deadline_s, chunk.expired, chunk.next = member.deadline_s, member.expired, 1
            if self.applied is not None:
                assert self.error is not None
                chunk.fail(self.error, 0, 1, Applied(int(self.applied[number])))
            elif not self.open_agents:
                share = {name: array[number : number + 1] for name, array in results.items()}
                if self.status is not None:
                    share["status"] = self.status[number : number + 1]
                chunk.finish(0, 1, share)
            chunks.append(chunk)
        return chunks
