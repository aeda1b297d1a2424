"""The broker's core: what is accepted is answered once, no agent is in two hands, and only death frees work."""

import itertools
import secrets
from collections import deque

import msgspec
import numpy as np
import pytest
from broker_world import INFO, STEPS, World, population
from hypothesis import given, settings
from hypothesis import strategies as st

from beliefd_broker.actions import SendClient, SendWorker
from beliefd_broker.desk import CREDITS, CUT_OFF_S, MOST_REFUSALS, SESSION_IDLE_S
from beliefd_broker.population import TILE_AGENTS, Damaged, cost_key
from beliefd_broker.scheduling import ASKS_AGAIN_S, MOST_ANSWER_BYTES
from beliefd_broker.workforce import RETIRE_EVERY_S
from beliefd_proto import Applied, Command, Want, decode, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import CorruptStore
from beliefd_service import events
from beliefd_service.process import ProcessIdentity


def error(message):
    assert message.command is Command.ERROR, message
    return message.header


def test_a_step_is_cut_over_idle_workers_and_put_together_in_order():
    world = World([population(rows=5000)])
    client = world.client()
    request = world.step(client, count=5000)
    world.pump()
    assert all(len(worker.inbox) >= 1 for worker in world.workers.values())
    world.settle()
    answer = world.answer(request)
    assert answer.command is Command.STEPPED
    np.testing.assert_array_equal(answer.arrays["actions"][:, 0], np.arange(5000) % 4)
    assert len(world.applied) == 5000


def test_agents_named_in_any_order_get_their_own_answers():
    world = World()
    request = world.step(world.client(), agents=[7, 2, 50], count=3)
    world.settle()
    np.testing.assert_array_equal(world.answer(request).arrays["actions"][:, 0], [3, 2, 2])


def test_clients_that_ask_alike_share_a_batch():
    world = World(workers=1)
    world.step(world.client(), first=99)
    requests = [world.step(world.client(), first=i) for i in range(20)]
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests)
    assert world.core._foreman.counters["batches"] < 5


def test_an_agent_is_never_in_two_batches():
    world = World()
    client, other = world.client(), world.client()
    first = world.step(client, first=0, count=10, tick=1)
    second = world.step(other, first=5, count=10, tick=1)
    third = world.step(other, first=20, count=5, tick=1)
    world.pump()
    handed = [part.id for worker in world.workers.values() for work, _ in worker.inbox for part in work.parts]
    assert sorted(handed) == sorted([first])  # the second waits for the first, and the third for the second
    world.settle()
    assert world.answer(first).command is Command.STEPPED
    told = error(world.answer(second))
    assert told.code == "tick_taken"
    assert told.index == (5,)
    applied = world.answer(second).arrays["applied"]
    np.testing.assert_array_equal(applied, [Applied.NO] * 5 + [Applied.YES] * 5)
    assert world.answer(third).command is Command.STEPPED


def test_a_retry_under_way_joins_and_a_late_one_gets_what_was_recorded():
    world = World()
    client = world.client()
    request = world.step(client)
    world.pump()
    world.step(client, request=request)
    world.settle()
    world.answer(request)
    world.answers.clear()
    world.step(client, request=request)
    world.settle()
    assert world.answer(request).command is Command.STEPPED
    assert len(world.applied) == 1


def test_a_dead_workers_batches_run_again_elsewhere_and_apply_once():
    world = World(workers=2)
    requests = [world.step(world.client(), first=i * 10, count=10) for i in range(6)]
    world.pump()
    victim = next(worker for worker in world.workers.values() if worker.inbox)
    victim.run_one(answer=False)
    world.kill(victim)
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests)
    assert len(world.applied) == len(set(world.applied)) == 60
    assert any(isinstance(event, events.WorkerLost) for event in world.events)


def test_work_of_a_silent_worker_stays_with_it_until_its_death():
    world = World(workers=2)
    request = world.step(world.client(), count=100)
    world.pump()
    silent, other = world.workers.values()
    if not silent.inbox:
        silent, other = other, silent
    world.now_s += 5
    world.core.tick(world.now_s, 0.0)
    while other.inbox:
        other.run_one()
    world.pump()
    assert not [a for _, a in world.answers if getattr(a.header, "id", None) == request]
    world.kill(silent)
    world.settle()
    assert world.answer(request).command is Command.STEPPED


def test_nobody_waits_behind_a_batch_that_takes_long():
    slow = msgspec.structs.replace(INFO, num_states=(100, 50), num_obs=(100, 50), num_policies=10**4)
    world = World([population(), population(uid="1" * 16, name="elephants", model=slow)], workers=2)
    long = world.step(world.client(), uid="1" * 16, count=1)
    world.pump()
    (busy,) = [worker for worker in world.workers.values() if worker.inbox]
    quick = [world.step(world.client(), first=i, count=1) for i in range(6)]
    for _ in quick:
        world.pump()
        for worker in world.workers.values():
            if worker is not busy and worker.inbox:
                worker.run_one()
    world.pump()
    assert len(busy.inbox) == 1
    assert {world.answer(request).command for request in quick} == {Command.STEPPED}
    world.settle()
    assert world.answer(long).command is Command.STEPPED


