"""Finds the steps of an agent each that can be taken as one, while they are still bytes.

Where simulators send an observation at a time, most of what a step costs is what is done to its message. So a message
that is like one that was accepted but for its id, agent, tick and observation is not decoded. It joins the crowd of
those that were read with it, and the crowd goes to the next worker with room as if one client had asked for all.
Whatever is not plain about a message has it go the usual way: that of a busy agent, of a client that has quotas, all
that is to be refused; and the whole crowd does where no worker has room at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from beliefd.observations import check
from beliefd.wire import observations_from
from beliefd_broker.crowd import Asked, Crowd, Member
from beliefd_broker.desk import Desk
from beliefd_broker.population import Population
from beliefd_broker.registry import Registry
from beliefd_broker.request import REQUEST_BYTES
from beliefd_broker.scheduling import BATCH_NS, Scheduler, answerable
from beliefd_proto import Message
from beliefd_proto.errors import BeliefdError
from beliefd_proto.form import Form
from beliefd_proto.messages import Step

_NAMES = ("id", "deadline_ms", "population", "first", "tick")
_AMPLE_MS, _MOST_MS = 1000, 86_400_000
"""Deadlines that need not be looked at: what joins a crowd is begun at once."""
_MOST_TICK = 2**62
_NO_ID = bytes(16)
_MOST_SIZES, _MOST_OF_A_SIZE = 64, 4
_LEARN_EVERY_S = 0.01
"""To learn a form takes longer than what it saves at one message: no client has the broker do so again and again."""


class _Open(msgspec.Struct, eq=False):
    """A crowd that others may join, up to `most` in all; each of them holds so many bytes."""

    population: Population
    asked: Asked
    most: int
    member_bytes: int
    members: list[Member]
    now_s: float


class Gathering:
    """The crowds of what has been read and given to nobody. `usual` takes messages that go the usual way after all."""

    def __init__(
        self,
        desk: Desk,
        populations: Registry,
        scheduler: Scheduler,
        usual: Callable[[bytes, Sequence[Any], float], None],
    ) -> None:
        self._desk = desk
        self._populations = populations
        self._scheduler = scheduler
        self._usual = usual
        self._forms: dict[int, list[tuple[Form, Asked]]] = {}
        self._learned_s = float("-inf")
        self._open: dict[tuple[bytes, Asked], _Open] = {}
        self._full: list[_Open] = []

    def __len__(self) -> int:
        """How many crowds there are."""
        return len(self._open) + len(self._full)

    def learn(self, message: Message, frames: Sequence[Any], now_s: float) -> None:
        """Know messages like this one, which was accepted, from now on."""
        header, arrays = message.header, message.arrays
        if now_s < self._learned_s + _LEARN_EVERY_S or len(frames) != 1 or not isinstance(header, Step):
            return
        if header.count != 1 or header.first is None or header.tick is None or header.attempt:
            return
        if list(arrays) != ["observations"] or self._read(frames[0]) is not None:
            return
        self._learned_s = now_s
        form = Form.of(frames[0], _NAMES)
        if form is None:
            return
        observations = arrays["observations"]
        asked = Asked(header.want, observations.dtype, observations.shape[1:])
        learned = (form, asked)
        if len(self._forms) > _MOST_SIZES:
            self._forms.clear()
        self._forms[form.size] = [learned, *self._forms.get(form.size, ())][:_MOST_OF_A_SIZE]

    def take(self, route: bytes, frames: Sequence[Any], now_s: float) -> bool:
        """Have a client's message in a crowd; False where it has to go the usual way."""
        # Nobody may be overtaken who waits for a turn: requests of a client over a population stay in their order.
        if len(frames) != 1 or self._scheduler or (read := self._read(frames[0])) is None:
            return False
        (request_id, deadline_ms, uid, agent, tick, content), asked = read
        session = self._desk.find(route)
        if session is None or session.outstanding >= session.credits or session.account.guarded:
            return False
        if request_id == _NO_ID or self._desk.knows(request_id):
            return False
        if not (_AMPLE_MS <= deadline_ms <= _MOST_MS and 1 <= tick <= _MOST_TICK):
            return False
        key = (uid, asked)
        crowd = self._open.get(key) or self._begin(uid, asked, now_s)
        if crowd is None or not _is_free(agent, crowd.population):
            return False
        self._scheduler.reserve(crowd.population, agent)
        session.heard_s = now_s
        member = Member(session, request_id, agent, tick, content, frames, crowd.member_bytes)
        crowd.members.append(member)
        session.gathered += 1
        self._desk.join_crowd(member)
        self._open[key] = crowd
        if len(crowd.members) >= crowd.most:
            self._full.append(self._open.pop(key))
        return True

    def next(self) -> Crowd | None:
        """The next crowd, for a worker to begin with."""
        while self._full or self._open:
            found = self._full.pop(0) if self._full else self._open.pop(next(iter(self._open)))
            crowd = Crowd.of(found.members, found.asked, found.now_s, found.population)
            model = found.population.info.model
            try:
                check(observations_from(crowd.per_agent, model), model)
            except BeliefdError:
                self._give_up(found)
                continue
            self._scheduler.begin(crowd)
            self._desk.counters["requests"] += crowd.count
            for member in crowd.members:
                member.begun = True
                member.session.gathered -= 1
            return crowd
        return None

    def give_up(self) -> None:
        """Have all go the usual way."""
        crowds = [*self._full, *self._open.values()]
        self._full.clear()
        self._open.clear()
        for crowd in crowds:
            self._give_up(crowd)

    def _give_up(self, crowd: _Open) -> None:
        for member in crowd.members:
            self._scheduler.free(crowd.population, member.agent, 1)
            member.session.gathered -= 1
            self._desk.leave(member)
        for member in crowd.members:
            self._usual(member.session.route, member.frames, crowd.now_s)

    def _read(self, frame: Any) -> tuple[tuple[Any, ...], Asked] | None:
        for form, asked in self._forms.get(len(frame), ()):
            values = form.read(frame)
            if values is not None:
                return values, asked
        return None

    def _begin(self, uid: bytes, asked: Asked, now_s: float) -> _Open | None:
        """A crowd over a population, of those who ask so; None where it may not be begun."""
        population = self._populations.of(uid.decode(errors="replace"))
        if population is None or not _is_open(population):
            return None
        answer_bytes = population.row_bytes(asked.want)
        member_bytes = REQUEST_BYTES + asked.content_bytes + answer_bytes
        most = answerable(answer_bytes, population.batch_agents(asked.cost_key, BATCH_NS))
        most = min(most, self._desk.room(member_bytes))
        if most < 1:
            return None
        return _Open(population, asked, most, member_bytes, [], now_s)


def _is_free(agent: int, population: Population) -> bool:
    if agent >= population.info.rows or population.busy[agent]:
        return False
    return population.all_live or bool(population.live[agent])


def _is_open(population: Population) -> bool:
    """Whether agents of a population may be begun with, as far as they are free."""
    if population.exclusive or population.job_waiting or population.stale:
        return False
    return not population.info.quarantined
