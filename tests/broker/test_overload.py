"""More is asked than workers can do: what is begun is done in time, and nobody's turn is another's."""

import random
from collections import Counter

import numpy as np
import pytest
from broker_world import STEPS, World, population, rows_of
from demand import SIZE, Demand

from beliefd_broker.pace import TRUSTED_BATCHES
from beliefd_broker.population import TILE_AGENTS
from beliefd_broker.scheduling import ASKS_AGAIN_S
from beliefd_proto import Applied, Command, encode
from beliefd_proto import messages as m

TURN_S = 0.001
TICK_S = 0.02
_SECONDS = 6


class TimedWorker:
    """Does the batches of one of a world's workers in the time that they take, a third more or less."""

    def __init__(self, worker, request_s, rng):
        self.worker, self.agent_s, self.rng = worker, request_s / SIZE, rng
        self.done_s = self.elapsed_s = self.worked_s = 0.0
        self.taken = 0

    def turn(self, now_s):
        world = self.worker.world
        while self.worker.inbox:
            work, arrays = self.worker.inbox[0]
            agents = len(rows_of(work, arrays))
            if work.tally is not None:
                while world.tallies[work.tally] * TILE_AGENTS < agents:
                    if not self._is_done(min(TILE_AGENTS, agents - world.tallies[work.tally] * TILE_AGENTS), now_s):
                        return
                    world.tallies[work.tally] += 1
                self.taken = min(self.taken, agents)
            elif not self._is_done(agents, now_s):
                return
            self.worker.inbox.popleft()
            world.let_go(work, rows_of(work, arrays))
            out = {"actions": np.zeros((self.taken, 2), np.int8)}
            elapsed_ns = int(self.worked_s * 1e9)
            result = m.Result(epoch=work.epoch, batch=work.batch, count=self.taken, elapsed_ns=elapsed_ns)
            self.worked_s, self.taken = 0.0, 0
            world.from_worker(self.worker, encode(Command.RESULT, result, out))

    def _is_done(self, agents, now_s):
        """Whether the next agents are: they are begun as soon as those before them are done."""
        if not self.elapsed_s:
            self.elapsed_s = self.agent_s * agents * self.rng.uniform(2 / 3, 4 / 3)
            self.done_s = max(self.done_s, now_s - TURN_S) + self.elapsed_s
        if self.done_s > now_s:
            return False
        self.worked_s += self.elapsed_s
        self.taken += agents
        self.elapsed_s = 0.0
        return True


def overload(clients, request_s, times, timeout_s, seconds, seed=0):
    """Demand `times` what two workers do; returns the part of it that each client was served, and their errors."""
    rng = random.Random(seed)
    per_s = times * 2 / request_s / clients
    groups = int(per_s * timeout_s) + 2
    world = World([population(rows=clients * groups * SIZE)], workers=2)
    workers = [TimedWorker(worker, request_s, rng) for worker in world.workers.values()]
    demands = {world.client(): Demand(groups, n * groups * SIZE, per_s, timeout_s) for n in range(clients)}
    ends_s, tick_s = world.now_s + seconds, world.now_s
    while world.now_s < ends_s:
        world.now_s += TURN_S
        for worker in workers:
            worker.turn(world.now_s)
        for route, demand in demands.items():
            for frames in demand.turn(world.now_s):
                world.core.client_message(route, frames, world.now_s)
        if world.now_s >= tick_s:
            tick_s = world.now_s + TICK_S
            world.core.tick(world.now_s, 0.0)
        world.pump()
        for route, message in world.answers:
            if route in demands:
                demands[route].receive(message, world.now_s)
        world.answers.clear()
    can_do = 2 * seconds / request_s
    errors = sum((demand.errors for demand in demands.values()), Counter())
    return [demand.served / can_do for demand in demands.values()], errors


@pytest.mark.slow
@pytest.mark.parametrize("asks_again_s", [ASKS_AGAIN_S, -1.0], ids=["short", "long"])
@pytest.mark.parametrize(
    ("clients", "request_s", "times", "timeout_s"),
    [(2, 0.07, 10, 2.0), (2, 0.01, 10, 0.3), (1, 0.07, 10, 2.0), (20, 0.04, 10, 2.0), (2, 0.07, 1.5, 2.0)],
)
def test_of_ten_times_the_demand_as_much_is_answered_in_time_as_can_be_done(
    clients, request_s, times, timeout_s, asks_again_s, monkeypatch
):
    monkeypatch.setattr("beliefd_broker.scheduling.ASKS_AGAIN_S", asks_again_s)
    served, errors = overload(clients, request_s, times, timeout_s, _SECONDS)
    assert sum(served) >= 0.9
    assert {code for code, _ in errors} <= {"deadline_exceeded"}
    assert errors["deadline_exceeded", Applied.YES] <= 0.05 * sum(served) * 2 * _SECONDS / request_s  # half done
    assert min(served) >= 0.7 * max(served)