def slow_populations():
    """Three, whose agents take 1.9, 1.3 and 1.3 ms all together."""
    populations = [population(uid=f"{n:016x}", name=f"p{n}", rows=64) for n in range(3)]
    for each, ns_per_agent in zip(populations, (30_000, 20_000, 20_000), strict=True):
        each.record(STEPS, 64, 64 * ns_per_agent, 0.0)
    return populations


def step_all(world, each):
    world.step(world.client(), uid=each.info.uid, count=64)
    world.pump()


def inboxes(world):
    return [[int(work.population, 16) for work, _ in worker.inbox] for worker in world.workers.values()]


def test_who_has_to_wait_waits_for_the_worker_that_should_be_done_first():
    world = World(populations := slow_populations(), workers=2)
    for each in populations:
        step_all(world, each)
        world.now_s += 0.0008
    assert inboxes(world) == [[0, 2], [1]]


def test_nobody_waits_for_a_worker_that_is_late_where_another_is_not():
    world = World(populations := slow_populations(), workers=2)
    step_all(world, populations[0])
    world.now_s += 0.0055
    step_all(world, populations[1])
    world.now_s += 0.0005
    step_all(world, populations[2])
    assert inboxes(world) == [[0], [1, 2]]


def test_nobody_waits_for_a_worker_where_another_has_nothing_to_do():
    world = World(populations := slow_populations(), workers=2)
    for each in populations[:2]:
        step_all(world, each)
    world.now_s += 0.0015
    next(iter(world.workers.values())).run_one()
    step_all(world, populations[2])
    assert inboxes(world) == [[2], [1]]


def test_nobody_waits_behind_a_batch_that_is_late():
    world = World(workers=2)
    late = world.step(world.client(), count=1)
    world.pump()
    (busy,) = [worker for worker in world.workers.values() if worker.inbox]
    world.now_s += 1.0
    quick = [world.step(world.client(), first=1 + i, count=1) for i in range(6)]
    for _ in quick:
        world.pump()
        for worker in world.workers.values():
            if worker is not busy and worker.inbox:
                worker.run_one()
    world.pump()
    assert len(busy.inbox) == 1
    assert {world.answer(request).command for request in quick} == {Command.STEPPED}
    world.settle()
    assert world.answer(late).command is Command.STEPPED


def create(world, client, name="other", arrays=None, agents=5):
    """Send a CREATE of a model with these arrays and return its id."""
    request = secrets.token_bytes(16)
    header = m.Create(id=request, deadline_ms=600_000, name=name, spec=b"", hash="h", agents=agents, seed=0)
    world.send(client, Command.CREATE, header, arrays)
    return request


@pytest.mark.parametrize(("policies", "seconds"), [(10, 75), (200_000, 350)])
def test_a_job_counts_as_hung_later_the_larger_its_model_is(policies, seconds):
    world = World(workers=1)
    create(world, world.client(), arrays={"policies": np.zeros((policies, 4, 4), np.int32)})
    world.pump()
    for at_s, killed in ((seconds, 0), (2 * seconds, 1)):
        world.core.tick(world.now_s + at_s, 0.0)
        world.pump()
        assert len(world.killed) == killed


def test_a_batch_counts_as_hung_later_where_a_worker_may_have_to_compile_a_large_model_first():
    large = msgspec.structs.replace(INFO, num_policies=200_000, policy_len=4)
    world = World([population(model=large)], workers=1)
    world.step(world.client())
    world.pump()
    for at_s, killed in ((300.0, 0), (400.0, 1)):
        world.core.tick(world.now_s + at_s, 0.0)
        world.pump()
        assert len(world.killed) == killed


def test_a_batch_of_a_kind_that_has_run_counts_as_hung_after_seconds_and_later_with_every_death():
    world = World(workers=1)
    client = world.client()

    def counts_as_hung_between(low_s, high_s):
        world.pump()
        for at_s, killed in ((low_s, 0), (high_s, 1)):
            world.core.tick(world.now_s + at_s, 0.0)
            world.pump()
            assert len(world.killed) == killed
        world.killed.clear()
        world.kill(next(iter(world.workers.values())))
        world.add_worker("again")

    world.step(client)
    counts_as_hung_between(29, 31)
    counts_as_hung_between(59, 61)
    world.settle()
    world.step(client, tick=2)
    counts_as_hung_between(4.5, 5.5)
    counts_as_hung_between(9.5, 10.5)
    world.settle()
    assert [tick for _, _, tick, _ in world.applied] == [1, 2]


def test_a_slow_model_is_not_hung_for_being_slow():
    world = World([population(rows=5000)], workers=1)
    mice = world.core._populations.get("0" * 16)
    mice.record(STEPS, 64, int(64 * 0.5e9), world.now_s)
    world.step(world.client())
    world.pump()
    for at_s, killed in ((1000, 0), (2000, 1)):  # a tile takes 32 s
        world.core.tick(world.now_s + at_s, 0.0)
        world.pump()
        assert len(world.killed) == killed


