"""The broker's core against everything a network, an operator and a supervisor may do, in any order.

Messages of clients are lost, doubled and overtaken; what workers send is late, or ends with them; workers die before or
after they have written, or have told a client of it themselves; the broker is restarted with work still in workers'
hands, or drained before; the clocks jump forth and back.
"""

import secrets
from collections import defaultdict, deque

import numpy as np
import pytest
from broker_world import STEPS, FakeWorker, World, population, rows_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from beliefd_broker.desk import CREDITS
from beliefd_broker.routing import Core
from beliefd_broker.worker import LOADS_IN_FLIGHT
from beliefd_proto import Applied, Command, Message, encode
from beliefd_proto import messages as m

AGENTS = 200
UIDS = ("0" * 16, "1" * 16)
CLIENTS = 3
SLOW_NS = 10_000
"""What an agent takes: of 130 it is worth that two workers share them."""
LONG_MS = 86_400_000
_ENDED = {"cancelled", "tick_taken", "stale_tick", "tick_gap", "worker_crashed", "quarantined", "deadline_exceeded"}


class Network(World):
    """Messages of workers wait on their way, each worker's in their order; the core may be replaced by another."""

    def __init__(self, *arguments, **options):
        self.on_the_way = defaultdict(deque)
        self.wall_s = 0.0
        super().__init__(*arguments, **options)

    def from_worker(self, worker, frames):
        self.on_the_way[worker.incarnation].append(frames)

    def deliver(self, incarnation):
        frames = self.on_the_way[incarnation].popleft()
        self.core.worker_message(incarnation, frames, self.now_s, self.wall_s)

    def add_worker(self, name):
        worker = FakeWorker(self, name)
        self.workers[worker.incarnation] = worker
        worker.hello()
        return worker

    def kill(self, worker):
        self.on_the_way.pop(worker.incarnation, None)
        super().kill(worker)
        self.core.workforce.settle_died(worker.identity)

    def learn_pace(self):
        """Batches have shown what an agent takes."""
        for each in self.core._populations:
            each.record(STEPS, AGENTS, AGENTS * SLOW_NS, self.now_s)

    def restart(self):
        """Another broker: it knows the populations from disk, and from the leases who is still there."""
        known = {population.info.uid: population.info for population in self.core._populations}
        held = {worker.identity: worker.name for worker in self.workers.values()}
        fresh = [
            population(uid=uid, name=info.name, rows=AGENTS, quarantined=self.quarantined.get(uid, False))
            for uid, info in known.items()
        ]
        self.core = Core(self.core.epoch + 1, fresh, held, self.now_s, self.wall_s)
        self.learn_pace()
        for worker in self.workers.values():
            worker.hello()


