"""Workers tell clients themselves: of which steps, and when the broker tells them all the same."""

import secrets

import pytest
from broker_world import STEPS, World, population

from beliefd_broker.desk import CREDITS
from beliefd_broker.worker import LOADS_IN_FLIGHT
from beliefd_proto import Command, encode
from beliefd_proto import messages as m
from beliefd_proto.error_message import to_header
from beliefd_proto.errors import InvalidArgument

AGENTS = 2000
NS = 1000
"""What an agent takes: all of them two milliseconds, which two workers share."""
LETTERBOX = b"L" * 16


def world_of(workers=2, letterbox=LETTERBOX, agent_ns=NS):
    """A world whose population's pace is known, with its first client."""
    made = population(rows=AGENTS)
    world = World([made], workers=workers)
    world.agent_ns = agent_ns
    made.record(STEPS, AGENTS, AGENTS * agent_ns, world.now_s)
    return world, world.client(letterbox=letterbox)


def works(world):
    return [work for worker in world.workers.values() for work, _ in worker.inbox]


def answers(world, request):
    return [message for _, message in world.answers if getattr(message.header, "id", None) == request]


def told(world):
    """Of which agents of which request clients were told."""
    return sorted((request, start, count) for _, request, start, count in world.letters)


@pytest.mark.parametrize("agents", [1, 100])
def test_of_a_step_in_one_batch_the_worker_tells_and_the_broker_does_not(agents):
    world, client = world_of()
    request = world.step(client, count=agents)
    world.settle()
    assert world.letters == [(LETTERBOX, request, 0, agents)]
    assert not answers(world, request)
    assert not world.core.open_requests
    following = world.step(client, count=agents, tick=2)
    world.settle()
    assert told(world)[-1][2] == agents
    assert not answers(world, following)
    assert world.core._desk.counters["answers"] == 2


def test_two_that_share_a_step_tell_their_parts():
    world, client = world_of()
    request = world.step(client, count=AGENTS)
    world.pump()
    first, second = world.workers.values()
    done = first.run_one(tiles=5)
    second.run_one()
    world.settle()
    assert told(world) == [(request, 0, done), (request, done, AGENTS - done)]
    assert not answers(world, request)


@pytest.mark.parametrize("untold", [0, 1])
def test_where_one_part_was_not_told_the_broker_tells_all(untold):
    world, client = world_of()
    request = world.step(client, count=AGENTS)
    world.pump()
    for i, worker in enumerate(world.workers.values()):
        worker.run_one(tiles=5, tell=i != untold)
    world.settle()
    answer = world.answer(request)
    assert answer.command is Command.STEPPED
    assert answer.arrays["actions"][:, 0].tolist() == [agent % 4 for agent in range(AGENTS)]


def test_who_has_no_letterbox_is_told_by_the_broker():
    world, client = world_of(letterbox=None)
    request = world.step(client)
    world.settle()
    assert not world.letters
    assert world.answer(request).command is Command.STEPPED


def test_of_a_step_in_a_few_pieces_workers_tell_each():
    world, client = world_of(workers=4)
    request = world.step(client, count=AGENTS)
    world.pump()
    assert {(work.start, sum(part.count for part in work.parts)) for work in works(world)} == {(0, 1024), (1024, 976)}
    for worker in world.workers.values():
        worker.run_one(tiles=5)
    world.settle()
    assert sum(count for _, _, count in told(world)) == AGENTS
    at = 0
    for of, start, count in told(world):
        assert (of, start) == (request, at)
        at += count
    assert not answers(world, request)


def test_what_is_cut_small_or_put_together_is_told_by_the_broker():
    world, client = world_of(agent_ns=10 * NS)
    other = world.client(letterbox=b"M" * 16)
    world.step(other, first=AGENTS - 1)  # who asks for little keeps the batches of others short
    world.settle()
    world.letters.clear()
    whole = world.step(client, count=AGENTS - 1)
    world.pump()
    assert max(sum(part.count for part in work.parts) for work in works(world)) < AGENTS / 4
    world.settle()
    together = [world.step(client, first=0, tick=2), world.step(other, first=1, tick=2)]
    world.pump()
    assert [len(work.parts) for work in works(world)] == [2]
    world.settle()
    assert not world.letters
    assert all(world.answer(request).command is Command.STEPPED for request in (whole, *together))