def test_workers_over_their_limits_make_way_one_after_the_other():
    world = World(workers=3)
    for worker in world.workers.values():
        worker.worn = True
        worker.hello()
    retired = []
    for agent in range(10):
        world.now_s += RETIRE_EVERY_S + 0.1
        for worker in list(world.workers.values()):
            worker.hello()
        world.core.tick(world.now_s, 0.0)
        request = world.step(world.client(), first=agent)
        world.settle()
        assert world.answer(request).command is Command.STEPPED
        leaving = [worker for worker in world.workers.values() if worker.retired]
        assert len(leaving) <= 1
        for worker in leaving:
            retired.append(worker.name)
            world.core.worker_message(worker.incarnation, encode(Command.LEAVING, m.Leaving(worker=worker.name)), 0, 0)
            world.core.tick(world.now_s + RETIRE_EVERY_S + 0.1, 0.0)
            world.pump()
            assert sum(other.retired for other in world.workers.values()) == 1
            world.kill(worker)
            world.add_worker(worker.name)
    assert sorted(retired) == ["worker_00", "worker_01", "worker_02"]


def test_three_deaths_over_a_create_are_told_without_a_population_and_logged_with_the_job():
    world = World(workers=3)
    request = create(world, world.client())
    for _ in range(3):
        world.pump()
        world.kill(next(worker for worker in world.workers.values() if worker.inbox))
    world.pump()
    told = error(world.answer(request))
    assert (told.code, "quarantined" in told.message) == ("worker_crashed", False)
    lost = [log.fields for log in world.logs if log.event == "worker_lost"]
    assert [(fields["job"], fields["request"]) for fields in lost] == [("create", request.hex())] * 3


def test_an_idle_worker_that_is_silent_gets_no_work_until_it_speaks():
    world = World(workers=2)
    silent, other = world.workers.values()
    world.now_s += 1.5
    other.hello()
    world.core.tick(world.now_s, 0.0)
    requests = [world.step(world.client(), first=i) for i in range(3)]
    world.settle()
    assert (silent.inbox, world.killed) == (deque(), [])
    assert all(world.answer(request).command is Command.STEPPED for request in requests)
    assert [status.state for status in world.core.workforce.report()] == ["silent", "ready"]
    world.kill(other)
    request = world.step(world.client(), first=50)
    world.settle()
    assert not silent.inbox
    silent.hello()
    world.settle()
    assert world.answer(request).command is Command.STEPPED


def test_a_worker_is_not_silent_while_it_works_or_has_just_answered():
    world = World(workers=1)
    (worker,) = world.workers.values()
    world.step(world.client())
    world.pump()
    world.now_s += 5.0
    world.core.tick(world.now_s, 0.0)
    assert worker.inbox
    world.settle()
    world.now_s += 0.5
    world.core.tick(world.now_s, 0.0)
    assert [status.state for status in world.core.workforce.report()] == ["ready"]


def test_a_damaged_population_keeps_its_name_and_is_told_of():
    world = World()
    world.core.adopt([], [Damaged("b" * 16, "rats", CorruptStore("holds no whole population"))])
    client = world.client()
    asked = [create(world, client, name="rats"), world.step(client, uid="b" * 16)]
    for command, kind, fields in (
        (Command.ATTACH, m.Attach, {"name": "rats"}),
        (Command.DROP, m.Drop, {"population": "b" * 16}),
    ):
        asked.append(secrets.token_bytes(16))
        world.send(client, command, kind(id=asked[-1], deadline_ms=1000, **fields))
    world.settle()
    assert [error(world.answer(request)).code for request in asked] == ["corrupt_store"] * 4


@pytest.mark.parametrize(
    ("change", "said"), [({}, None), ({"seed": 1}, "another seed"), ({"hash": "1" * 64}, "another model")]
)
def test_exist_ok_attaches_to_the_same_model_and_seed_alone(change, said):
    world = World()
    request = secrets.token_bytes(16)
    fields = {"name": "mice", "spec": b"", "hash": INFO.hash, "agents": 5, "seed": 0, "exist_ok": True}
    world.send(world.client(), Command.CREATE, m.Create(id=request, deadline_ms=1000, **(fields | change)))
    world.settle()
    answer = world.answer(request)
    if said is None:
        assert answer.header.info.uid == "0" * 16
    else:
        assert error(answer).code == "population_exists"
        assert said in error(answer).message


@pytest.mark.parametrize(
    ("command", "kind", "fields"),
    [
        (Command.HELLO, m.Hello, {"session": bytes(range(16)), "versions": (1,)}),
        (Command.PING, m.Ping, {}),
        (Command.ATTACH, m.Attach, {"name": "mice"}),
        (Command.LIST, m.List, {}),
        (Command.DROP, m.Drop, {"population": "0" * 16}),
        (Command.ADD_AGENTS, m.AddAgents, {"population": "0" * 16, "count": 1}),
        (Command.PARAMETERS, m.Parameters, {"population": "0" * 16}),
        (Command.STATUS, m.Status, {}),
        (Command.RELEASE, m.Release, {"population": "0" * 16}),
    ],
)
def test_an_array_that_means_nothing_is_refused(command, kind, fields):
    world = World()
    header = kind(id=secrets.token_bytes(16), deadline_ms=1000, **fields)
    world.send(world.client(), command, header, {"junk": np.zeros(3)})
    world.settle()
    told = error(world.answer(header.id))
    assert (told.code, told.field, told.value) == ("malformed_message", "arrays", "junk")


def test_a_session_that_nobody_uses_is_forgotten_and_one_with_an_open_request_is_not():
    world = World(workers=0)
    idle, waiting = world.client(), world.client()
    request = world.step(waiting, deadline_ms=86_400_000)
    world.now_s += SESSION_IDLE_S + 1
    world.core.tick(world.now_s, 0.0)
    world.add_worker("worker_00")
    world.settle()
    assert world.answer(request).command is Command.STEPPED
    refused = world.step(idle)
    world.settle()
    assert error(world.answer(refused)).code == "hello_required"


