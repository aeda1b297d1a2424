"""The bytes of all open requests together are bounded, and whoever comes next finds room."""

import secrets

import numpy as np
import pytest
from broker_world import INFO, World, population
from hypothesis import given
from hypothesis import strategies as st

from beliefd_broker.desk import MOST_SESSIONS
from beliefd_broker.request import REQUEST_BYTES
from beliefd_proto import Command, Want, encode
from beliefd_proto import messages as m

ROWS = 400
INPUT_BYTES = 2


def needed(count, want=0):
    return REQUEST_BYTES + count * (INPUT_BYTES + INFO.answer_row_bytes(want))


def world_of(open_bytes, workers=0):
    return World([population(rows=ROWS)], workers=workers, limits=m.Limits(open_bytes=open_bytes))


def code_of(world, request):
    world.pump()
    found = [message.header for _, message in world.answers if getattr(message.header, "id", None) == request]
    return getattr(found[-1], "code", "answered") if found else None


def test_what_finds_no_room_is_told_busy_and_is_served_when_asked_again():
    world = world_of(6 * needed(10))
    route = world.client()
    requests = [world.step(route, first=10 * i, count=10) for i in range(4)]
    assert [code_of(world, request) for request in requests] == [None, None, None, "busy"]
    told = next(message for _, message in world.answers if getattr(message.header, "id", None) == requests[3])
    assert told.header.field == "bytes"
    assert told.header.retry_after_ms > 0
    assert told.arrays["applied"].tolist() == [0] * 10
    world.add_worker("worker_00")
    world.settle()
    world.step(route, first=30, count=10, request=requests[3])
    world.settle()
    assert [code_of(world, request) for request in requests] == ["answered"] * 4


def test_a_client_leaves_as_much_free_as_it_holds_so_that_the_next_finds_room():
    world = world_of(8 * needed(10))
    greedy, modest = world.client(), world.client()
    codes = [code_of(world, world.step(greedy, first=10 * i, count=10)) for i in range(6)]
    assert codes == [None] * 4 + ["busy"] * 2
    assert code_of(world, world.step(modest, first=100, count=10)) is None


def test_a_request_that_would_never_find_room_is_refused_for_good():
    world = world_of(2 * needed(10))
    route = world.client()
    request = world.step(route, count=11)
    assert code_of(world, request) == "too_large"
    wanted = world.step(route, count=10, want=int(Want.BELIEFS))
    assert code_of(world, wanted) == "too_large"  # an answer is held too
    spec = m.Create(id=secrets.token_bytes(16), deadline_ms=1, name="a", spec=bytes(5000), hash="", agents=1, seed=0)
    world.send(route, Command.CREATE, spec)
    assert code_of(world, spec.id) == "too_large"


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30), st.sampled_from(["", "work", "gone", "late"]))))
def test_whatever_ends_a_request_gives_its_room_back(sent):
    world = world_of(20 * needed(10), workers=1)
    routes = [world.client() for _ in range(3)]
    for client, count, then in sent:
        first = int(np.random.default_rng(len(world.answers)).integers(0, ROWS - count))
        world.step(routes[client], first=first, count=count, deadline_ms=1000)
        world.pump()
        desk = world.core._desk
        held = [*desk._requests.values(), *desk._members.values()]
        assert desk._open_bytes == sum(request.held_bytes for request in held) <= 20 * needed(10)
        if then == "work":
            world.settle()
        elif then == "gone":
            world.core.client_gone(routes[client])
            routes[client] = world.client()
        elif then == "late":
            world.now_s += 2.0
            world.core.tick(world.now_s, 0.0)
    world.pump()
    for killed in set(world.killed):  # what it had in its hands was late by more than a worker may be
        world.kill(world.workers[killed])
        world.add_worker("again")
    for worker in world.workers.values():  # it has been silent, and gets no work before it speaks
        worker.hello()
    world.settle()
    assert not world.core._desk._open_bytes
    assert not any(session.held_bytes for session in world.core._desk._sessions.values())


@pytest.mark.parametrize(("others", "code"), [(MOST_SESSIONS - 1, "answered"), (MOST_SESSIONS, "busy")])
def test_sessions_are_bounded(others, code):
    world = World([population()])
    world.client()
    sessions = world.core._desk._sessions
    (session,) = sessions.values()
    sessions.update({i.to_bytes(5): session for i in range(others - 1)})
    hello = m.Hello(id=secrets.token_bytes(16), deadline_ms=1000, session=secrets.token_bytes(16), versions=(1,))
    world.core.client_message(b"newcomer", encode(Command.HELLO, hello), world.now_s)
    assert code_of(world, hello.id) == code
