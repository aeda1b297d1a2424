"""Two workers take one piece from both its ends: which pieces, when, and what is left where one of them dies."""

import gc
import weakref

import pytest
from broker_world import STEPS, World, population

from beliefd_broker.population import TILE_AGENTS
from beliefd_proto import Applied, Command, encode
from beliefd_proto import messages as m
from beliefd_proto.error_message import to_header
from beliefd_proto.errors import InvalidArgument
from beliefd_service.tallies import TALLIES

AGENTS = 2000
NS = 1000
"""What an agent takes: all of them two milliseconds."""


def world_of(workers=2, populations=1, **change):
    """A world whose populations' pace is known, with its first client."""
    made = [population(uid=str(i) * 16, name=f"mice-{i}", rows=AGENTS, **change) for i in range(populations)]
    world = World(made, workers=workers)
    for each in made:
        each.record(STEPS, AGENTS, AGENTS * NS, world.now_s)
    return world, world.client()


def in_hand(world):
    """What each worker has: ``(population, agents, from_end)`` of its batches."""
    return [
        [(work.population, sum(part.count for part in work.parts), work.from_end) for work, _ in worker.inbox]
        for worker in world.workers.values()
    ]


def test_an_idle_worker_takes_a_piece_that_another_has_from_its_end():
    world, client = world_of()
    request = world.step(client, count=AGENTS)
    world.pump()
    assert in_hand(world) == [[("0" * 16, AGENTS, False)], [("0" * 16, AGENTS, True)]]
    first, second = world.workers.values()
    assert first.run_one(tiles=5) == 5 * TILE_AGENTS
    world.pump()
    assert not world.answers[1:]
    assert second.run_one() == AGENTS - 5 * TILE_AGENTS
    world.pump()
    answer = world.answer(request)
    assert answer.command is Command.STEPPED
    assert answer.arrays["actions"][:, 0].tolist() == [agent % 4 for agent in range(AGENTS)]
    assert len(world.applied) == AGENTS


def test_who_is_done_with_all_of_it_answers_and_its_agents_go_on_while_the_other_has_not_looked():
    world, client = world_of()
    request = world.step(client, count=AGENTS)
    world.pump()
    first, second = world.workers.values()
    first.run_one(tiles=AGENTS)
    world.pump()
    assert world.answer(request).command is Command.STEPPED
    following = world.step(client, count=AGENTS, tick=2)
    world.pump()
    assert len(first.inbox) == 1
    assert second.run_one() == 0
    world.settle()
    assert world.answer(following).command is Command.STEPPED
    assert len(world.applied) == 2 * AGENTS


def test_what_waits_comes_before_help():
    world, client = world_of(populations=2)
    other = world.client()
    world.step(client, count=AGENTS)
    world.step(other, uid="1" * 16, count=AGENTS)
    world.pump()
    assert in_hand(world) == [[("0" * 16, AGENTS, False)], [("1" * 16, AGENTS, False)]]


def test_an_idle_worker_helps_later_with_what_is_left_enough_of():
    world, client = world_of(populations=2)
    other = world.client()
    world.step(client, count=AGENTS)
    world.step(other, uid="1" * 16, count=AGENTS)
    world.pump()
    first, _ = world.workers.values()
    world.now_s += 0.001
    first.run_one()
    world.pump()
    assert in_hand(world) == [[("1" * 16, AGENTS, True)], [("1" * 16, AGENTS, False)]]


@pytest.mark.parametrize(("agents", "passed_s"), [(TILE_AGENTS, 0.0), (300, 0.0), (AGENTS, 0.0018)])
def test_nobody_helps_with_what_will_be_done_before_the_helper_has_begun(agents, passed_s):
    world, client = world_of(workers=1)
    world.step(client, count=agents)
    world.pump()
    world.now_s += passed_s
    helper = world.add_worker("late")
    world.pump()
    assert not helper.inbox


@pytest.mark.parametrize("change", [{"durability": "disk"}])
def test_what_is_journalled_batch_by_batch_is_cut_instead(change):
    world, client = world_of(**change)
    world.step(client, count=AGENTS)
    world.pump()
    assert sorted(agents for batches in in_hand(world) for _, agents, _ in batches) == [976, 1024]
    assert all(work.tally is None for worker in world.workers.values() for work, _ in worker.inbox)


def test_of_many_workers_two_and_two_share():
    world, client = world_of(workers=4)
    world.step(client, count=AGENTS)
    world.pump()
    assert sorted(batch for batches in in_hand(world) for batch in batches) == [
        ("0" * 16, 976, False),
        ("0" * 16, 976, True),
        ("0" * 16, 1024, False),
        ("0" * 16, 1024, True),
    ]


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_what_a_dead_worker_had_taken_is_run_again_alone_once_the_other_has_ended(victim, written, before):
    world, client = world_of()
    request = world.step(client, count=AGENTS)
    world.pump()
    workers = list(world.workers.values())
    dies, lives = workers[victim], workers[1 - victim]
    if not before:
        lives.run_one(tiles=10)
    if written:
        dies.run_one(answer=False, tiles=7)
    elif before:
        tally = dies.inbox[0][0].tally
        world.tallies[tally] += 7  # counted, and not done
    world.kill(dies)
    world.pump()
    if before:
        assert not world.core.workforce.lost
        lives.run_one()
        world.pump()
    (again,) = lives.inbox
    assert again[0].tally is None
    world.settle()
    assert world.answer(request).command is Command.STEPPED
    assert len(world.applied) == AGENTS
    assert world.core._foreman.counters["retried_batches"] == 1


