"""Steps of an agent each are taken as one; what each client is told is what it would be told alone."""

import secrets

import msgspec
import numpy as np
import pytest
from broker_world import STEPS, World, population
from hypothesis import given, settings
from hypothesis import strategies as st

from beliefd_broker.desk import CREDITS
from beliefd_broker.gathering import _LEARN_EVERY_S
from beliefd_proto import Applied, Command, Want, encode
from beliefd_proto import messages as m
from beliefd_proto.error_message import to_header
from beliefd_proto.errors import InvalidArgument

CLIENTS = 6


def world_of(clients=CLIENTS, workers=1, learned=(0,), **made):
    """A world that knows what one-agent steps look like, and clients that have each of their own."""
    world = World([population(rows=made.pop("rows", 100), **made)], workers=workers)
    routes = [world.client() for _ in range(clients)]
    for want in learned:
        teach(world, want=want)
    return world, routes


def world_of_several(populations, workers):
    """A world whose populations are known to be quick, and that knows what one-agent steps look like."""
    made = [population(f"{n:016x}", f"p{n}", rows=100) for n in range(populations)]
    world = World(made, workers=workers)
    for each in made:
        each.record(STEPS, 100, 100, world.now_s)
    teach(world)
    return world


def teach(world, agent=99, **change):
    """Have the broker see a step that is like those to come."""
    world.now_s += 2 * _LEARN_EVERY_S
    world.step(world.client(), first=agent, tick=world.store.get(("0" * 16, agent), (0,))[0] + 1, **change)
    world.settle()
    world.applied.clear()


def batches(world):
    """How many agents each batch has that workers have in hand."""
    return [len(work.parts) for worker in world.workers.values() for work, _ in worker.inbox]


def code_of(message):
    return message.header.code if message.command is Command.ERROR else message.command.name


def test_steps_of_many_clients_are_one_batch():
    world, routes = world_of()
    requests = [world.step(route, first=n) for n, route in enumerate(routes)]
    world.pump()
    assert batches(world) == [CLIENTS]
    assert len(world.core._desk._members) == CLIENTS  # none was decoded
    world.settle()
    for n, request in enumerate(requests):
        answer = world.answer(request)
        assert answer.command is Command.STEPPED
        assert answer.arrays["actions"].tolist() == [[n % 4, 0]]
        assert answer.header.credits == CREDITS
    assert {route for route, _ in world.answers[-CLIENTS:]} == set(routes)
    assert world.core._desk.counters["requests"] == world.core._desk.counters["answers"] == 1 + CLIENTS
    assert sorted(world.applied) == sorted(("0" * 16, n, 1, request) for n, request in enumerate(requests))
    assert not world.core.open_requests
    assert not world.core._populations.get("0" * 16).busy.any()


def test_what_was_never_seen_is_decoded():
    world, routes = world_of(learned=())
    request = world.step(routes[0], first=0)
    assert not world.core._gathering
    world.settle()
    world.step(routes[1], first=1)
    assert world.core._gathering
    assert world.answer(request).command is Command.STEPPED


def test_steps_that_ask_otherwise_are_crowds_of_their_own():
    world, routes = world_of(learned=(0, int(Want.VFE)))
    for n, route in enumerate(routes):
        world.step(route, first=n, want=int(Want.VFE) if n % 3 == 0 else 0)
    assert len(world.core._gathering) == 2
    world.pump()
    assert sorted(batches(world)) == [2, 4]


