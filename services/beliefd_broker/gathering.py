"""Finds the steps of an agent each that can be taken as one, while they are still bytes.

Where simulators send an observation at a time, most of what a step costs is what is done to its message. So a message
that differs from one that was accepted in nothing but which agent steps when, and what it observes, is not decoded. It
joins the crowd of those that were read with it, and the crowd goes to the next worker with room as if one client had
asked for all. What is not plain goes the usual way: a message that comes while anybody waits for a turn, whose agent is
busy, whose client has quotas or little time, of which something is to be refused, or that comes while no worker has
room; and a whole crowd where none has any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from beliefd_broker.admission import check_observations
from beliefd_broker.crowd import Asked, Crowd, Member
from beliefd_broker.desk import Desk
from beliefd_broker.population import Population
from beliefd_broker.registry import Registry
from beliefd_broker.request import REQUEST_BYTES
from beliefd_broker.scheduling import BATCH_NS, PRUDENCE, Scheduler, answerable
from beliefd_broker.workforce import Workforce
from beliefd_proto import Arrays
from beliefd_proto.errors import BeliefdError
from beliefd_proto.form import Form
from beliefd_proto.messages import MAX_DEADLINE_MS, MAX_TICK, NO_ID, Limits, Step

_NAMES = ("id", "deadline_ms", "population", "first", "tick")
_AMPLE_MS = 1000
"""Who has less time goes the usual way, and all do where a crowd may take longer."""
_MOST_BYTES = 1024  # a step of an agent is no longer
_MOST_SIZES, _MOST_OF_A_SIZE = 64, 16
_MOST_CROWDS = 8
"""Of more, each is of few, and most would have to wait."""
_LEARN_EVERY_S = 0.1
"""To learn a form takes longer than what it saves at one message: no client has the broker do so again and again."""


class _Group(msgspec.Struct, eq=False):
    """A crowd to be, of `most` members at the most; each of them holds so many bytes."""

    population: Population
    asked: Asked
    most: int
    member_bytes: int
    members: list[Member]


class Gathering:
    """The crowds of what has been read and given to no worker."""

    def __init__(
        self, desk: Desk, populations: Registry, scheduler: Scheduler, workforce: Workforce, limits: Limits
    ) -> None:
        self._desk = desk
        self._populations = populations
        self._scheduler = scheduler
        self._workforce = workforce
        self._limits = limits
        self._forms: dict[int, list[tuple[Form, Asked]]] = {}
        self._growing: dict[tuple[bytes, Asked], _Group] = {}
        self._full: list[_Group] = []
        self._refused: list[Member] = []

    def __len__(self) -> int:
        """How many crowds there are, with what was refused of others."""
        return len(self._growing) + len(self._full) + len(self._refused)

    def learn(self, route: bytes, header: Step, arrays: Arrays, frames: Sequence[Any], now_s: float) -> None:
        """Know messages like this one, which was checked and accepted, from now on."""
        session = self._desk.session_at(route)
        if session is None or now_s < session.learned_s + _LEARN_EVERY_S:
            return
        session.learned_s = now_s
        if header.count != 1 or header.attempt or list(arrays) != ["observations"]:
            return
        if len(frames) != 1 or len(frames[0]) > _MOST_BYTES or self._read(frames[0]) is not None:
            return
        form = Form.of(frames[0], _NAMES)
        if form is None:
            return
        if len(self._forms) >= _MOST_SIZES:
            self._forms.clear()
        observations = arrays["observations"]
        known = self._forms.setdefault(form.size, [])
        known.append((form, Asked(header.want, observations.dtype, observations.shape[1:])))
        del known[:-_MOST_OF_A_SIZE]

    def take(self, route: bytes, frames: Sequence[Any], now_s: float) -> bool:
        """Have a client's message in a crowd; False where it has to go the usual way."""
        # Nobody may be overtaken who waits for a turn: requests of a client over a population stay in their order.
        if len(frames) != 1 or not self._scheduler.is_passed_by or (read := self._read(frames[0])) is None:
            return False
        (request_id, deadline_ms, uid, agent, tick, content), asked = read
        session = self._desk.session_at(route)
        if session is None or session.outstanding >= session.credits or not session.account.steps_freely:
            return False
        if request_id == NO_ID or self._desk.knows(request_id):
            return False
        if not (_AMPLE_MS <= deadline_ms <= MAX_DEADLINE_MS and 1 <= tick <= MAX_TICK):
            return False
        key = (uid, asked)
        group = self._growing.get(key) or self._begin(uid, asked, now_s)
        if group is None or not self._desk.has_room(session, group.member_bytes):
            return False
        population = group.population
        if not 0 <= agent < population.info.rows or population.busy[agent] or not population.live[agent]:
            return False
        self._scheduler.reserve(population, agent, 1)
        session.heard_s = now_s
        session.in_crowds += 1
        member = Member(
            session=session,
            reply_to=session,
            population=population,
            id=request_id,
            agent=agent,
            tick=tick,
            content=content,
            frame=bytes(frames[0]),  # not what it is a view of: with it, all that was read at once would stay
            received_s=now_s,
            deadline_s=now_s + deadline_ms / 1000,
            held_bytes=group.member_bytes,
        )
        group.members.append(member)
        self._desk.enter(member)
        self._growing[key] = group
        if len(group.members) >= group.most:
            self._full.append(self._growing.pop(key))
        return True

    def next(self) -> Crowd | None:
        """The next crowd, for a worker to begin with."""
        while self._full or self._growing:
            group = self._full.pop(0) if self._full else self._growing.pop(next(iter(self._growing)))
            crowd = self._checked(group)
            if crowd is not None:
                self._scheduler.note_little(crowd.received_s)
                self._desk.counters["requests"] += crowd.count
                for member in crowd.members:
                    member.session.in_crowds -= 1
                return crowd
        return None

    def give_up(self) -> list[Member]:
        """All that no worker has, held here no longer: to go the usual way."""
        groups = [*self._full, *self._growing.values()]
        given_up = self._refused + [member for group in groups for member in group.members]
        self._refused, self._full, self._growing = [], [], {}
        for member in given_up:
            self._scheduler.free(member.population, member.agent, 1)
            member.session.in_crowds -= 1
            self._desk.leave(member)
        return given_up

    def _checked(self, group: _Group) -> Crowd | None:
        """The crowd of a group, without those of whom something is wrong; None where nobody is left."""
        crowd = Crowd.of(group.members, group.asked)
        if _is_right(crowd):
            return crowd
        right: list[Member] = []
        for member in group.members:
            (right if _is_right(Crowd.of([member], group.asked)) else self._refused).append(member)
        return Crowd.of(right, group.asked) if right else None

    def _read(self, frame: Any) -> tuple[tuple[Any, ...], Asked] | None:
        for form, asked in self._forms.get(len(frame), ()):
            values = form.read(frame)
            if values is not None:
                return values, asked
        return None

    def _begin(self, uid: bytes, asked: Asked, now_s: float) -> _Group | None:
        """A group over a population, of those who ask so; None where it may not be begun."""
        if len(self) >= _MOST_CROWDS or not self._workforce.free(now_s):
            return None
        population = self._populations.get_or_none(uid.decode(errors="replace"))
        if population is None or not population.is_open:
            return None
        answer_bytes = population.row_bytes(asked.want)
        most = answerable(answer_bytes, population.batch_agents(asked.cost_key, BATCH_NS))
        # Not by their deadlines, which are not looked at: by the least of those that are let in.
        is_slow = population.needed_ns(asked.cost_key, most, PRUDENCE, now_s) > _AMPLE_MS * 1e6
        if is_slow or answer_bytes > self._limits.frame_bytes:
            return None
        return _Group(population, asked, most, REQUEST_BYTES + asked.content_bytes + answer_bytes, [])


def _is_right(crowd: Crowd) -> bool:
    """Whether a worker may have it, but for what was looked at when its members came."""
    if crowd.population.info.quarantined:
        return False
    try:
        check_observations(crowd.per_agent, crowd.count, crowd.population.info.model)
    except BeliefdError:
        return False
    return True