def test_two_that_die_while_they_share_are_one_death_and_the_third_is_the_last():
    """No agent was in the hands of both."""
    world, client = world_of()
    request = world.step(client, count=AGENTS)
    world.pump()
    for worker in list(world.workers.values()):
        world.kill(worker)
        world.add_worker(f"after-{worker.name}")
    for _ in range(2):
        assert not world.quarantined
        (last,) = (worker for worker in world.workers.values() if worker.inbox)
        world.kill(last)
        world.settle(run=False)
    answer = world.answer(request)
    assert answer.header.code == "worker_crashed"
    assert set(answer.arrays["applied"]) == {Applied.UNKNOWN}
    assert world.quarantined == {"0" * 16: True}


def test_one_that_took_little_does_not_make_agents_slow():
    world, client = world_of()
    world.step(client, count=AGENTS)
    world.pump()
    first, second = world.workers.values()
    world.agent_ns = 100 * NS
    first.run_one(tiles=1)
    world.agent_ns = NS
    second.run_one()
    world.pump()
    (mice,) = world.core._populations
    assert NS < mice.predicted_ns(STEPS, AGENTS) / 2048 < 4 * NS


def test_a_stop_does_not_wait_for_who_has_nothing_left_to_do():
    world, client = world_of()
    world.step(client, count=AGENTS)
    world.pump()
    first, second = world.workers.values()
    first.run_one(tiles=AGENTS)
    world.core.drain()
    world.pump()
    assert second.inbox
    assert world.core.drained
    world.kill(second)
    assert not world.core._foreman.counters["retried_batches"]


@pytest.mark.parametrize("workers", [3, 4, 5, 8, 16])
def test_with_more_than_two_workers_all_are_busy(workers):
    world, client = world_of(workers=workers)
    world.step(client, count=AGENTS)
    world.pump()
    assert sum(bool(worker.inbox) for worker in world.workers.values()) >= min(workers, 8)  # of 200 us each and more


def test_where_somebody_asks_for_little_no_worker_has_a_piece_for_two_alone():
    """Each has one of its own as long as there are enough, and the last one is shared."""
    world = World([population(rows=60_000), population(uid="1" * 16, name="few")])
    for each in world.core._populations:
        each.record(STEPS, AGENTS, AGENTS * NS, world.now_s)
    few, many = world.client(), world.client()
    world.step(few, uid="1" * 16, count=1)
    world.settle()
    world.step(many, count=60_000)
    world.pump()
    seen = set()
    while any(worker.inbox for worker in world.workers.values()):
        seen |= {batch for batches in in_hand(world) for batch in batches}
        next(worker for worker in world.workers.values() if worker.inbox).run_one()
        world.pump()
    assert all(agents <= 2048 for _, agents, _ in seen)
    assert any(from_end for _, _, from_end in seen)


def test_what_waits_behind_a_piece_for_two_is_one_piece_for_two_again():
    """A call of several requests, alone: each goes out once, and the two end together without being cut smaller."""
    world = World([population(rows=12_000)], workers=2)
    for each in world.core._populations:
        each.record(STEPS, AGENTS, AGENTS * NS, world.now_s)
    world.now_s += 60.0  # nobody has asked for little
    client = world.client()
    for first in (0, 6_000):
        world.step(client, first=first, count=6_000)
    world.pump()
    pieces = sorted(batch[1:] for batches in in_hand(world) for batch in batches)
    assert pieces[:2] == [(6_000, False), (6_000, False)]
    assert pieces[2:] in ([], [(6_000, True)])


def test_another_clients_agents_are_not_put_into_what_two_shall_share():
    world, client = world_of()
    other = world.client()
    world.step(client, count=1500)
    world.step(other, first=1500, count=1)
    world.pump()
    assert sorted(agents for batches in in_hand(world) for _, agents, _ in batches) in ([1, 1500], [1, 1500, 1500])


def test_an_error_of_one_is_that_of_the_agents_that_the_other_did_not_do():
    world, client = world_of()
    request = world.step(client, count=AGENTS)
    world.pump()
    first, second = world.workers.values()
    work, _ = first.inbox.popleft()
    error = to_header(InvalidArgument("no room", field="agents"), bytes(16))
    world.tallies[work.tally] += 3
    world.from_worker(first, encode(Command.RESULT, m.Result(epoch=1, batch=work.batch, error=error)))
    world.pump()
    second.run_one()
    world.settle()
    answer = world.answer(request)
    assert answer.header.code == "invalid_argument"
    applied = answer.arrays["applied"]
    assert (applied[: 3 * TILE_AGENTS] == Applied.UNKNOWN).all()
    assert (applied[3 * TILE_AGENTS :] == Applied.YES).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_of_what_was_shared_stays_until_the_garbage_collector_comes(workers):
    """The broker's comes seldom, and the arrays of many calls would pile up."""
    world, client = world_of(workers=workers)
    gc.collect()
    gc.disable()
    try:
        chunk = weakref.ref(world.core._desk.request(world.step(client, count=AGENTS)))
        assert chunk() is not None
        world.settle()
        assert chunk() is None
    finally:
        gc.enable()


def test_counts_are_used_again_and_where_none_is_left_pieces_go_out_alone():
    world, client = world_of(workers=1)
    for tick in range(1, 2 * TALLIES):
        world.step(client, count=AGENTS, tick=tick)
        world.settle()
    assert len(world.applied) == AGENTS * (2 * TALLIES - 1)
    world.core._foreman._sharing._free.clear()
    request = world.step(client, count=AGENTS, tick=2 * TALLIES)
    world.settle()
    assert world.answer(request).command is Command.STEPPED