def test_three_deaths_over_one_batch_quarantine_the_population_and_spare_the_neighbours():
    world = World([population(), population(uid="1" * 16, name="rats")], workers=1)
    client, neighbour = world.client(), world.client()
    poison = world.step(client)
    for i in range(3):
        world.pump()
        world.kill(next(iter(world.workers.values())))
        world.add_worker(f"again_{i}")
    world.settle()
    told = world.answer(poison)
    assert error(told).code == "worker_crashed"
    assert told.arrays["applied"].tolist() == [Applied.UNKNOWN]
    assert world.quarantined == {"0" * 16: True}
    refused = world.step(client, first=3)
    served = world.step(neighbour, uid="1" * 16)
    world.settle()
    assert error(world.answer(refused)).code == "quarantined"
    assert world.answer(served).command is Command.STEPPED
    world.send(client, Command.RELEASE, m.Release(id=b"release the mice", deadline_ms=100, population="0" * 16))
    again = world.step(client, first=3)
    world.settle()
    assert world.answer(again).command is Command.STEPPED
    assert world.quarantined == {"0" * 16: False}


def test_nothing_is_dispatched_before_every_survivor_is_idle_or_dead():
    survivor = ProcessIdentity(77, 1, "boot")
    world = World(held={survivor: "worker_07"}, workers=2)
    request = world.step(world.client())
    world.settle()
    assert not world.applied
    world.now_s += 10
    world.core.tick(world.now_s, 0.0)
    world.pump()
    assert len(world.killed) == 1
    assert not world.applied
    world.core.workforce.settle_died(survivor)
    for worker in world.workers.values():
        worker.hello()
    world.settle()
    assert world.answer(request).command is Command.STEPPED


def test_results_of_an_earlier_epoch_are_dropped():
    world = World(workers=1)
    request = world.step(world.client())
    world.pump()
    worker = next(iter(world.workers.values()))
    work, arrays = worker.inbox.popleft()
    worker.inbox.append((m.Work(**{f: getattr(work, f) for f in work.__struct_fields__} | {"epoch": 0}), arrays))
    worker.run_one()
    world.pump()
    assert not [a for _, a in world.answers if getattr(a.header, "id", None) == request]


def test_a_deadline_ends_what_was_not_begun_and_says_that_nothing_happened():
    world = World(workers=0)
    request = world.step(world.client(), count=3, deadline_ms=100)
    world.now_s += 1
    world.core.tick(world.now_s, 0.0)
    world.add_worker("worker_00")
    world.settle()
    told = world.answer(request)
    assert error(told).code == "deadline_exceeded"
    assert told.arrays["applied"].tolist() == [Applied.NO] * 3
    assert not world.applied


def test_a_deadline_in_the_middle_says_what_was_applied():
    world = World([population(rows=60_000)], workers=1)
    request = world.step(world.client(), count=60_000, deadline_ms=100)
    world.pump()
    handed = sum(part.count for worker in world.workers.values() for work, _ in worker.inbox for part in work.parts)
    assert 0 < handed < 60_000
    world.now_s += 1
    world.core.tick(world.now_s, 0.0)
    world.settle()
    told = world.answer(request)
    assert error(told).code == "deadline_exceeded"
    assert np.bincount(told.arrays["applied"]).tolist() == [60_000 - handed, handed]
    assert len(world.applied) == handed
    after = world.step(world.client(), first=59_999, tick=1)
    world.settle()
    assert world.answer(after).command is Command.STEPPED


def test_more_than_the_credits_is_told_busy():
    world = World([population(rows=1000)], workers=0)
    client = world.client()
    requests = [world.step(client, first=i) for i in range(CREDITS + 1)]
    world.pump()
    told = error(world.answer(requests[-1]))
    assert told.code == "busy"
    assert told.retry_after_ms > 0
    world.add_worker("worker_00")
    world.settle()
    assert all(world.answer(request).command is Command.STEPPED for request in requests[:-1])


def test_who_goes_on_beyond_its_credits_is_cut_off_for_a_while_and_the_others_are_served():
    world = World([population(rows=1000)], workers=0)
    rogue, other = world.client(), world.client()
    for i in range(CREDITS):
        world.step(rogue, first=i)
    for _ in range(MOST_REFUSALS):
        world.step(rogue, first=500)
    world.core.tick(world.now_s + 1, 0.0)
    world.pump()
    told = error(world.answers[-1][1])
    assert (told.code, told.retry_after_ms) == ("busy", 10_000)
    told_so_far = len(world.answers)
    for _ in range(1000):
        world.step(rogue, first=500)
    served = world.step(other, first=900)
    world.add_worker("worker_00")
    world.settle()
    assert world.answer(served).command is Command.STEPPED
    assert len(world.answers) == told_so_far + 1
    assert [log.event for log in world.logs if log.level == "warning"] == ["client_cut_off"]
    world.now_s += CUT_OFF_S + 2
    world.core.tick(world.now_s, 0.0)
    refused = world.step(rogue, first=500)
    world.settle()
    assert error(world.answer(refused)).code == "hello_required"