def test_nothing_is_begun_that_the_begun_leave_no_time_for_and_it_waits_for_its_turn():
    """Of five that take half a worker's second each, within a second two workers can do two beside each other."""
    world = World([population(rows=5 * SIZE)], workers=2)
    learned(world, SIZE, 0.5)
    clients = [world.client() for _ in range(5)]
    requests = [world.step(route, first=i * SIZE, count=SIZE, deadline_ms=1100) for i, route in enumerate(clients)]
    for _ in range(3):
        world.pump()
        assert begun(world) == set(requests[:2])
        for worker in world.workers.values():
            worker.run_one()
        learned(world, SIZE, 0.5)
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests)


def test_who_waited_for_long_makes_way_for_a_younger_one_that_can_be_done():
    world = World([population(rows=3 * SIZE)], workers=0)
    learned(world, SIZE, 0.5)
    client = world.client()
    old = world.step(client, count=SIZE, deadline_ms=1000)
    world.now_s += 0.8
    young = world.step(client, first=SIZE, count=SIZE, deadline_ms=3000)
    learned(world, SIZE, 0.5)
    world.add_worker("worker_00")
    world.settle()
    told = world.answer(old)
    assert told.header.code == "deadline_exceeded"
    assert set(told.arrays["applied"]) == {Applied.NO}
    assert world.answer(young).command is Command.STEPPED


@pytest.mark.parametrize(("deadline_ms", "done"), [(700, 1), (1100, 2), (400, 0)])
def test_where_nothing_else_is_begun_time_need_not_be_ample(deadline_ms, done):
    """Of two that take a worker half a second each; what is known to take longer than there is is not begun at all."""
    world = World([population(rows=2 * SIZE)], workers=1)
    learned(world, SIZE, 0.5)
    client = world.client()
    requests = [world.step(client, first=i * SIZE, count=SIZE, deadline_ms=deadline_ms) for i in range(2)]
    for _ in range(8):
        world.pump()
        (worker,) = world.workers.values()
        if worker.inbox:
            worker.run_one()
            world.now_s += 0.5 / 4
        learned(world, SIZE, 0.5)
        world.core.tick(world.now_s, 0.0)
    world.settle()
    assert [world.answer(request).command for request in requests].count(Command.STEPPED) == done
    assert len(world.applied) == done * SIZE


def test_who_has_hardly_waited_makes_way_for_nobody():
    """Beside what is begun there is no time for it, but that will end."""
    world = World([population(rows=3 * SIZE)], workers=1)
    learned(world, SIZE, 0.5)
    begun_before, client = world.client(), world.client()
    requests = [
        world.step(begun_before, count=SIZE, deadline_ms=5000),
        world.step(client, first=SIZE, count=SIZE, deadline_ms=1500),
        world.step(client, first=2 * SIZE, count=SIZE, deadline_ms=5000),
    ]
    world.pump()
    assert begun(world) == set(requests[:1])
    (worker,) = world.workers.values()
    worker.run_one()
    world.now_s += 0.1
    learned(world, SIZE, 0.5)
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests)


def test_a_prediction_that_was_not_tried_lately_keeps_nothing_from_being_begun():
    world = World([population(rows=SIZE)], workers=1)
    learned(world, SIZE, 10.0)
    world.now_s += 5
    request = world.step(world.client(), count=SIZE, deadline_ms=1000)
    world.settle()
    assert world.answer(request).command is Command.STEPPED


def learned(world, agents, elapsed_s):
    """Batches have shown that a worker takes so long for so many agents."""
    (mice,) = world.core._populations
    for _ in range(TRUSTED_BATCHES):
        mice.record(STEPS, agents, int(elapsed_s * 1e9), world.now_s)


def begun(world):
    return {part.id for worker in world.workers.values() for work, _ in worker.inbox for part in work.parts}
