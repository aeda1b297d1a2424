"""CANCEL in the pure core: what nothing has begun is taken back, what is in workers' hands is finished."""

import secrets

import numpy as np
import pytest
from broker_world import World, population

from beliefd_broker.actions import SendClient
from beliefd_proto import Applied, Command, decode
from beliefd_proto import messages as m


def cancel(world, route, *requests):
    header = m.Cancel(id=secrets.token_bytes(16), deadline_ms=1000, requests=requests)
    world.send(route, Command.CANCEL, header)
    world.pump()
    assert world.answer(header.id).command is Command.DONE


def test_what_waits_is_taken_back_and_its_tick_is_free():
    world = World(workers=0)
    route = world.client()
    request = world.step(route, count=3)
    cancel(world, route, request)
    told = world.answer(request)
    assert (told.command, told.header.code) == (Command.ERROR, "cancelled")
    assert told.arrays["applied"].tolist() == [Applied.NO] * 3
    world.add_worker("worker_00")
    again = world.step(route, count=3)
    world.settle()
    assert world.answer(again).command is Command.STEPPED
    assert not [entry for entry in world.applied if entry[3] == request]


def test_what_a_worker_has_been_given_is_finished():
    world = World(workers=1)
    route = world.client()
    request = world.step(route, count=3)
    world.pump()
    cancel(world, route, request)
    world.settle()
    assert world.answer(request).command is Command.STEPPED


def test_a_chunk_that_is_partly_handed_out_says_what_was_done():
    world = World([population(rows=5000)], workers=1)
    route = world.client()
    request = world.step(route, count=5000)
    world.pump()
    cancel(world, route, request)
    world.settle()
    told = world.answer(request)
    assert told.header.code == "cancelled"
    done = sorted(row for _, row, _, by in world.applied if by == request)
    assert 0 < len(done) < 5000
    np.testing.assert_array_equal(np.flatnonzero(told.arrays["applied"] == Applied.YES), done)
    assert (told.arrays["applied"] == Applied.NO).sum() == 5000 - len(done)
    assert not world.core._populations.get("0" * 16).busy.any()


def test_what_is_taken_back_is_told_before_the_cancel_is_answered():
    world = World([population(rows=50_000, durability="disk")], workers=1)
    route = world.client()
    request = world.step(route, count=50_000)
    world.pump()
    (worker,) = world.workers.values()
    while worker.inbox:  # nothing of it is in a worker's hands now, and most of it is not begun
        worker.run_one()
    header = m.Cancel(id=secrets.token_bytes(16), deadline_ms=1000, requests=(request,))
    world.send(route, Command.CANCEL, header)
    told = [decode([bytes(f) for f in a.frames]) for a in world.core.take_actions() if isinstance(a, SendClient)]
    assert [answer.header.id for answer in told] == [request, header.id]


def test_a_job_that_waits_is_taken_back_and_holds_up_nothing():
    world = World(workers=1)
    route, other = world.client(), world.client()
    world.step(other, count=2)
    world.pump()
    add = m.AddAgents(id=secrets.token_bytes(16), deadline_ms=60_000, population="0" * 16, count=1)
    world.send(route, Command.ADD_AGENTS, add)
    world.pump()
    cancel(world, route, add.id)
    assert world.answer(add.id).header.code == "cancelled"
    behind = world.step(other, first=50)
    world.settle()
    assert world.answer(behind).command is Command.STEPPED


@pytest.mark.parametrize("whose", ["nobody", "another client"])
def test_what_is_not_the_clients_own_is_passed_over(whose):
    world = World(workers=0)
    route, other = world.client(), world.client()
    request = world.step(other) if whose == "another client" else secrets.token_bytes(16)
    cancel(world, route, request)
    world.add_worker("worker_00")
    world.settle()
    if whose == "another client":
        assert world.answer(request).command is Command.STEPPED


def test_a_client_without_a_session_cancels_nothing():
    world = World(workers=0)
    header = m.Cancel(id=secrets.token_bytes(16), deadline_ms=1000, requests=())
    world.send(b"stranger", Command.CANCEL, header)
    world.pump()
    assert world.answer(header.id).header.code == "hello_required"