def test_every_population_has_a_crowd_and_little_ones_go_together():
    world = world_of_several(3, workers=1)
    routes = [world.client() for _ in range(6)]
    requests = [world.step(route, first=n // 3, uid=f"{n % 3:016x}") for n, route in enumerate(routes)]
    world.pump()
    assert batches(world) == [2, 2, 2]
    [worker] = world.workers.values()
    assert len({id(load) for load in worker.loads.values()}) == 1
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests)


def test_agents_at_other_ticks_are_in_one_crowd():
    world, routes = world_of(clients=2)
    world.settle()
    world.step(routes[0], first=0)
    world.settle()
    requests = [world.step(routes[0], first=0, tick=2), world.step(routes[1], first=1, tick=1)]
    world.pump()
    assert batches(world) == [2]
    world.settle()
    assert [code_of(world.answer(request)) for request in requests] == ["STEPPED"] * 2


def test_a_client_may_have_many_in_a_crowd_as_far_as_its_credits_go():
    world, routes = world_of(clients=1, rows=200)
    requests = [world.step(routes[0], first=n) for n in range(CREDITS + 2)]
    world.pump()
    world.settle()
    codes = [code_of(world.answer(request)) for request in requests]
    assert codes == ["STEPPED"] * CREDITS + ["busy"] * 2


def test_an_agent_that_is_in_a_crowd_waits_for_it():
    world, routes = world_of(clients=2)
    requests = [world.step(routes[0], first=5), world.step(routes[1], first=5, tick=2)]
    world.pump()
    assert batches(world) == [1]
    world.settle()
    assert [code_of(world.answer(request)) for request in requests] == ["STEPPED"] * 2
    third = world.step(routes[0], first=5, tick=3)
    world.pump()
    fourth = world.step(routes[1], first=5, tick=4)  # while a worker has it in hand
    world.pump()
    assert batches(world) == [1]
    world.settle()
    assert [code_of(world.answer(request)) for request in (third, fourth)] == ["STEPPED"] * 2


def test_of_a_crowd_only_who_is_wrong_is_refused():
    world, routes = world_of()
    wrong = {"observations": np.full((1, 2), 7, np.int8)}
    requests = [world.step(route, first=n, arrays=wrong if n == 2 else {}) for n, route in enumerate(routes)]
    world.settle()
    codes = [code_of(world.answer(request)) for request in requests]
    assert codes == ["STEPPED"] * 2 + ["invalid_observation"] + ["STEPPED"] * 3
    assert_nothing_is_held(world)
    assert world.core._desk.counters["requests"] == CLIENTS  # with the one it was taught; without the one refused


def test_of_a_crowd_only_whose_tick_is_wrong_is_told_so():
    world, routes = world_of()
    requests = [world.step(route, first=n, tick=5 if n == 2 else 1) for n, route in enumerate(routes)]
    world.pump()
    assert batches(world) == [CLIENTS]
    world.settle()
    assert [code_of(world.answer(request)) for request in requests] == ["STEPPED"] * 2 + ["tick_gap"] + ["STEPPED"] * 3
    told = world.answer(requests[2])
    assert told.header.index == (2,)
    assert told.arrays["applied"].tolist() == [Applied.NO]
    assert sorted(agent for _, agent, _, _ in world.applied) == [0, 1, 3, 4, 5]
    assert not world.core.open_requests


def test_who_asks_again_is_told_once_and_where_it_is_now():
    world, routes = world_of()
    requests = [world.step(route, first=n) for n, route in enumerate(routes)]
    world.pump()
    again = world.client()
    world.step(again, first=3, request=requests[3], attempt=1)
    world.settle()
    assert world.answer(requests[3]).command is Command.STEPPED
    assert [route for route, message in world.answers if message.header.id == requests[3]] == [again]
    assert all(world.answer(request).command is Command.STEPPED for request in requests)
    assert not world.core.open_requests


def test_an_error_of_who_asked_again_repeats_the_attempt():
    world, routes = world_of(clients=2)
    requests = [world.step(route, first=n, tick=5) for n, route in enumerate(routes)]
    world.pump()
    world.step(routes[0], first=0, tick=5, request=requests[0], attempt=3)
    world.settle()
    assert [world.answer(request).header.attempt for request in requests] == [3, 0]


def test_before_a_worker_has_it_who_asks_again_goes_the_usual_way():
    world, routes = world_of()
    requests = [world.step(route, first=n) for n, route in enumerate(routes)]
    world.step(routes[0], first=0, request=requests[0], attempt=1)
    assert not world.core._gathering
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests)
    assert len(world.applied) == CLIENTS


def test_what_is_in_a_crowd_can_be_cancelled_until_a_worker_has_it():
    world, routes = world_of()
    requests = [world.step(route, first=n) for n, route in enumerate(routes)]
    cancel = m.Cancel(id=secrets.token_bytes(16), deadline_ms=1000, requests=(requests[1],))
    world.send(routes[1], Command.CANCEL, cancel)
    world.settle()
    assert [code_of(world.answer(request)) for request in requests] == ["STEPPED", "cancelled"] + ["STEPPED"] * 4
    late = world.step(routes[1], first=1)
    world.pump()
    cancel = m.Cancel(id=secrets.token_bytes(16), deadline_ms=1000, requests=(late,))
    world.send(routes[1], Command.CANCEL, cancel)
    world.settle()
    assert world.answer(late).command is Command.STEPPED
    assert world.answer(cancel.id).command is Command.DONE


