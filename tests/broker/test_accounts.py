"""Roles and quotas in the pure broker core: who may do what, how much of it, and until when."""

import secrets

import pytest
from broker_world import World, population

from beliefd_proto import Command, Role
from beliefd_proto import messages as m
from beliefd_proto.messages import HEADERS
from beliefd_proto.roles import needed
from beliefd_service.access import Grant, sha256_of

PUBLIC = "0" * 40


def grant(name, role="step", **bounds):
    return Grant(name=name, role=role, token_sha256=sha256_of(f"token of {name}"), public_key=PUBLIC, **bounds)


def world_of(*grants):
    return World([population()], grants=grants)


def hello(world, token, session=None):
    """Say HELLO; the route, and what was answered."""
    route, request = secrets.token_bytes(5), secrets.token_bytes(16)
    session = session or secrets.token_bytes(16)
    header = m.Hello(id=request, deadline_ms=1000, session=session, versions=(1,), token=token)
    world.send(route, Command.HELLO, header)
    world.settle()
    return route, world.answer(request)


def headers():
    """A request of every command that needs a session."""
    uid, deadline_ms = "0" * 16, 60_000
    return {
        Command.CREATE: m.Create(
            name="new", spec=b"", hash="", agents=1, seed=0, id=secrets.token_bytes(16), deadline_ms=deadline_ms
        ),
        Command.ATTACH: m.Attach(name="mice", id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.LIST: m.List(id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.DROP: m.Drop(population=uid, id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.ADD_AGENTS: m.AddAgents(population=uid, count=1, id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.REMOVE_AGENTS: m.RemoveAgents(population=uid, id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.STEP: m.Step(
            population=uid, count=1, first=0, tick=1, id=secrets.token_bytes(16), deadline_ms=deadline_ms
        ),
        Command.READ: m.Read(population=uid, count=1, first=0, id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.PARAMETERS: m.Parameters(population=uid, id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.STATUS: m.Status(id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.CANCEL: m.Cancel(requests=(), id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.RELEASE: m.Release(population=uid, id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.CHECKPOINT: m.Checkpoint(population=uid, id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.SNAPSHOT: m.Snapshot(population=uid, name="kept", id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.RESTORE: m.Restore(snapshot="kept", name="back", id=secrets.token_bytes(16), deadline_ms=deadline_ms),
        Command.FORK: m.Fork(population=uid, name="other", id=secrets.token_bytes(16), deadline_ms=deadline_ms),
    }


@pytest.mark.parametrize("role", ["read", "step", "admin"])
def test_each_role_may_do_what_it_needs_and_no_more(role):
    world = world_of(grant("somebody", role))
    route, welcomed = hello(world, "token of somebody")
    assert welcomed.command is Command.WELCOME
    level = Role[role.upper()]
    for command, header in headers().items():
        world.send(route, command, header)
        world.pump()
        told = [answer for _, answer in world.answers if getattr(answer.header, "id", b"") == header.id]
        refused = bool(told) and getattr(told[0].header, "code", "") == "not_permitted"
        assert refused == (level < needed(command)), command
        if refused:
            assert (told[0].header.field, told[0].header.value) == ("role", role)
            assert "admin" in told[0].header.allowed


def test_the_cases_above_are_all_there_are():
    asked = {command for command in HEADERS if command < 0x20} - {Command.HELLO, Command.PING}
    assert asked == set(headers())


def test_a_step_that_is_not_permitted_is_not_applied():
    world = world_of(grant("page", "read"))
    route, _ = hello(world, "token of page")
    request = world.step(route)
    world.settle()
    told = world.answer(request)
    assert told.header.code == "not_permitted"
    assert told.arrays["applied"].tolist() == [0]
    assert not world.applied


@pytest.mark.parametrize("token", ["", "token of nobody", "x" * 200])
def test_strangers_get_no_session(token):
    world = world_of(grant("robot"))
    route, told = hello(world, token)
    assert told.header.code == "unauthenticated"
    assert token not in (told.header.value or "") or not token
    request = world.step(route)
    world.settle()
    assert world.answer(request).header.code == "hello_required"
    assert not world.applied


def test_without_keys_everybody_may_do_everything():
    world = World([population()])
    route, told = hello(world, "whatever")
    assert told.command is Command.WELCOME
    request = world.step(route)
    world.settle()
    assert world.answer(request).command is Command.STEPPED


def test_a_grant_that_was_taken_back_ends_its_sessions_and_no_others():
    world = world_of(grant("robot"), grant("other"))
    robot, _ = hello(world, "token of robot")
    other, _ = hello(world, "token of other")
    under_way = world.step(robot, first=1)
    world.core.renew_access([grant("other")], world.now_s)
    world.settle()
    assert world.answer(under_way).command is Command.STEPPED  # it was accepted before
    refused, served = world.step(robot, first=2), world.step(other, first=3)
    world.settle()
    assert world.answer(refused).header.code == "hello_required"
    assert world.answer(served).command is Command.STEPPED
    _, told = hello(world, "token of robot")
    assert told.header.code == "unauthenticated"


def test_a_changed_role_asks_for_a_new_hello():
    world = world_of(grant("robot", "step"))
    route, _ = hello(world, "token of robot")
    world.core.renew_access([grant("robot", "read")], world.now_s)
    refused = world.step(route)
    world.settle()
    assert world.answer(refused).header.code == "hello_required"
    route, _ = hello(world, "token of robot")
    refused = world.step(route)
    world.settle()
    assert world.answer(refused).header.code == "not_permitted"


def test_a_quota_of_requests_is_told_busy_until_time_has_passed():
    world = world_of(grant("robot", requests_per_s=1.0), grant("other"))
    route, _ = hello(world, "token of robot")
    other, _ = hello(world, "token of other")
    requests = [world.step(route, first=i) for i in range(5)]
    world.settle()
    codes = [getattr(world.answer(request).header, "code", "stepped") for request in requests]
    assert codes == ["stepped", "stepped", "busy", "busy", "busy"]
    told = world.answer(requests[2]).header
    assert told.field == "requests_per_s"
    assert told.retry_after_ms > 0
    served = world.step(other, first=9)
    world.now_s += 1.5
    again = world.step(route, first=2)
    world.settle()
    assert world.answer(served).command is world.answer(again).command is Command.STEPPED


def test_a_quota_of_agents_counts_agents_over_all_sessions():
    world = world_of(grant("robot", agents_per_s=5.0))
    first, _ = hello(world, "token of robot")
    second, _ = hello(world, "token of robot")
    served, refused = world.step(first, count=50), world.step(second, first=50, count=1)
    world.settle()
    assert world.answer(served).command is Command.STEPPED
    assert world.answer(refused).header.field == "agents_per_s"
    status = m.Status(id=secrets.token_bytes(16), deadline_ms=1000)
    world.send(second, Command.STATUS, status)
    world.settle()
    assert world.answer(status.id).command is Command.STATUS_REPORT


def test_what_one_quota_refuses_is_not_counted_against_the_other():
    world = world_of(grant("robot", requests_per_s=2.0, agents_per_s=10.0))
    route, _ = hello(world, "token of robot")
    served = [world.step(route, count=60)]
    refused = [world.step(route, first=60) for _ in range(10)]  # the agents' quota is spent for seconds
    world.now_s += 0.001
    status = [m.Status(id=secrets.token_bytes(16), deadline_ms=1000) for _ in range(3)]
    for header in status:
        world.send(route, Command.STATUS, header)
    world.settle()
    assert world.answer(served[0]).command is Command.STEPPED
    assert {world.answer(request).header.field for request in refused} == {"agents_per_s"}
    assert [world.answer(header.id).command for header in status] == [Command.STATUS_REPORT] * 3


def test_a_retry_of_what_is_under_way_costs_nothing():
    world = World([population()], workers=0, grants=[grant("robot", requests_per_s=1.0)])
    route, _ = hello(world, "token of robot")
    request = world.step(route)
    for _ in range(10):
        world.step(route, request=request)
    world.add_worker("worker_00")
    world.settle()
    assert world.answer(request).command is Command.STEPPED


def test_sessions_are_bounded_and_a_known_one_may_come_back():
    world = world_of(grant("robot", sessions=2))
    known = secrets.token_bytes(16)
    assert hello(world, "token of robot", known)[1].command is Command.WELCOME
    assert hello(world, "token of robot")[1].command is Command.WELCOME
    refused = hello(world, "token of robot")[1].header
    assert (refused.code, refused.field, refused.allowed) == ("busy", "sessions", "2")
    assert hello(world, "token of robot", known)[1].command is Command.WELCOME


def test_who_may_only_read_steps_nothing_though_the_broker_knows_what_steps_look_like():
    world = world_of(grant("robot"), grant("page", "read"))
    robot, _ = hello(world, "token of robot")
    page, _ = hello(world, "token of page")
    world.step(robot)
    world.settle()
    world.step(robot, first=1)
    assert world.core._gathering
    world.settle()
    refused = world.step(page, first=2)
    world.settle()
    assert world.answer(refused).header.code == "not_permitted"
    assert len(world.applied) == 2


def test_what_is_in_a_crowd_is_answered_though_its_client_may_do_nothing_any_more():
    world = world_of(grant("robot"))
    route, _ = hello(world, "token of robot")
    world.step(route)
    world.settle()
    request = world.step(route, first=1)
    assert world.core._gathering
    for worker in list(world.workers.values()):
        world.kill(worker)
    world.core.renew_access([], world.now_s)
    world.add_worker("again")
    world.settle()
    assert world.answer(request).command is Command.STEPPED
    refused = world.step(route, first=2)
    world.settle()
    assert world.answer(refused).header.code == "hello_required"


def test_steps_of_who_has_quotas_are_counted_one_by_one():
    world = world_of(grant("robot", requests_per_s=1.0))
    route, _ = hello(world, "token of robot")
    codes = []
    for agent in range(4):
        request = world.step(route, first=agent)
        assert not world.core._gathering
        world.settle()
        codes.append(getattr(world.answer(request).header, "code", "answered"))
    assert codes == ["answered"] * 2 + ["busy"] * 2