def test_little_batches_of_one_message_are_told_by_the_broker():
    world = World([population(uid=str(i) * 16, name=f"mice-{i}") for i in range(3)], workers=1)
    clients = [world.client(letterbox=bytes([65 + i]) * 16) for i in range(3)]
    requests = [world.step(client, uid=str(i) * 16) for i, client in enumerate(clients)]
    world.pump()
    assert len(works(world)) == 3
    world.settle()
    assert not world.letters
    assert all(world.answer(request).command is Command.STEPPED for request in requests)


def test_what_is_read_is_told_by_the_broker():
    world, client = world_of()
    header = m.Read(id=secrets.token_bytes(16), deadline_ms=1000, population="0" * 16, count=1, first=0)
    world.send(client, Command.READ, header)
    world.settle()
    assert not world.letters
    assert world.answer(header.id).command is Command.VALUES


@pytest.mark.parametrize("moved", [False, True])
def test_who_asks_again_meanwhile_is_told_by_the_broker_too(moved):
    world, client = world_of()
    request = world.step(client)
    world.pump()
    asks = world.client(letterbox=b"M" * 16) if moved else client
    world.step(asks, request=request)
    world.settle()
    assert [route for route, message in world.answers if getattr(message.header, "id", None) == request] == [asks]


def test_who_asks_again_afterwards_is_told_what_was_recorded_by_the_broker():
    world, client = world_of()
    request = world.step(client)
    world.settle()
    world.step(client, request=request)
    world.settle()
    assert world.answer(request).command is Command.STEPPED
    assert len(world.applied) == 1


def test_what_was_told_by_a_worker_that_died_then_is_run_again_and_told_by_the_broker():
    world, client = world_of()
    request = world.step(client)
    world.pump()
    (victim,) = [worker for worker in world.workers.values() if worker.inbox]
    victim.run_one(answer=False)
    assert world.letters
    world.kill(victim)
    world.settle()
    assert world.answer(request).command is Command.STEPPED
    assert len(world.applied) == 1


def test_an_error_in_one_part_is_told_by_the_broker():
    world, client = world_of()
    request = world.step(client, count=AGENTS)
    world.pump()
    first, second = world.workers.values()
    first.run_one(tiles=5)
    work, _ = second.inbox.popleft()
    failure = to_header(InvalidArgument("no", field="x"), request)
    result = m.Result(epoch=work.epoch, batch=work.batch, error=failure)
    world.from_worker(second, encode(Command.RESULT, result))
    world.settle()
    assert world.answer(request).command is Command.ERROR


def test_a_letterbox_is_where_the_last_hello_said():
    world, client = world_of()
    session = world.core._desk.session(client, world.now_s).id
    again = world.client(session, letterbox=b"M" * 16)
    world.step(again)
    world.settle()
    assert [letter[0] for letter in world.letters] == [b"M" * 16]
    last = world.client(session)
    request = world.step(last, tick=2)
    world.settle()
    assert world.answer(request).command is Command.STEPPED


@pytest.mark.parametrize("letterbox", [None, LETTERBOX])
def test_who_was_told_may_go_on_before_the_broker_hears_of_it_and_not_further(letterbox):
    world, client = world_of(letterbox=letterbox)
    unheard = LOADS_IN_FLIGHT * len(world.workers) if letterbox else 0
    requests = [world.step(client, first=i) for i in range(CREDITS + unheard + 1)]
    world.pump()
    refused = [message.header for _, message in world.answers if message.command is Command.ERROR]
    assert [(header.id, header.code) for header in refused] == [(requests[-1], "busy")]
