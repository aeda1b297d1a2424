"""The pure broker core with workers and clients that are a few lines each: time and deaths are what the test says."""

from __future__ import annotations

import secrets
from collections import deque

import msgspec
import numpy as np

from beliefd_broker.actions import (
    Emit,
    KillWorker,
    Log,
    MarkQuarantine,
    ResetTally,
    SendClient,
    SendWorker,
    WatchWorker,
)
from beliefd_broker.population import TILE_AGENTS, Population, cost_key
from beliefd_broker.routing import Core
from beliefd_proto import Command, ModelInfo, StepStatus, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.bundle import bundle, unbundled
from beliefd_service.process import ProcessIdentity

INFO = ModelInfo(
    hash="0" * 64,
    dtype="float32",
    num_obs=(4, 3),
    num_states=(4, 2),
    num_controls=(4, 1),
    control_fac_idx=(0,),
    policy_len=1,
    num_policies=4,
)

STEPS = cost_key(Command.STEP)
"""Under which a population knows how long plain steps take."""


def population(uid="0" * 16, name="mice", rows=100, model=INFO, quarantined=False, durability="process"):
    info = m.PopulationInfo(
        uid=uid,
        name=name,
        model=model,
        seed=0,
        durability=durability,
        rows=rows,
        live=rows,
        record_bytes=168,
        quarantined=quarantined,
    )
    return Population(info, np.array([[0, rows]]), {})


def rows_of(work, arrays):
    """The agents of a batch; a job is about none."""
    if work.kind not in (Command.STEP, Command.READ):
        return np.zeros(0, int)
    if work.first is None:
        return arrays["agents"].astype(int)
    return np.arange(work.first, work.first + sum(part.count for part in work.parts))


class Load:
    """Batches that came in one message; their results go back in one."""

    def __init__(self, batches):
        self.left, self.results = batches, []


