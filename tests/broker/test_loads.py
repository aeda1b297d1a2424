"""Small batches of several populations go to a worker together; nobody else waits for that."""

import secrets

import msgspec
import pytest
from broker_world import INFO, World, population

from beliefd_broker.actions import SendWorker
from beliefd_broker.population import cost_key
from beliefd_broker.scheduling import BATCH_NS, MOST_ANSWER_BYTES
from beliefd_proto import Command, Want
from beliefd_proto import messages as m
from beliefd_proto.bundle import unbundled

SLOW = msgspec.structs.replace(INFO, num_policies=100_000, policy_len=8)
"""A model that may be slow, as long as nothing is known of it."""


def uid(number):
    return f"{number:016x}"


def world_of(populations, workers, big=()):
    """Populations of 10 agents, or of 60,000 where `big` names them, of which it is known that they are quick."""
    made = [population(uid(n), f"p{n}", rows=60_000 if n in big else 10) for n in range(populations)]
    for each in made:
        for want in (0, 8):
            each.record(cost_key(Command.STEP, want), 10_000, 1_000_000, 0.0)
    return World(made, workers=workers)


def loads(world):
    """Carry out what the core asks for; how many batches each message to a worker held."""
    found = []
    take = world.core.take_actions

    def seen():
        actions = take()
        sent = [a for a in actions if isinstance(a, SendWorker)]
        found.extend(len(list(unbundled([bytes(frame) for frame in action.frames]))) for action in sent)
        return actions

    world.core.take_actions = seen
    world.pump()
    world.core.take_actions = take
    return found


def test_small_steps_of_several_populations_travel_together_shared_among_the_workers():
    world = world_of(12, workers=2)
    clients = [world.client() for _ in range(12)]
    requests = [world.step(clients[n], uid=uid(n)) for n in range(12)]
    assert loads(world) == [6, 6]
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests)
    assert len(world.applied) == 12


def test_one_clients_small_steps_travel_together_too():
    world = world_of(8, workers=1)
    client = world.client()
    requests = [world.step(client, uid=uid(n)) for n in range(8)]
    assert loads(world) == [8]
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests)


def test_a_load_is_no_longer_than_a_batch():
    world = world_of(64, workers=1)
    client = world.client()
    for n in range(64):
        world.step(client, uid=uid(n))
    found = loads(world)
    assert len(found) == 2, "two loads are in flight"
    assert all(1 < load <= BATCH_NS / 100_000 for load in found)


def test_what_is_large_neither_waits_for_small_ones_nor_holds_them_up():
    world = world_of(9, workers=1, big={8})
    small, large = [world.client() for _ in range(8)], world.client()
    first = [world.step(small[n], uid=uid(n)) for n in range(4)]
    flood = world.step(large, count=60_000, uid=uid(8))
    second = [world.step(small[n], uid=uid(n)) for n in range(4, 8)]
    assert loads(world) == [4, 1], "whose turn it is begins the next load"
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in [*first, flood, *second])


def test_a_job_travels_alone():
    world = world_of(4, workers=1)
    clients = [world.client() for _ in range(4)]
    world.step(clients[0], uid=uid(0))
    job = m.Parameters(id=secrets.token_bytes(16), deadline_ms=60_000, population=uid(1))
    world.send(clients[1], Command.PARAMETERS, job)
    world.step(clients[2], uid=uid(2))
    assert loads(world) == [1, 1]


def test_a_population_that_kills_is_quarantined_after_three_deaths_and_its_company_is_not():
    world = world_of(4, workers=1)
    clients = [world.client() for _ in range(4)]
    requests = [world.step(clients[n], uid=uid(n)) for n in range(4)]
    deaths = 0
    while any(getattr(message.header, "id", None) == requests[2] for _, message in world.answers) is False:
        assert deaths < 4
        world.pump()
        (worker,) = world.workers.values()
        while worker.inbox and worker.inbox[0][0].population != uid(2):
            worker.run_one()
        if worker.inbox:
            deaths += 1
            world.kill(worker)
            world.add_worker(f"again_{deaths}")
    world.settle()
    assert deaths == 3
    assert world.answer(requests[2]).header.code == "worker_crashed"
    assert world.quarantined == {uid(2): True}
    assert all(world.answer(requests[n]).command is Command.STEPPED for n in (0, 1, 3))
    assert len({entry[:3] for entry in world.applied}) == len(world.applied) == 3


@pytest.mark.parametrize("sent", range(4))
def test_results_that_died_with_their_worker_are_told_once_all_the_same(sent):
    """The worker dies after `sent` of three batches, before it told of any."""
    world = world_of(3, workers=1)
    client = world.client()
    requests = [world.step(client, uid=uid(n)) for n in range(3)]
    world.pump()
    (worker,) = world.workers.values()
    for _ in range(sent):
        worker.run_one(answer=False)
    world.kill(worker)
    world.add_worker("again")
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests)
    assert len(world.applied) == 3


def test_a_model_of_which_nothing_is_known_goes_alone_if_it_may_be_slow():
    world = World([population(uid(n), f"p{n}", rows=10, model=SLOW) for n in range(3)], workers=1)
    client = world.client()
    for n in range(3):
        world.step(client, uid=uid(n))
    assert set(loads(world)) == {1}


def test_what_a_few_agents_took_tells_that_they_are_quick():
    """Populations of an agent each never have a batch that is large enough to tell what an agent takes."""
    world = World([population(uid(n), f"p{n}", rows=1, model=SLOW) for n in range(3)], workers=1)
    client = world.client()
    for n in range(3):
        world.step(client, uid=uid(n))
    world.settle()
    for n in range(3):
        world.step(client, uid=uid(n), tick=2)
    assert loads(world) == [3]


def test_a_batch_that_goes_along_with_another_is_no_longer_than_its_answer_may_be():
    wanted = int(Want.BELIEFS)
    wide = population(uid(1), "wide", rows=6000, model=msgspec.structs.replace(INFO, num_states=(1000,)))
    wide.record(cost_key(Command.STEP, wanted), 10_000, 100_000, 0.0)  # 0.01 us an agent
    world = World([population(uid(0), "p0", rows=10), wide], workers=1)
    clients = [world.client() for _ in range(3)]
    world.step(clients[0], uid=uid(0))
    for client, first in zip(clients[1:], (0, 3000), strict=True):
        world.step(client, uid=uid(1), first=first, count=3000, want=wanted)
    world.pump()
    [worker] = world.workers.values()
    batches = [sum(part.count for part in work.parts) for work, _ in worker.inbox if work.population == uid(1)]
    assert batches == [3000, 3000]
    assert 6000 * wide.row_bytes(wanted) > MOST_ANSWER_BYTES
