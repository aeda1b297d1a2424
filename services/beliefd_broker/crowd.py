"""Steps of an agent each, which many clients ask alike at about the same time, as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from beliefd_broker.population import Population
from beliefd_broker.request import Chunk
from beliefd_broker.session import Session
from beliefd_proto import Applied, Arrays, Command, decode
from beliefd_proto.messages import Part, Step


class Member(msgspec.Struct, gc=False):
    """One client's step: where it came from, what makes it another than the others', and its message."""

    session: Session
    id: bytes
    agent: int
    tick: int
    content: bytes
    frames: Sequence[Any]
    held_bytes: int
    begun: bool = False
    attempt: int = 0
    joined: bool = False


class Asked(NamedTuple):
    """What of a step is the same for all members of a crowd: the outputs that are wanted, and the observations' form.

    `columns` is the shape of one agent's.
    """

    want: int
    dtype: np.dtype[Any]
    columns: tuple[int, ...]

    @property
    def cost_key(self) -> int:
        return Command.STEP << 8 | self.want

    @property
    def content_bytes(self) -> int:
        """What an agent's observations take."""
        return math.prod(self.columns) * self.dtype.itemsize


class Crowd(Chunk):
    """A chunk that nobody sent: `members` did, each for one agent of it.

    Its members have an answer each. Where that is not the plain one for all of them they are taken `apart`, and each is
    the chunk that it had been on the usual way.
    """

    def __init__(
        self, members: list[Member], header: Step, arrays: Arrays, now_s: float, population: Population
    ) -> None:
        super().__init__(members[0].session, Command.STEP, header, arrays, now_s, population)
        self.members = members

    @classmethod
    def of(cls, members: list[Member], asked: Asked, now_s: float, population: Population) -> Crowd:
        """The crowd of these members, whose agents are others each."""
        only, n = members[0], len(members)
        content = only.content if n == 1 else b"".join([member.content for member in members])
        arrays: Arrays = {"observations": np.ndarray((n, *asked.columns), asked.dtype, content)}
        first: int | None = only.agent
        tick: int | None = only.tick
        if n > 1:
            first = None
            arrays["agents"] = np.array([member.agent for member in members], np.uint32)
            ticks = [member.tick for member in members]
            if ticks.count(ticks[0]) < n:
                tick = None
                arrays["ticks"] = np.array(ticks, np.int64)
        uid = population.info.uid
        header = Step(id=only.id, deadline_ms=0, population=uid, count=n, first=first, tick=tick, want=asked.want)
        return cls(members, header, arrays, now_s, population)

    @property
    def letterbox(self) -> bytes | None:
        return self.members[0].session.letterbox if len(self.members) == 1 else None

    @property
    def is_told(self) -> bool:
        return self.told_agents == self.count and not any(member.joined for member in self.members)

    @property
    def is_plain(self) -> bool:
        """Whether each member's answer is its part of what workers said."""
        if self.error is not None or self.status is not None:
            return False
        return not any(member.joined for member in self.members)

    def parts(self, start: int, count: int) -> list[Part]:
        return [Part(member.id, 1) for member in self.members[start : start + count]]

    def apart(self) -> list[Chunk]:
        """The chunks that its members sent, handed out as it was, each with its part of what came of it."""
        chunks = []
        results = self.gathered()
        for number, member in enumerate(self.members):
            message = decode(member.frames)
            assert isinstance(message.header, Step)
            chunk = Chunk(
                member.session, message.command, message.header, message.arrays, self.received_s, self.population
            )
            chunk.attempt, chunk.joined, chunk.next = member.attempt, member.joined, 1
            if self.error is not None and self.applied is not None:
                chunk.fail(self.error, 0, 1, Applied(int(self.applied[number])))
            elif not self.open_agents:
                share = {name: array[number : number + 1] for name, array in results.items()}
                if self.status is not None:
                    share["status"] = self.status[number : number + 1]
                chunk.finish(0, 1, share)
            chunks.append(chunk)
        return chunks