def test_who_is_refused_now_and_then_is_not_cut_off():
    world = World([population(rows=1000)], workers=0)
    client = world.client()
    for i in range(CREDITS):
        world.step(client, first=i)
    for _ in range(10):
        for _ in range(MOST_REFUSALS - 1):
            world.step(client, first=500)
        world.now_s += 0.6
        world.core.tick(world.now_s, 0.0)
    world.pump()
    assert not world.logs or {log.event for log in world.logs} == {"worker_registered"}


def test_a_broker_that_leaves_ends_what_it_began_and_begins_nothing_more():
    world = World([population(rows=50_000), population(uid="1" * 16, name="rats")], workers=1)
    client = world.client()
    begun = world.step(client, count=50_000)
    world.pump()
    waiting = world.step(world.client(), uid="1" * 16)
    world.core.drain()
    assert not world.core.drained
    world.pump()
    victim = next(iter(world.workers.values()))
    world.kill(victim)
    assert not world.core.drained
    world.add_worker("worker_01")
    world.settle()
    assert world.answer(begun).command is Command.STEPPED
    assert world.core.drained
    assert not [a for _, a in world.answers if getattr(a.header, "id", None) == waiting]


def test_a_stranger_is_asked_for_its_name():
    world = World()
    request = world.step(b"stranger")
    world.pump()
    assert error(world.answer(request)).code == "hello_required"


def test_a_ping_tells_which_requests_are_not_here():
    world = World(workers=0)
    client = world.client()
    known, unknown = world.step(client), secrets.token_bytes(16)
    ping = secrets.token_bytes(16)
    world.send(client, Command.PING, m.Ping(id=ping, deadline_ms=100, pending=(known, unknown)))
    world.pump()
    assert world.answer(ping).header.unknown == (unknown,)


def test_a_client_that_comes_back_gets_the_answer_where_it_is_now():
    world = World(workers=0)
    session = secrets.token_bytes(16)
    old = world.client(session)
    request = world.step(old)
    new = world.client(session)
    world.step(new, request=request)
    world.add_worker("worker_00")
    world.settle()
    assert [route for route, answer in world.answers if getattr(answer.header, "id", None) == request] == [new]


def test_a_flood_of_one_client_does_not_hold_up_another():
    world = World([population(rows=65_000), population(uid="1" * 16, name="rats")], workers=1)
    flood = world.step(world.client(), count=65_000)
    world.pump()
    single = world.step(world.client(), uid="1" * 16)
    for _ in range(4):
        world.pump()
        next(iter(world.workers.values())).run_one()
    world.pump()
    assert world.answer(single).command is Command.STEPPED
    world.settle()
    assert world.answer(flood).command is Command.STEPPED


def test_a_job_waits_for_busy_agents_and_holds_up_new_ones():
    world = World(workers=1)
    client = world.client()
    before = world.step(client, first=0)
    world.pump()
    job = secrets.token_bytes(16)
    world.send(client, Command.PARAMETERS, m.Parameters(id=job, deadline_ms=60_000, population="0" * 16))
    after = world.step(world.client(), first=50)
    world.pump()
    worker = next(iter(world.workers.values()))
    assert [work.kind for work, _ in worker.inbox] == [Command.STEP]
    worker.run_one()
    world.pump()
    assert [work.kind for work, _ in worker.inbox] == [Command.PARAMETERS]
    work, _ = worker.inbox.popleft()
    world.core.worker_message(worker.incarnation, _result(work), world.now_s, world.now_s)
    world.settle()
    assert world.answer(before).command is Command.STEPPED
    assert world.answer(job).command is Command.VALUES
    assert world.answer(after).command is Command.STEPPED