class Machine(RuleBasedStateMachine):
    """`sent` has every request's arguments; `open` those without an answer, by client."""

    @initialize()
    def begin(self):
        self.world = Network([population(uid=uid, name=f"mice-{uid[0]}", rows=AGENTS) for uid in UIDS], workers=2)
        self.sessions = [secrets.token_bytes(16) for _ in range(CLIENTS)]
        self.world.agent_ns = SLOW_NS
        self.world.learn_pace()
        self._settle_workers()
        self.routes = [self.world.client(session) for session in self.sessions]
        self.sent, self.open, self.sends = {}, [{} for _ in range(CLIENTS)], defaultdict(int)
        self.times_sent = defaultdict(int)
        self.seen = 0
        self.told = defaultdict(dict)
        self.names = 0

    @rule(client=st.integers(0, CLIENTS - 1), data=st.data())
    def step(self, client, data):
        uid = data.draw(st.sampled_from(UIDS))
        first = data.draw(st.sampled_from([0, 0, 10, 70]))
        count = data.draw(st.sampled_from([1, 20, 130, 130]))
        tick = self.world.store.get((uid, first), (0, b""))[0] + data.draw(st.sampled_from([1, 1, 1, 0, 2]))
        request = secrets.token_bytes(16)
        deadline_ms = data.draw(st.sampled_from([LONG_MS, 500]))
        self.sent[request] = {
            "uid": uid,
            "first": first,
            "count": count,
            "tick": max(tick, 1),
            "deadline_ms": deadline_ms,
        }
        self.open[client][request] = None
        if data.draw(st.integers(0, 9)):  # else it is lost, and found missing when the client asks
            self._send(client, request)

    @rule(client=st.integers(0, CLIENTS - 1), data=st.data())
    def send_again(self, client, data):
        """A doubled message, or one that overtakes: any open request, under its id."""
        if self.open[client]:
            self._send(client, data.draw(st.sampled_from(list(self.open[client]))))

    @rule(data=st.data())
    def ask_for_what_has_ended(self, data):
        """A retry whose first answer was lost on its way."""
        if self.sent:
            self._send(
                data.draw(st.integers(0, CLIENTS - 1)),
                data.draw(st.sampled_from(list(self.sent))),
                deadline_ms=LONG_MS,
            )

    @rule(client=st.integers(0, CLIENTS - 1), data=st.data())
    def cancel(self, client, data):
        """A client takes back one of its requests; or means one that is not its own, which changes nothing."""
        if self.sent:
            request = data.draw(st.sampled_from(list(self.sent)))
            header = m.Cancel(id=secrets.token_bytes(16), deadline_ms=1000, requests=(request,))
            held = self.world.core._desk.request(request)
            theirs = held is not None and held.reply_to.route == self.routes[client]
            self.world.core.client_message(self.routes[client], encode(Command.CANCEL, header), self.world.now_s)
            if not theirs and held is not None:
                assert self.world.core._desk.request(request) is held
            self._pump()

    @rule(client=st.integers(0, CLIENTS - 1), same_session=st.booleans())
    def reconnect(self, client, same_session):
        if not same_session:
            self.world.core.client_gone(self.routes[client])
            self.sessions[client] = secrets.token_bytes(16)
        self._hello(client)

    @rule(data=st.data())
    def deliver(self, data):
        waiting = [incarnation for incarnation, frames in self.world.on_the_way.items() if frames]
        if waiting:
            incarnation = data.draw(st.sampled_from(list(waiting)))
            for _ in range(data.draw(st.integers(1, len(self.world.on_the_way[incarnation])))):
                self.world.deliver(incarnation)
        self._pump()

    @rule(data=st.data())
    def work(self, data):
        busy = [worker for worker in self.world.workers.values() if worker.inbox]
        if busy:
            worker = data.draw(st.sampled_from(busy))
            worker.run_one(tiles=data.draw(st.integers(0, 3)), tell=data.draw(st.booleans()))
        self._pump()

    @rule(written=st.booleans(), tiles=st.integers(0, 3), told=st.booleans(), data=st.data())
    def death(self, written, tiles, told, data):
        """Of what it shares with another a worker may have done some, or have counted it and not done it."""
        victim = data.draw(st.sampled_from(list(self.world.workers.values())))
        if victim.inbox:
            tally = victim.inbox[0][0].tally
            if written:
                victim.run_one(answer=False, tiles=tiles, tell=told)
            elif tally is not None and victim.inbox[0][0].epoch == self.world.core.epoch:
                self.world.tallies[tally] = min(self.world.tallies[tally] + tiles, 3)
        self._bury(victim)
        self._pump()

    @rule()
    def idle_workers_say_so(self):
        self._idle_say_so()
        self._pump()

    @rule(passed_s=st.sampled_from([0.02, 0.3, 0.6, 2.0]))
    def time_passes(self, passed_s):
        self.world.now_s += passed_s
        self.world.wall_s += passed_s
        self.world.core.tick(self.world.now_s, self.world.wall_s)
        self._pump()

    @rule(by_s=st.sampled_from([-86_400.0, -5.0, -0.3, 5.0, 86_400.0]), both=st.booleans())
    def clocks_jump(self, by_s, both):
        """The time of day either way; the clock that measures spans, which never goes back, as after a long stop."""
        self.world.wall_s += by_s
        if both:
            self.world.now_s += abs(by_s)
        self.world.core.tick(self.world.now_s, self.world.wall_s)
        self._pump()

    @rule()
    def restart(self):
        self._pump()
        self.world.restart()
        for client in range(CLIENTS):
            self._hello(client)

    @precondition(lambda self: not self.world.core.drained)
    @rule()
    def drain_and_restart(self):
        """What was begun is answered before the broker leaves."""
        self.world.core.drain()
        self._until(lambda: self.world.core.drained)
        self._check_hands()
        self.restart()

    @invariant()
    def queues_are_bounded(self):
        core = self.world.core
        for session in core._desk._sessions.values():
            assert 0 <= session.outstanding <= CREDITS
            assert len(session.waiting) <= CREDITS
        for worker in core.workforce.all():
            assert len({batch.load for batch in worker.batches.values()}) <= LOADS_IN_FLIGHT
            batches = worker.batches.values()
            assert worker.ahead_ns == pytest.approx(sum(batch.predicted_ns for batch in batches), abs=1.0)
            assert (worker.done_s == 0.0) == (not worker.batches)
            assert worker.opening_ns == pytest.approx(sum(batch.opening_ns for batch in batches), abs=1.0)
        # Beside those of clients there are the broker's own, such as a checkpoint when a day has passed.
        assert sum(bool(request.reply_to.route) for request in core._desk._requests.values()) <= len(self.sent)
        assert len(self.world.applied) == len({entry[:3] for entry in self.world.applied})

    def teardown(self):
        """Once all is well every request ends, without another restart, and nothing is left in the broker's hands."""
        if not hasattr(self, "world"):
            return
        self._until(lambda: not self.world.core._desk.open)
        for _ in range(3):
            for client in range(CLIENTS):
                self._hello(client)  # a session that was silent for long is forgotten
                for request in list(self.open[client]):
                    self._send(client, request, deadline_ms=LONG_MS)
            self._until(lambda: not self.world.core._desk.open)
        assert not any(self.open)
        # Who helped with what another has done is told of it, and had nothing left to do.
        self._until(lambda: not self.world.core.workforce.busy)
        for population_ in self.world.core._populations:
            assert not population_.busy.any()
            assert population_.busy_agents == 0
        assert not self.world.core._scheduler._open
        self._check_hands()

    def _check_hands(self):
        """Nothing of this broker's is in a worker's hands.

        What an earlier one gave may be, of a request that has ended by its deadline since.
        """
        held = [item for worker in self.world.workers.values() for item in worker.inbox]
        assert all(work.epoch < self.world.core.epoch for work, _ in held)
        assert self.world.in_hands == {(work.population, int(row)) for work, a in held for row in rows_of(work, a)}

    def _send(self, client, request, **change):
        if len(self.open[client]) >= CREDITS:
            return
        self.sends[request] += 1
        self.times_sent[request] += 1
        self.world.step(self.routes[client], request=request, **{**self.sent[request], **change})
        self._pump()

    def _hello(self, client):
        route = secrets.token_bytes(5)
        header = m.Hello(
            id=secrets.token_bytes(16),
            deadline_ms=1000,
            session=self.sessions[client],
            versions=(1,),
            letterbox=bytes([client]) * 16 if client else None,
        )
        self.world.core.client_message(route, encode(Command.HELLO, header), self.world.now_s)
        self.routes[client] = route
        self._pump()

    def _bury(self, victim):
        self.world.kill(victim)
        self.names += 1
        self.world.add_worker(f"again_{self.names}")  # it registers when its hello is delivered

    def _idle_say_so(self):
        for worker in self.world.workers.values():
            if not worker.inbox and not self.world.on_the_way[worker.incarnation]:
                worker.hello()

    def _pump(self):
        while self.world.pump():
            for killed in self.world.killed:
                if killed in self.world.workers:
                    self._bury(self.world.workers[killed])
            self.world.killed.clear()
        self._take_answers()

    def _take_letters(self):
        """What is told in parts is an answer once it is all there; it may be told again, by whomever."""
        for letterbox, request, start, count in self.world.letters:
            assert letterbox
            parts, at = self.told[request], 0
            parts[start] = count
            while at in parts:
                at += parts[at]
            if at == self.sent[request]["count"]:
                for requests in self.open:
                    requests.pop(request, None)
                self._check(request, Message(Command.STEPPED, m.Stepped(id=request), {}))
        self.world.letters.clear()

    def _take_answers(self):
        self._take_letters()
        for _, message in self.world.answers[self.seen :]:
            request = getattr(message.header, "id", None)
            if request not in self.sent:
                continue
            if message.command is Command.ERROR and message.header.code in ("hello_required", "busy"):
                continue
            self.sends[request] -= 1
            for requests in self.open:
                requests.pop(request, None)
            self._check(request, message)
        self.seen = len(self.world.answers)

    def _check(self, request, message):
        """What is said to be done was done by this request, once; what is said not to be done was not."""
        asked = self.sent[request]
        assert self.sends[request] >= 0, "more answers than questions"
        if message.command is Command.STEPPED:
            applied = np.full(asked["count"], Applied.YES)
        else:
            assert message.header.code in _ENDED, message.header
            applied = message.arrays["applied"]
        once = self.times_sent[request] == 1
        sure = once or message.command is Command.STEPPED or message.header.code in ("tick_taken", "tick_gap")
        done = {entry[:3] for entry in self.world.applied if entry[3] == request}
        for place, told in enumerate(applied):
            entry = (asked["uid"], asked["first"] + place, asked["tick"])
            if told == Applied.YES:
                assert entry in done
            elif told == Applied.NO and sure:
                assert entry not in done

    def _settle_workers(self):
        for _ in range(3):
            for incarnation, frames in list(self.world.on_the_way.items()):
                while frames:
                    self.world.deliver(incarnation)
            self.world.pump()

    def _until(self, condition):
        for _ in range(2_000):
            if condition():
                return
            self.world.now_s += 0.01
            self.world.core.tick(self.world.now_s, self.world.wall_s)
            self._idle_say_so()
            for worker in list(self.world.workers.values()):
                if worker.inbox:
                    worker.run_one()
            for incarnation, frames in list(self.world.on_the_way.items()):
                while frames and incarnation in self.world.workers:
                    self.world.deliver(incarnation)
            self._pump()
        raise AssertionError("this did not come about")


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)
