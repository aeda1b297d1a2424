"""Which work goes to a worker next: fair between clients, batches of a few milliseconds, no agent twice at once.

Clients take turns. A turn takes at most one batch's worth of a client's work, so a million-agent call and a
single-agent client both go on. A batch then fills up with what other clients ask of the same population in the same
way. A client's requests over one population stay in their order; over different populations they may overtake. Batches
are of about two milliseconds for each worker that is to work on them; of up to eight where for a while nobody has asked
for so little that it would wait. Those get smaller toward the end of all that was asked, so that workers end closer
together (guided self-scheduling: Polychronopoulos and Kuck 1987).

What is in crowds has no turn: it is gathered while nobody waits for one.

Nothing is begun that cannot be done by its deadline beside what is begun already: if all were begun at once, each would
get so small a part of the workers that none would be done in time.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from beliefd_broker.population import TILE_AGENTS, Population
from beliefd_broker.request import MAKING, Chunk, Job, Piece, Request
from beliefd_broker.session import Session
from beliefd_proto import Command

BATCH_NS = 2_000_000.0
LONG_BATCH_NS = 8_000_000.0
"""What a batch may take while nobody asks for little: what a batch costs beside its agents, it costs less often."""
LITTLE_NS = 2 * BATCH_NS
"""Whoever asks for no more than that would notice that others' batches are long."""
ASKS_AGAIN_S = 10.0
"""For how long whoever asked for little is expected to ask again."""
GUIDE = 1.5
"""By so much a long batch is smaller than a worker's part of what is left, where nothing else waits."""
LEAST_BATCH_NS = 200_000.0
WORTH_SHARING_NS = 2 * LEAST_BATCH_NS
"""What takes less is not shared: one worker would be done before the other has begun."""
MOST_ANSWER_BYTES = 16 * 2**20
PRUDENCE = 2.0
"""What is begun has that many times as long as it should take: others may come to share the workers."""
_FILL_SESSIONS = 256