def _result(work):
    return encode(Command.RESULT, m.Result(epoch=work.epoch, batch=work.batch))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_every_request_is_answered_once_and_applied_at_most_once(data):
    """Random interleaving of requests, overlapping or not, work, deaths and retries."""
    world = World([population(rows=40)], workers=2)
    clients = [world.client() for _ in range(3)]
    ticks = np.zeros(40, int)
    requests, sent = [], {}
    for _ in range(data.draw(st.integers(5, 40))):
        match data.draw(st.sampled_from(["step", "step", "work", "pump", "kill", "retry"])):
            case "step":
                first = data.draw(st.integers(0, 39))
                count = data.draw(st.integers(1, 40 - first))
                tick = int(ticks[first]) + 1
                route = data.draw(st.sampled_from(clients))
                arguments = {"first": first, "count": count, "tick": tick}
                request = world.step(route, **arguments)
                sent[request] = (route, arguments)
                requests.append(request)
                ticks[first : first + count] = np.maximum(ticks[first : first + count], tick)
            case "work":
                busy = [worker for worker in world.workers.values() if worker.inbox]
                if busy:
                    data.draw(st.sampled_from(busy)).run_one()
            case "pump":
                world.pump()
            case "kill" if len(world.workers) > 1:
                victim = data.draw(st.sampled_from(list(world.workers.values())))
                if victim.inbox and data.draw(st.booleans()):
                    victim.run_one(answer=False)
                world.kill(victim)
                world.add_worker(f"again_{len(world.applied)}_{secrets.token_hex(2)}")
            case "retry" if requests:
                world.pump()
                request = data.draw(st.sampled_from(requests))
                if not [a for _, a in world.answers if getattr(a.header, "id", None) == request]:
                    route, arguments = sent[request]
                    world.step(route, request=request, **arguments)
    world.settle()
    for request in requests:
        message = world.answer(request)
        if message.command is Command.ERROR:
            assert message.header.code in {"tick_taken", "stale_tick", "tick_gap", "worker_crashed", "quarantined"}
    done = [(uid, row, tick) for uid, row, tick, _ in world.applied]
    assert len(done) == len(set(done))
    for row in range(40):
        applied = [tick for _, r, tick in done if r == row]
        assert applied == list(range(1, len(applied) + 1))
    assert not world.core._scheduler._open
    assert not world.core._populations.get("0" * 16).busy.any()


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"first": 99, "count": 2}, "unknown_agent", "agents"),
        ({"count": 0}, "too_large", "count"),
        ({"count": 70_000}, "too_large", "count"),
        ({"agents": [1, 2, 1], "count": 3}, "invalid_argument", "agents"),
        ({"agents": [1, 200], "count": 2}, "unknown_agent", "agents"),
        ({"tick": 0}, "invalid_argument", "tick"),
        ({"tick": None}, "malformed_message", "tick"),
        ({"uid": "f" * 16}, "unknown_population", "population"),
        ({"want": 1 << 20}, "invalid_argument", "want"),
        ({"arrays": {"observations": np.full((1, 2), 9, np.int8)}}, "invalid_observation", "observations"),
        ({"arrays": {"observations": np.zeros((2, 2), np.int8)}}, "malformed_message", "observations"),
        ({"arrays": {"observations": np.zeros((1, 3), np.int8)}}, "invalid_observation", "observations"),
        ({"arrays": {"observations": np.zeros((1, 2), np.float32)}}, "malformed_message", "observations"),
        ({"arrays": {"mystery": np.zeros(1)}}, "malformed_message", "arrays"),
        ({"arrays": {"reset": np.full(1, 2, np.uint8)}}, "invalid_argument", "reset"),
        ({"arrays": {"reset": np.zeros(2, np.uint8)}}, "malformed_message", "reset"),
        ({"arrays": {"executed_actions": np.full((1, 2), 4, np.int32)}}, "invalid_argument", "executed_actions"),
        ({"arrays": {"executed_actions": np.zeros((1, 2), np.int64)}}, "malformed_message", "executed_actions"),
    ],
)
def test_bad_input_is_refused_whole_and_the_next_good_step_works(change, code, field):
    world = World()
    client = world.client()
    request = world.step(client, **change)
    world.settle()
    told = world.answer(request)
    assert (error(told).code, told.header.field) == (code, field)
    assert not world.applied
    good = world.step(client)
    world.settle()
    assert world.answer(good).command is Command.STEPPED


def test_agents_that_were_removed_are_refused_and_those_beside_them_served():
    mice = population(rows=10)
    world = World([mice])
    mice.update(mice.info, np.array([[0, 3], [5, 10]]), {})
    client = world.client()
    for change, index, number in (
        ({"first": 2, "count": 2}, 1, 3),
        ({"first": 4, "count": 1}, 0, 4),
        ({"agents": [9, 0, 4], "count": 3}, 2, 4),
    ):
        request = world.step(client, **change)
        world.settle()
        told = world.answer(request)
        assert error(told).code == "unknown_agent"
        assert (tuple(told.header.index), told.header.value) == ((index,), str(number))
    for change in ({"first": 0, "count": 3}, {"agents": [9, 5], "count": 2}):
        request = world.step(client, **change)
        world.settle()
        assert world.answer(request).command is Command.STEPPED


def test_a_quarantine_stops_what_waits_and_is_told():
    world = World([population(rows=1000)], workers=1)
    client, other = world.client(), world.client()
    poison = world.step(client, count=500)
    waiting = world.step(other, first=100)
    for i in range(3):
        world.pump()
        world.kill(next(iter(world.workers.values())))
        world.add_worker(f"again_{i}")
    world.settle()
    told = world.answer(poison)
    assert error(told).code == "worker_crashed"
    assert set(told.arrays["applied"]) <= {Applied.UNKNOWN, Applied.NO}
    assert error(world.answer(waiting)).code == "quarantined"
    assert not world.applied
    changed = [event for event in world.events if isinstance(event, events.PopulationChanged)]
    assert [event.info.quarantined for event in changed] == [True]


def test_a_quarantine_ends_what_was_lost_and_is_not_run_again_yet():
    world = World([population(rows=1000)], workers=1)
    poison = world.step(world.client(), count=50)
    for i in range(2):
        world.pump()
        world.kill(next(iter(world.workers.values())))
        world.add_worker(f"again_{i}")
    (with_poison,) = world.workers.values()
    another = world.add_worker("another")
    innocent = world.step(world.client(), first=100)
    world.pump()
    assert with_poison.inbox
    assert another.inbox
    world.kill(another)
    world.kill(with_poison)
    world.add_worker("last")
    world.settle()
    assert error(world.answer(poison)).code == "worker_crashed"
    told = world.answer(innocent)
    assert error(told).code == "worker_crashed"
    assert told.arrays["applied"].tolist() == [Applied.UNKNOWN]
    assert not world.applied