def test_what_a_client_asked_that_is_gone_is_not_begun():
    world, routes = world_of()
    requests = [world.step(route, first=n) for n, route in enumerate(routes)]
    world.core.client_gone(routes[4])
    world.settle()
    assert sorted(agent for _, agent, _, _ in world.applied) == [0, 1, 2, 3, 5]
    assert [message for _, message in world.answers if message.header.id == requests[4]] == []
    assert not world.core.open_requests


def test_a_ping_knows_members_of_crowds():
    world, routes = world_of(clients=2)
    request, unknown = world.step(routes[0], first=0), secrets.token_bytes(16)
    world.pump()
    assert world.core._desk._members
    for _ in range(2):
        ping = m.Ping(id=secrets.token_bytes(16), deadline_ms=1000, pending=(request, unknown))
        world.send(routes[0], Command.PING, ping)
        world.pump()
        assert world.answer(ping.id).header.unknown == (unknown,)


def test_where_no_worker_has_room_they_wait_and_end_as_usual():
    world, routes = world_of()
    requests = [world.step(route, first=n, deadline_ms=2000) for n, route in enumerate(routes)]
    assert world.core._gathering
    [worker] = world.workers.values()
    world.kill(worker)
    world.pump()
    assert not world.core._gathering
    cancel = m.Cancel(id=secrets.token_bytes(16), deadline_ms=1000, requests=(requests[0],))
    world.send(routes[0], Command.CANCEL, cancel)
    world.now_s += 3
    world.core.tick(world.now_s, world.now_s)
    world.settle()
    codes = [code_of(world.answer(request)) for request in requests]
    assert codes == ["cancelled"] + ["deadline_exceeded"] * 5
    assert not world.applied


def test_nobody_who_waits_is_overtaken():
    world, routes = world_of(clients=3)
    world.step(routes[0], first=0)
    world.pump()
    world.step(routes[1], first=0, tick=2)  # waits for its agent, with a worker that has room
    world.pump()
    world.step(routes[2], first=1)
    assert not world.core._gathering
    world.settle()
    assert len(world.applied) == 3


@pytest.mark.parametrize("shared", [False, True])
def test_a_crowd_whose_worker_dies_is_run_again_each_alone(shared):
    world, routes = world_of()
    requests = [world.step(route, first=n) for n, route in enumerate(routes)]
    world.pump()
    [worker] = world.workers.values()
    if shared:
        worker.run_one(answer=False)  # all was done, and nobody heard of it
    world.kill(worker)
    world.add_worker("again")
    world.pump()
    assert batches(world) == [1, 1]
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests)
    assert len(world.applied) == CLIENTS
    assert not world.core.open_requests


def test_of_a_crowd_that_kills_only_who_kills_is_told_so():
    """Agent 3 kills every worker that has it in hand."""
    world, routes = world_of()
    requests = [world.step(route, first=n) for n, route in enumerate(routes)]
    for _ in range(100):
        if not world.pump() and not any(worker.inbox for worker in world.workers.values()):
            break
        for worker in list(world.workers.values()):
            if not worker.inbox:
                continue
            work, arrays = worker.inbox[0]
            agents = [work.first] if work.first is not None else arrays["agents"].tolist()
            if 3 in agents:
                world.kill(worker)
                world.add_worker(worker.name)
            else:
                worker.run_one()
    codes = [code_of(world.answer(request)) for request in requests]
    assert codes[3] == "worker_crashed"
    assert set(codes) <= {"STEPPED", "worker_crashed", "quarantined"}
    assert world.quarantined == {"0" * 16: True}
    assert not world.core.open_requests
    refused = world.step(routes[0], first=0, tick=9)
    world.settle()
    assert code_of(world.answer(refused)) == "quarantined"


def test_agents_that_were_removed_are_refused():
    world, routes = world_of(clients=2)
    found = world.core._populations.get("0" * 16)
    found.update(msgspec.structs.replace(found.info, live=99), np.array([[0, 50], [51, 100]]), {})
    requests = [world.step(routes[0], first=50), world.step(routes[1], first=51)]
    world.settle()
    assert [code_of(world.answer(request)) for request in requests] == ["unknown_agent", "STEPPED"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"first": 100}, "unknown_agent"),
        ({"uid": "f" * 16}, "unknown_population"),
        ({"tick": 0}, "invalid_argument"),
        ({"request": bytes(16)}, "malformed_message"),
    ],
)
def test_what_has_to_be_refused_is_refused_as_usual(change, code):
    world, routes = world_of()
    request = world.step(routes[0], **({"first": 1} | change))
    assert not world.core._gathering
    world.settle()
    assert code_of(world.answer(request)) == code