class Scheduler:
    """Holds the order of turns. A population's `busy` flags are set and cleared here."""

    def __init__(self) -> None:
        self._turns: deque[Session] = deque()
        self._open: dict[bytes, deque[Chunk]] = {}
        self._creating: set[str] = set()
        self._admitting = True
        self._waiting = 0
        self._late: list[Chunk] = []
        self._little_s = float("-inf")  # when little was asked for last
        self._now_s = 0.0
        self._workers = 1

    def push(self, request: Chunk | Job) -> None:
        """Accept a request."""
        session = request.session
        session.waiting.append(request)
        self._waiting += 1
        if isinstance(request, Chunk) and (request.count <= TILE_AGENTS or takes_at_most(request, LITTLE_NS)):
            self._little_s = request.received_s
        if not session.has_turn:
            session.has_turn = True
            self._turns.append(session)

    @property
    def is_passed_by(self) -> bool:
        """Whether a crowd may be begun without a turn, since nobody waits for one."""
        return self._admitting and not self._turns

    def note_little(self, now_s: float) -> None:
        """Somebody asks for little, without a turn."""
        self._little_s = now_s

    def reserve(self, population: Population, agents: int | slice | NDArray[np.int64], count: int) -> None:
        """So many agents, which are free, are busy from now on."""
        population.busy[agents] = True
        population.busy_agents += count

    def __bool__(self) -> bool:
        """Whether anybody waits for a turn."""
        return bool(self._turns)

    @property
    def waiting(self) -> int:
        """How many requests nothing was begun of."""
        return self._waiting

    def admit_no_more(self) -> None:
        """From now on only what has been admitted goes on."""
        self._admitting = False

    @property
    def open(self) -> bool:
        """Whether a chunk has been admitted and not all of it handed out."""
        return bool(self._open)

    def next(self, free_workers: int, now_s: float, workers: int) -> list[Piece] | Job | None:
        """What to run next: the pieces of one batch, or one job; None where nothing can run now.

        `free_workers` of all `workers` have nothing to do.
        """
        self._now_s, self._workers = now_s, workers
        for _ in range(len(self._turns)):
            session = self._turns[0]
            request = self._pick(session)
            if request is None:
                self._end_turn(session)
                continue
            if isinstance(request, Chunk):
                most = self._most_agents(request)
                piece = self._take(request, most, free_workers)
                self._end_turn(session)
                if free_workers > 1 and may_share(request, piece.count):
                    return [piece]  # with another's agents in it nobody could help
                return self._fill(piece, most)
            self._end_turn(session)
            return request
        return None

    def next_small(self) -> list[Piece] | None:
        """The pieces of a batch that takes little: to go along with another that does.

        None where whoever has the turn asks for more than that, and keeps the turn, or where nothing can run now.
        """
        for _ in range(len(self._turns)):
            session = self._turns[0]
            if self._open.get(session.id) or (session.waiting and not is_small(session.waiting[0])):
                return None
            request = self._pick(session, small=True)
            if isinstance(request, Chunk):
                assert request.population is not None
                most = answerable(request.row_bytes, request.population.batch_agents(request.cost_key, BATCH_NS))
                piece = self._take(request, request.count, 1)
                self._end_turn(session)
                return self._fill(piece, most)
            self._end_turn(session)
        return None

    def take_late(self) -> list[Chunk]:
        """What was withdrawn at its turn, since it cannot be done by its deadline any more."""
        late, self._late = self._late, []
        return late

    def release(self, request: Request) -> None:
        """An admitted request has ended: its agents are free again."""
        if isinstance(request, Chunk):
            self._drop_open(request)
            self.free(request.population, request.selector(), request.count)
            return
        if request.population is not None:
            request.population.exclusive = False
        if isinstance(request.header, MAKING):
            self._creating.discard(request.header.name)

    def free(self, population: Population, agents: int | slice | NDArray[np.int64], count: int) -> None:
        """So many agents are busy no longer."""
        population.busy[agents] = False
        population.busy_agents -= count

    def withdraw(self, request: Request) -> bool:
        """Take back a request that has not been admitted; False where it has been."""
        waiting = request.session.waiting
        if request not in waiting:
            return False
        request.session.waiting = deque(other for other in waiting if other is not request)
        self._waiting -= 1
        if request.population is not None and isinstance(request, Job):
            request.population.job_waiting = False
        return True

    def withdraw_rest(self, chunk: Chunk) -> int:
        """Take back the part of an admitted chunk that was not handed out yet; returns how many agents."""
        self._drop_open(chunk)
        rest = chunk.count - chunk.next
        chunk.next = chunk.count
        return rest

    def _end_turn(self, session: Session) -> None:
        self._turns.popleft()
        session.has_turn = bool(session.waiting or self._open.get(session.id))
        if session.has_turn:
            self._turns.append(session)

    def _pick(self, session: Session, small: bool = False) -> Chunk | Job | None:
        """The session's next request that can run: one that is partly handed out, or the first that can be admitted.

        Of those that take little, where `small` is set.
        """
        if chunks := self._open.get(session.id):
            return chunks[0]
        if not self._admitting:
            return None
        blocked: set[int] = set()
        place = 0
        while place < len(session.waiting):
            request = session.waiting[place]
            population = request.population
            if population is not None and id(population) in blocked:
                place += 1
            elif (not small or is_small(request)) and self._begin(session, place):
                return request
            elif isinstance(request, Chunk) and self._is_late(request):
                del session.waiting[place]
                self._waiting -= 1
                self._late.append(request)
            else:
                blocked.add(id(population))
                place += 1
        return None

    def _begin(self, session: Session, place: int) -> bool:
        """Admit what waits at this place, if that can be."""
        request = session.waiting[place]
        if not (self._may_begin(request) and self._admit(request)):
            return False
        del session.waiting[place]
        self._waiting -= 1
        if isinstance(request, Chunk):
            self._open.setdefault(session.id, deque()).append(request)
        return True

    def _may_begin(self, request: Chunk | Job) -> bool:
        """Whether there is time enough for a chunk. Where nothing is begun it need not be ample."""
        if not isinstance(request, Chunk) or self._has_ample_time(request):
            return True
        return not self._open and not self._is_late(request)

    def _is_late(self, chunk: Chunk) -> bool:
        """Whether a chunk will not be done in time, or stands before a younger one that has better prospects."""
        if chunk.is_over(self._now_s, self._workers):
            return True
        youngest = chunk.session.waiting[-1]
        return (
            isinstance(youngest, Chunk)
            and chunk.deadline_s - self._now_s < self._now_s - chunk.received_s
            and not self._has_ample_time(chunk)
            and self._has_ample_time(youngest)
        )

    def _has_ample_time(self, chunk: Chunk) -> bool:
        return chunk.fits(self._now_s, PRUDENCE * (len(self._open) + 1) / self._workers)

    def _admit(self, request: Chunk | Job) -> bool:
        """Reserve what the request touches, if it is free."""
        if isinstance(request, Chunk):
            if not request.population.is_open:
                return False
            selector = request.selector()
            busy = request.population.busy[selector]
            # One agent's flag is true or not; to count it would cost more than all else here.
            if bool(busy) if request.count == 1 else np.count_nonzero(busy):
                return False
            self.reserve(request.population, selector, request.count)
            return True
        population, header = request.population, request.header
        if population is not None and population.stale and request.command is not Command.RECOVER:
            return False
        if isinstance(header, MAKING) and header.name in self._creating:
            return False
        if population is not None:
            if population.exclusive or population.busy_agents:
                population.job_waiting = True
                return False
            population.exclusive, population.job_waiting = True, False
        if isinstance(header, MAKING):
            self._creating.add(header.name)
        return True

    def _most_agents(self, chunk: Chunk) -> int:
        """How many agents the next batch may hold, of those that ask as `chunk` does."""
        population = chunk.population
        most = population.batch_agents(chunk.cost_key, BATCH_NS)
        if self._now_s - self._little_s > ASKS_AGAIN_S:
            # Not so long that it alone ends late, where other workers have nothing left.
            fair = math.ceil((chunk.count - chunk.next) / self._workers)
            most = max(most, min(fair, population.batch_agents(chunk.cost_key, LONG_BATCH_NS)))
        return answerable(chunk.row_bytes, most)

    def _hands(self, chunk: Chunk, most: int, free_workers: int) -> int:
        """How many workers are likely to work on the next piece of a chunk: one, or two of them that share it.

        Two where nothing of the chunk is left for the second, and it is idle, or nobody else may need one soon: a piece
        for two is long for one alone.
        """
        remaining = chunk.count - chunk.next
        workers = free_workers
        if free_workers < 2:
            others = self._waiting or len(self._open) > 1 or self._now_s - self._little_s <= ASKS_AGAIN_S
            workers = 1 if others else self._workers
        return 2 if workers > 1 and remaining <= most * workers and may_share(chunk, remaining) else 1

    def _take(self, chunk: Chunk, most: int, free_workers: int) -> Piece:
        """Cut the next piece off a chunk: of whole tiles, as many agents as `_share` says."""
        agents = remaining = chunk.count - chunk.next
        if remaining > TILE_AGENTS:
            hands = self._hands(chunk, most, free_workers)
            share = self._share(chunk, most, free_workers, guided=hands == 1)  # two end together by themselves
            share = min(hands * share, answerable(chunk.row_bytes, remaining))
            agents = min(remaining, -(-share // TILE_AGENTS) * TILE_AGENTS)
        piece = Piece(chunk, chunk.next, agents)
        chunk.next += agents
        if chunk.next == chunk.count:
            self._drop_open(chunk)
        return piece

    def _share(self, chunk: Chunk, most: int, free_workers: int, guided: bool) -> int:
        """How many agents a worker gets of the next piece, `most` at the most, so that workers end closer together.

        A part of what is left where it is `guided`, long pieces are allowed and nothing else waits; else an even cut.
        """
        population = chunk.population
        remaining = chunk.count - chunk.next
        usual = population.batch_agents(chunk.cost_key, BATCH_NS)
        if guided and usual < most < remaining and not self._waiting and len(self._open) == 1:
            part = min(most, math.ceil(remaining / (GUIDE * self._workers)))
            if part > usual:
                return part
            most = usual
        # At its first piece, at the last that are of the usual length, and where its agents turn out to be otherwise.
        if not most / 2 <= chunk.share <= most:
            rounds = math.ceil(remaining / (most * free_workers))
            least = population.batch_agents(chunk.cost_key, LEAST_BATCH_NS)
            chunk.share = max(math.ceil(remaining / (rounds * free_workers)), least)
        return min(most, chunk.share)

    def _fill(self, first: Piece, most: int) -> list[Piece]:
        """Add what other sessions ask alike, as long as the batch and its answer have room."""
        pieces = [first]
        chunk = first.chunk
        room = most - first.count
        for _ in range(min(len(self._turns), _FILL_SESSIONS)):
            if room <= 0:
                break
            session = self._turns[0]
            request = self._pick_alike(session, chunk)
            if request is not None and request.count - request.next <= room:
                piece = self._take(request, request.count, 1)
                pieces.append(piece)
                room -= piece.count
            self._end_turn(session)
        return pieces

    def _pick_alike(self, session: Session, chunk: Chunk) -> Chunk | None:
        """The session's next request, if it can run in the same batch as `chunk`."""
        opened = self._open.get(session.id)
        head = opened[0] if opened else session.waiting[0] if session.waiting else None
        # What is left of the chunk itself was left for another worker.
        if not isinstance(head, Chunk) or head is chunk or head.signature != chunk.signature:
            return None
        # That one alone: another would have been admitted for nothing.
        return head if opened or (self._admitting and self._begin(session, 0)) else None

    def _drop_open(self, chunk: Chunk) -> None:
        chunks = self._open.get(chunk.session.id)
        if chunks and chunk in chunks:
            chunks.remove(chunk)
            if not chunks:
                del self._open[chunk.session.id]


def answerable(row_bytes: int, most: int) -> int:
    """`most` agents, or as many as an answer has room for where each takes so much."""
    return min(most, max(MOST_ANSWER_BYTES // row_bytes, 1))


def may_share(chunk: Chunk, agents: int) -> bool:
    """Whether two workers may share so many agents of a chunk, and it is worth it.

    Of a step that no journal keeps batch by batch, and of which it is known how long it takes.
    """
    population = chunk.population
    return (
        agents > TILE_AGENTS
        and chunk.command is Command.STEP
        and population.info.durability == "process"
        and population.is_measured(chunk.cost_key)
        and population.predicted_ns(chunk.cost_key, agents) >= WORTH_SHARING_NS
    )


def is_small(request: Chunk | Job) -> bool:
    """Whether a request takes so little that it goes to a worker along with others."""
    return takes_at_most(request, LEAST_BATCH_NS)


def takes_at_most(request: Chunk | Job, span_ns: float) -> bool:
    """Whether a worker is done with a chunk, by what is known of its like, within `span_ns`."""
    if not isinstance(request, Chunk):
        return False
    return request.population.predicted_ns(request.cost_key, request.count) <= span_ns