def test_a_retry_extends_the_deadline_of_what_it_joins():
    world = World(workers=0)
    client = world.client()
    request = world.step(client, deadline_ms=100)
    world.now_s += 0.09
    world.step(client, request=request, deadline_ms=60_000, attempt=1)
    world.now_s += 1
    world.core.tick(world.now_s, 0.0)
    world.add_worker("worker_00")
    world.settle()
    assert world.answer(request).command is Command.STEPPED


def test_an_error_says_which_attempt_it_ended():
    world = World(workers=0)
    client = world.client()
    request = world.step(client, deadline_ms=10, attempt=3)
    world.now_s += 1
    world.core.tick(world.now_s, 0.0)
    world.pump()
    assert error(world.answer(request)).attempt == 3


def test_a_removal_that_was_done_and_is_sent_again_reaches_the_worker():
    world = World()
    client = world.client()
    world.core._populations.get("0" * 16).live[3] = False
    request = secrets.token_bytes(16)
    header = m.RemoveAgents(id=request, deadline_ms=60_000, population="0" * 16)
    world.send(client, Command.REMOVE_AGENTS, header, {"agents": np.array([3], np.uint32)})
    world.pump()
    assert any(work.kind is Command.REMOVE_AGENTS for w in world.workers.values() for work, _ in w.inbox)


def test_an_unknown_model_is_measured_on_one_tile_before_it_is_given_more():
    world = World([population(rows=50_000)], workers=2)
    world.step(world.client(), count=50_000)
    world.pump()
    assert all(part.count <= 64 for w in world.workers.values() for work, _ in w.inbox for part in work.parts)


@pytest.mark.parametrize("ns_per_agent", [100, 450, 5000])
def test_a_measured_chunk_is_cut_evenly_over_the_workers_from_the_first_piece_on(ns_per_agent):
    world = World([population(rows=10_000, durability="disk")], workers=2)  # of which two workers share nothing
    world.core._populations.get("0" * 16).record(STEPS, 10_000, 10_000 * ns_per_agent, world.now_s)
    world.step(world.client(), count=10_000)
    world.pump()
    loads = [sum(part.count for work, _ in w.inbox for part in work.parts) for w in world.workers.values()]
    assert sum(loads) == 10_000 or ns_per_agent == 5000
    assert max(loads) - min(loads) <= 4 * 64


def test_batches_are_longer_where_for_a_while_nobody_has_asked_for_little():
    world = World([population(rows=60_000), population(uid="1" * 16, name="few")], workers=2)
    for uid in ("0" * 16, "1" * 16):
        world.core._populations.get(uid).record(STEPS, 10_000, 10_000_000, world.now_s)  # 1 us an agent
    many, one = world.client(), world.client()

    def longest_ms():
        world.step(many, count=60_000)
        world.pump()
        works = [work for worker in world.workers.values() for work, _ in worker.inbox]
        world.settle()
        return max(sum(part.count for part in work.parts) for work in works) / 1000

    assert 7 < longest_ms() <= 8.1
    world.step(one, uid="1" * 16, count=1)
    world.settle()
    assert 1.5 < longest_ms() <= 2.1
    world.now_s += ASKS_AGAIN_S / 2
    assert longest_ms() <= 2.1
    world.now_s += ASKS_AGAIN_S
    assert longest_ms() > 7


def agents_handed_out(world):
    """Let all workers work until nothing is left to do; how many agents each batch had."""
    agents = {}
    while True:
        world.pump()
        busy = [worker for worker in world.workers.values() if worker.inbox]
        if not busy:
            return [agents[batch] for batch in sorted(agents)]
        for worker in busy:
            work, _ = worker.inbox[0]
            agents[work.batch] = sum(part.count for part in work.parts)
            worker.run_one()


def test_long_batches_get_smaller_toward_the_end_of_what_was_asked():
    world = World([population(rows=60_000, durability="disk")], workers=2)
    world.core._populations.get("0" * 16).record(STEPS, 10_000, 10_000_000, world.now_s)  # 1 us an agent
    request = world.step(world.client(), count=60_000)
    handed_out = agents_handed_out(world)
    assert sum(handed_out) == 60_000
    assert handed_out[0] == 8000
    assert all(later <= earlier for earlier, later in itertools.pairwise(handed_out))
    assert handed_out[-1] <= 2048
    assert world.answer(request).command is Command.STEPPED


def test_what_one_worker_does_alone_is_not_cut_smaller():
    world = World([population(rows=12_000)], workers=1)
    world.core._populations.get("0" * 16).record(STEPS, 10_000, 10_000_000, world.now_s)  # 1 us an agent
    world.step(world.client(), count=12_000)
    assert agents_handed_out(world) == [8000, 4000]


def test_what_goes_along_with_another_goes_whole_where_nobody_knows_how_long_it_takes():
    world = World([population(rows=100), population(uid="1" * 16, name="unknown", rows=300)], workers=1)
    world.core._populations.get("0" * 16).record(STEPS, 10_000, 10_000_000, world.now_s)  # 1 us an agent
    first, second = world.client(), world.client()
    world.step(first, count=50)
    world.step(second, uid="1" * 16, count=200)
    assert agents_handed_out(world) == [50, 200]