def test_a_crowd_is_no_longer_than_a_batch():
    made = population()
    world = World([made], workers=1)
    made.record(STEPS, 100, 100 * 1_000_000, world.now_s)  # a millisecond an agent
    world.agent_ns = 1_000_000
    teach(world)
    routes = [world.client() for _ in range(4)]
    requests = [world.step(route, first=n) for n, route in enumerate(routes)]
    world.pump()
    assert batches(world) == [2, 2]
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests)


def test_little_crowds_are_shared_out_among_free_workers():
    world = world_of_several(4, workers=2)
    routes = [world.client() for _ in range(4)]
    for n, route in enumerate(routes):
        world.step(route, first=n, uid=f"{n:016x}")
    world.pump()
    assert [len(worker.inbox) for worker in world.workers.values()] == [2, 2]


def test_outputs_that_have_frames_of_their_own_are_answered_as_usual():
    world, routes = world_of()
    world.outputs = {"beliefs": 65}  # of 4 bytes each
    requests = [world.step(route, first=n) for n, route in enumerate(routes)]
    world.settle()
    for n, request in enumerate(requests):
        assert world.answer(request).arrays["beliefs"].tolist() == [[n] * 65]
    world.outputs = {"beliefs": 64}
    request = world.step(routes[0], first=0, tick=2)
    world.settle()
    assert world.answer(request).arrays["beliefs"].shape == (1, 64)
    world.outputs = {"beliefs": 0}
    request = world.step(routes[0], first=0, tick=3)
    world.settle()
    assert world.answer(request).arrays["beliefs"].shape == (1, 0)


def test_an_error_of_a_worker_is_told_to_all_of_a_crowd():
    world, routes = world_of()
    requests = [world.step(route, first=n) for n, route in enumerate(routes)]
    world.pump()
    [worker] = world.workers.values()
    [(work, _)] = worker.inbox
    worker.inbox.clear()
    error = to_header(InvalidArgument("no"), work.parts[0].id)
    world.from_worker(worker, encode(Command.RESULT, m.Result(epoch=work.epoch, batch=work.batch, error=error)))
    world.settle()
    for request in requests:
        told = world.answer(request)
        assert (code_of(told), told.arrays["applied"].tolist()) == ("invalid_argument", [Applied.UNKNOWN])
        assert told.header.id == request
    assert_nothing_is_held(world)


@pytest.mark.parametrize("again", [False, True])
def test_of_a_crowd_of_one_the_worker_tells_and_who_asked_again_is_answered_too(again):
    world, _ = world_of()
    client = world.client(letterbox=b"L" * 16)
    request = world.step(client, first=1)
    world.pump()
    if again:
        world.step(client, first=1, request=request)
    world.settle()
    assert world.letters == [(b"L" * 16, request, 0, 1)]
    assert len([1 for _, message in world.answers if message.header.id == request]) == again
    assert_nothing_is_held(world)


def test_a_crowd_of_several_is_told_by_the_broker():
    world, _ = world_of()
    clients = [world.client(letterbox=bytes([n]) * 16) for n in range(2)]
    requests = [world.step(client, first=n) for n, client in enumerate(clients)]
    world.settle()
    assert not world.letters
    assert all(world.answer(request).command is Command.STEPPED for request in requests)


def test_what_waits_is_joined_by_who_asks_again_from_elsewhere():
    world, routes = world_of(clients=2)
    request = world.step(routes[0], first=0)
    world.step(routes[1], first=0, request=request)  # in no worker's hands yet
    world.settle()
    assert [route for route, message in world.answers if message.header.id == request] == [routes[1]]
    assert_nothing_is_held(world)


def test_who_asks_again_before_it_is_begun_is_told_its_own_attempt():
    world, routes = world_of(clients=2)
    request = world.step(routes[0], first=0, deadline_ms=2000)
    assert world.core._gathering
    [worker] = world.workers.values()
    world.kill(worker)
    world.step(routes[1], first=0, request=request, deadline_ms=2000, attempt=2)
    world.pump()
    world.now_s += 3
    world.core.tick(world.now_s, world.now_s)
    world.settle()
    told = world.answer(request)
    assert (code_of(told), told.header.attempt) == ("deadline_exceeded", 2)


def test_a_conflict_is_told_to_who_asked_last():
    world, routes = world_of(clients=3)
    requests = [world.step(route, first=n, tick=5) for n, route in enumerate(routes[:2])]
    world.pump()
    world.step(routes[2], first=0, tick=5, request=requests[0])
    world.settle()
    assert code_of(world.answer(requests[0])) == "tick_gap"
    assert [route for route, message in world.answers if message.header.id == requests[0]] == [routes[2]]
    assert_nothing_is_held(world)