class FakeWorker:
    """Keeps ticks and request ids per agent, shared by all workers of a world, as the mapped store is."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.incarnation = b"\x01" + secrets.token_bytes(15)
        self.identity = ProcessIdentity(next(world.pids), 1, "boot")
        self.inbox = deque()
        self.loads = {}
        self.epoch, self.welcome = 0, None
        self.worn = self.retired = False

    def hello(self):
        header = m.WorkerHello(
            worker=self.name,
            pid=self.identity.pid,
            start_time=1,
            boot_id="boot",
            incarnation=self.incarnation,
            epoch=self.epoch,
            fingerprint="f",
            worn=self.worn,
        )
        self.world.from_worker(self, encode(Command.WORKER_HELLO, header))

    def register(self):
        """Take a welcome. Work of the last broker stands before it in the socket, and is done first."""
        if self.welcome is not None and not self.inbox:
            self.epoch, self.welcome = self.welcome, None
            self.hello()

    def run_one(self, answer=True, tiles=None, tell=True):
        """Do the oldest batch in the inbox; without `answer` the worker dies before the broker hears of it, and without
        `tell` before the client does where it wants to be told; else the client's letterbox is full then.

        Of what it shares with another, who has not ended, it takes so many `tiles`, by default half of what is left.
        Returns how many agents it did.
        """
        work, arrays = self.inbox.popleft()
        load = self.loads.pop(work.batch)
        rows = rows_of(work, arrays)
        ids = [part.id for part in work.parts for _ in range(part.count)]
        ticks = arrays.get("ticks", np.zeros(len(rows))) if work.tick is None else np.full(len(rows), work.tick)
        if work.tally is not None:
            here = self.world.take(work, len(rows), tiles)
            rows, ids, ticks = rows[here], ids[here], ticks[here]
        self.world.let_go(work, rows)
        status = np.zeros(len(rows), np.uint8)
        for i, (row, tick, request) in enumerate(zip(rows, ticks, ids, strict=True)):
            committed, by = self.world.store.get((work.population, row), (0, b""))
            if work.kind is Command.READ:
                continue
            if tick == committed + 1:
                self.world.store[work.population, row] = (int(tick), request)
                self.world.applied.append((work.population, int(row), int(tick), request))
            elif tick == committed:
                status[i] = StepStatus.RECORDED if by == request else StepStatus.TICK_TAKEN
            else:
                status[i] = StepStatus.STALE_TICK if tick < committed else StepStatus.TICK_GAP
        told = bool(tell and work.letterbox and len(rows) and not status.any())
        if told:
            start = work.start + (work.parts[0].count - len(rows) if work.from_end else 0)
            self.world.letters.append((work.letterbox, work.parts[0].id, start, len(rows)))
        if not answer:
            return len(rows)
        out = {"actions": np.stack([rows % 4, rows * 0], axis=1).astype(np.int8)}
        for name, width in self.world.outputs.items():
            out[name] = np.repeat(rows[:, None], width, 1).astype(np.float32)
        if work.kind is Command.READ:
            out = {"tick": np.array([self.world.store.get((work.population, r), (0,))[0] for r in rows]), **out}
        elif status.any():
            out["status"] = status
        result = m.Result(
            epoch=work.epoch,
            batch=work.batch,
            count=len(rows),
            elapsed_ns=self.world.agent_ns * len(rows),
            telemetry=m.Telemetry(agents=len(rows)),
            told=told,
        )
        load.left -= 1
        load.results.append(encode(Command.RESULT, result, out))
        if not load.left:
            self.world.from_worker(self, bundle(load.results))
        self.register()
        return len(rows)


class World:
    """A core, its workers and what came out of it."""

    def __init__(self, populations=None, workers=2, held=None, **core):
        self.pids = iter(range(1000, 100_000))
        self.now_s = 100.0
        self.core = Core(
            1, populations if populations is not None else [population()], held or {}, self.now_s, 0.0, **core
        )
        self.store, self.applied, self.in_hands = {}, [], set()
        self.tallies, self.taken = {}, {}
        self.agent_ns = 1000
        self.outputs = {}  # what workers answer beside actions: how many numbers an agent, by name
        self.letters = []
        self.workers, self.answers, self.events, self.logs, self.killed, self.quarantined = {}, [], [], [], [], {}
        for i in range(workers):
            self.add_worker(f"worker_{i:02d}")

    def add_worker(self, name):
        worker = FakeWorker(self, name)
        self.workers[worker.incarnation] = worker
        worker.hello()
        self.settle(run=False)
        return worker

    def kill(self, worker):
        del self.workers[worker.incarnation]
        for work, arrays in worker.inbox:
            self.let_go(work, rows_of(work, arrays))
        self.core.worker_died(worker.incarnation, self.now_s)

    def sharers(self, tally):
        """The batches of workers that count by this tally and have not ended."""
        inboxes = (worker.inbox for worker in self.workers.values())
        return [work for inbox in inboxes for work, _ in inbox if work.tally == tally and work.epoch == self.core.epoch]

    def take(self, work, agents, tiles):
        """What a worker takes of a shared batch: all that is left, or some of it where another takes the rest."""
        whole = -(-agents // TILE_AGENTS)
        left = whole - self.tallies[work.tally]
        alone = not self.sharers(work.tally)
        count = left if alone else min(left, left // 2 if tiles is None else tiles)
        self.tallies[work.tally] += count
        if work.from_end:
            return slice(min((whole - count) * TILE_AGENTS, agents), agents)
        return slice(0, min(count * TILE_AGENTS, agents))

    def let_go(self, work, rows):
        """Agents are in a worker's hands no longer; of a shared batch all of it once both have ended or died."""
        self.in_hands -= {(work.population, int(row)) for row in rows}
        if work.tally is not None and not self.sharers(work.tally):
            self.in_hands -= self.taken.get(work.tally, set())

    def client(self, session=None, letterbox=None):
        route = secrets.token_bytes(5)
        hello = m.Hello(
            id=secrets.token_bytes(16),
            deadline_ms=1000,
            session=session or secrets.token_bytes(16),
            versions=(1,),
            letterbox=letterbox,
        )
        self.core.client_message(route, encode(Command.HELLO, hello), self.now_s)
        self.settle(run=False)
        return route

    def step(
        self, route, first=0, count=1, tick=1, uid="0" * 16, request=None, deadline_ms=60_000, agents=None, **change
    ):
        """Send a step and return its id."""
        request = request or secrets.token_bytes(16)
        arrays = {} if agents is None else {"agents": np.asarray(agents, np.uint32)}
        arrays["observations"] = np.zeros((count, 2), np.int8)
        arrays |= change.pop("arrays", {})
        header = m.Step(
            id=request,
            deadline_ms=deadline_ms,
            population=uid,
            count=count,
            first=first if agents is None else None,
            tick=tick,
        )
        header = msgspec.structs.replace(header, **change)
        self.core.client_message(route, encode(Command.STEP, header, arrays), self.now_s)
        return request

    def send(self, route, command, header, arrays=None):
        self.core.client_message(route, encode(command, header, arrays), self.now_s)

    def from_worker(self, worker, frames):
        """Carry a message to the core; a world with a worse network does so later."""
        self.core.worker_message(worker.incarnation, frames, self.now_s, self.now_s)

    def pump(self):
        """Dispatch, and carry out the core's actions, without letting workers work."""
        while self.core.dispatch(self.now_s):
            pass
        self.core.answer()
        while self.core.help(self.now_s):
            pass
        actions = self.core.take_actions()
        for action in actions:
            match action:
                case SendClient(route, frames):
                    self.answers.append((route, decode([bytes(f) for f in frames])))
                case SendWorker(incarnation, frames) if incarnation in self.workers:
                    messages = [decode([bytes(f) for f in each]) for each in unbundled(frames)]
                    load = Load(len(messages))
                    for message in messages:
                        self._deliver(self.workers[incarnation], message, load)
                case ResetTally(number):
                    assert not self.sharers(number), "a count begins anew by which somebody counts"
                    self.tallies[number] = 0
                case WatchWorker() | SendWorker():
                    pass
                case KillWorker(incarnation, _):
                    self.killed.append(incarnation)
                case MarkQuarantine(uid, quarantined):
                    self.quarantined[uid] = quarantined
                case Log():
                    self.logs.append(action)
                case Emit(event):
                    self.events.append(event)
        return bool(actions)

    def _deliver(self, worker, message, load):
        if isinstance(message.header, m.WorkerWelcome):
            worker.welcome = message.header.epoch
            worker.register()
        elif isinstance(message.header, m.Retire):
            worker.retired = True
        elif isinstance(message.header, m.Work):
            work = message.header
            agents = {(work.population, int(row)) for row in rows_of(work, message.arrays)}
            if work.from_end:
                assert agents == self.taken[work.tally], "the two share other agents"
            else:
                assert not agents & self.in_hands, "an agent in two batches"
                self.in_hands |= agents
                if work.tally is not None:
                    self.taken[work.tally] = agents
            worker.inbox.append((message.header, message.arrays))
            worker.loads[message.header.batch] = load

    def settle(self, run=True):
        """Go on until nothing happens any more."""
        while True:
            busy = self.pump()
            for worker in list(self.workers.values()):
                while run and worker.inbox:
                    worker.run_one()
                    busy = True
            if not busy:
                return

    def answer(self, request):
        """The one answer to a request."""
        found = [message for _, message in self.answers if getattr(message.header, "id", None) == request]
        assert len(found) == 1, f"{len(found)} answers"
        return found[0]