def test_long_batches_stay_long_as_long_as_something_else_waits():
    kept = {"rows": 60_000, "durability": "disk"}
    world = World([population(**kept), population(uid="1" * 16, name="more", **kept)], workers=2)
    for uid in ("0" * 16, "1" * 16):
        world.core._populations.get(uid).record(STEPS, 10_000, 10_000_000, world.now_s)  # 1 us an agent
        world.step(world.client(), uid=uid, count=60_000)
    handed_out = agents_handed_out(world)
    assert sum(handed_out) == 120_000
    assert sum(agents for agents in handed_out if agents > 6900) > 90_000
    assert handed_out[-1] <= 2048


def test_a_worker_is_given_its_work_before_the_message_to_the_next_is_made():
    world = World([population(rows=10_000)], workers=2)
    world.core._populations.get("0" * 16).record(STEPS, 10_000, 1_000_000, world.now_s)
    world.step(world.client(), count=10_000)
    world.core.take_actions()
    assert world.core.dispatch(world.now_s)
    assert sum(isinstance(action, SendWorker) for action in world.core.take_actions()) == 1
    assert world.core.help(world.now_s)
    assert sum(isinstance(action, SendWorker) for action in world.core.take_actions()) == 1
    assert not world.core.help(world.now_s)


def test_a_worker_is_given_what_waits_before_the_answer_to_the_last_is_made():
    world = World(workers=1)
    first = world.step(world.client())
    world.pump()
    second = world.step(world.client(), tick=2)  # of the same agent, which is free again as soon as it has a result
    world.pump()
    (worker,) = world.workers.values()
    worker.run_one()
    assert world.core.dispatch(world.now_s)
    given = world.core.take_actions()
    assert any(isinstance(action, SendWorker) for action in given)
    assert not any(isinstance(action, SendClient) for action in given)
    world.core.answer()
    (answer,) = [action for action in world.core.take_actions() if isinstance(action, SendClient)]
    assert decode([bytes(frame) for frame in answer.frames]).header.id == first != second


def test_long_batches_leave_something_for_workers_that_are_busy_as_yet():
    kept = {"rows": 60_000, "durability": "disk"}
    world = World([population(**kept), population(uid="1" * 16, name="slow")], workers=16)
    world.core._populations.get("0" * 16).record(STEPS, 10_000, 10_000_000, world.now_s)  # 1 us an agent
    for number in range(15):
        world.step(world.client(), uid="1" * 16, first=number, count=1)
        world.pump()
    assert sum(bool(worker.inbox) for worker in world.workers.values()) == 15
    world.now_s += ASKS_AGAIN_S + 1
    world.step(world.client(), count=32_000)
    world.pump()
    others = [worker for worker in world.workers.values() if worker.inbox and worker.inbox[0][0].population == "1" * 16]
    assert len(others) == 15
    for worker in others:
        worker.run_one()
    world.pump()
    loads = [sum(part.count for work, _ in w.inbox for part in work.parts) for w in world.workers.values()]
    assert sum(loads) == 32_000
    assert sum(load > 0 for load in loads) >= 15  # the one that was free has two batches


def test_a_batch_is_no_longer_than_its_answer_may_be():
    large = msgspec.structs.replace(INFO, num_states=(1000,))
    world = World([population(rows=60_000, model=large)], workers=1)
    beliefs = int(Want.BELIEFS)
    mice = world.core._populations.get("0" * 16)
    mice.record(cost_key(Command.STEP, beliefs), 10_000, 1_000_000, world.now_s)  # 0.1 us an agent
    world.step(world.client(), count=15_000, want=beliefs)
    world.pump()
    counts = [part.count for w in world.workers.values() for work, _ in w.inbox for part in work.parts]
    assert counts
    assert max(counts) * mice.row_bytes(beliefs) <= MOST_ANSWER_BYTES + TILE_AGENTS * mice.row_bytes(beliefs)


def test_one_agent_of_a_slow_model_counts_as_asking_for_little():
    world = World([population(rows=60_000), population(uid="1" * 16, name="slow")], workers=2)
    world.core._populations.get("0" * 16).record(STEPS, 10_000, 10_000_000, world.now_s)
    world.core._populations.get("1" * 16).record(STEPS, 10_000, 1_600_000_000, world.now_s)
    world.step(world.client(), uid="1" * 16, count=1)
    world.settle()
    world.step(world.client(), count=60_000)
    world.pump()
    works = [work for worker in world.workers.values() for work, _ in worker.inbox]
    assert works
    assert all(part.count <= 2048 for work in works for part in work.parts)


def test_pieces_grow_once_agents_turn_out_to_be_quick():
    world = World([population(rows=50_000)], workers=2)
    world.step(world.client(), count=50_000)
    world.settle()
    assert world.core._foreman.counters["batches"] < 40


def test_a_job_over_another_population_is_not_lost_behind_a_step_that_waits():
    """Of two clients that ask alike one has to wait for its agent; what it asked next was begun for nothing once."""
    world = World([population(), population("1" * 16, "rats")], workers=1)
    first, second, third = (world.client() for _ in range(3))
    world.step(third, first=0, attempt=1)  # of which no form is made: all take their turns
    world.pump()
    world.step(second, first=1)
    waiting = world.step(first, first=0, tick=2)
    job = m.Checkpoint(id=secrets.token_bytes(16), deadline_ms=1000, population="1" * 16)
    world.send(first, Command.CHECKPOINT, job)
    world.pump()
    world.settle()
    assert world.answer(waiting).command is Command.STEPPED
    assert world.answer(job.id)
    assert not world.core.open_requests
    assert not world.core._populations.get("1" * 16).exclusive