def test_wide_outputs_that_a_worker_told_are_not_told_again():
    world, _ = world_of()
    world.outputs = {"beliefs": 65}
    request = world.step(world.client(letterbox=b"L" * 16), first=1)
    world.settle()
    assert world.letters
    assert not [message for _, message in world.answers if message.header.id == request]
    assert_nothing_is_held(world)


def test_room_that_a_member_took_goes_with_who_asks_again():
    world, routes = world_of(clients=2)
    request = world.step(routes[0], first=0)
    world.pump()
    world.step(routes[1], first=0, request=request)
    sessions = [world.core._desk.session_at(route) for route in routes]
    assert [session.outstanding for session in sessions] == [0, 1]
    world.settle()
    assert_nothing_is_held(world)


def test_who_has_little_asked_for_keeps_others_batches_short():
    world, routes = world_of(clients=1)
    world.now_s += 60
    request = world.step(routes[0], first=0)
    world.settle()
    assert world.answer(request).command is Command.STEPPED
    assert world.core._scheduler._little_s == world.now_s


steps = st.lists(
    st.tuples(
        st.integers(0, CLIENTS - 1),
        st.sampled_from(["step", "step", "step", "wrong", "gap", "again", "two", "read", "vfe"]),
        st.sampled_from(["", "", "", "pump", "settle", "die"]),
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(steps)
def test_the_quick_way_tells_what_the_usual_way_tells(script):
    quick, usual = told(script, learns=True), told(script, learns=False)
    assert quick == usual


def assert_nothing_is_held(world):
    """Where nothing is open, nobody has anything, and all that came is counted."""
    core, desk = world.core, world.core._desk
    assert [core.open_requests, len(core._gathering), desk._open_bytes] == [0, 0, 0]
    for session in desk._sessions.values():
        assert (session.outstanding, session.in_crowds, session.held_bytes) == (0, 0, 0)
    for each in core._populations:
        assert [each.busy.any(), each.busy_agents, each.exclusive] == [False, 0, False]
    assert desk.counters["requests"] <= desk.counters["answers"] + desk.counters["errors"]


def told(script, learns):
    """All that clients are told where each steps agents of its own, by the numbers of their requests."""
    world, routes = world_of(learned=(0, int(Want.VFE)) if learns else (), rows=100, workers=2)
    if not learns:
        teach(world)
        world.core._gathering.learn = lambda *_: None
        world.core._gathering._forms.clear()
        teach(world, want=int(Want.VFE))
    numbers, last, deaths = {}, {}, 0
    for number, (client, kind, then) in enumerate(script):
        request = numbers.setdefault(number, bytes(12) + (number + 1).to_bytes(4, "big"))
        committed = world.store.get(("0" * 16, client), (0,))[0]
        pending = sum(1 for c, k, _ in script[:number] if c == client and k in ("step", "vfe"))
        assert committed <= pending
        if kind in ("step", "vfe"):
            world.step(routes[client], client, tick=pending + 1, request=request, want=int(Want.VFE) * (kind == "vfe"))
            last[client] = (request, pending + 1)
        elif kind == "wrong":
            arrays = {"observations": np.full((1, 2), 6, np.int8)}
            world.step(routes[client], client, tick=pending + 1, request=request, arrays=arrays)
        elif kind == "gap":
            world.step(routes[client], client, tick=pending + 9, request=request)
        elif kind == "again" and client in last:
            request, tick = last[client]
            if not [message for _, message in world.answers if message.header.id == request]:
                world.step(routes[client], client, tick=tick, request=request, attempt=number % 2)
        elif kind == "two":
            world.step(routes[client], 20 + 2 * client, count=2, tick=1, request=request)
        elif kind == "read":
            header = m.Read(id=request, deadline_ms=60_000, population="0" * 16, count=1, first=client)
            world.send(routes[client], Command.READ, header)
        if then == "pump":
            world.pump()
        elif then == "settle":
            world.settle()
        elif then == "die" and (deaths := deaths + 1) <= 2:  # of a third it may be said of another that it killed
            world.pump()
            worker = next(iter(world.workers.values()))
            world.kill(worker)
            world.settle(run=False)
            world.add_worker(worker.name)
    world.settle()
    assert_nothing_is_held(world)
    known = set(numbers.values())
    return sorted(
        (message.header.id, code_of(message), encode(message.command, message.header, message.arrays))
        for _, message in world.answers
        if getattr(message.header, "id", None) in known
    )
