"""What the broker asks for by itself: rebuilding before anything else, and checkpoints when they are due."""

import secrets

import msgspec
import numpy as np
import pytest
from broker_world import World, population

from beliefd_broker.population import Population
from beliefd_broker.upkeep import RETRY_S, Upkeep
from beliefd_proto import Command, encode
from beliefd_proto import messages as m
from beliefd_proto.error_message import to_header
from beliefd_proto.errors import CorruptStore, DiskFull, PopulationExists

UID = "0" * 16
MIB = 2**20
REBUILT = m.Rebuilt(why="restarted", time_s=1.0, steps=7, damaged_bytes=3, steps_lost=2)


def info(**change):
    return msgspec.structs.replace(population().info, **change)


def world(durability="disk", stale=False):
    made = Population(info(durability=durability), np.array([[0, 100]]), {}, stale=stale)
    return World([made], upkeep=Upkeep(1, journal_bytes=MIB, checkpoint_s=300.0))


def in_hands(w, kind=None):
    """The batches in workers' hands, of a kind or of all."""
    found = [(worker, work) for worker in w.workers.values() for work, _ in worker.inbox]
    return [(worker, work) for worker, work in found if kind is None or work.kind is kind]


def end(w, held, error=None, **fields):
    """Have a worker end a job."""
    worker, work = held
    worker.inbox = type(worker.inbox)(item for item in worker.inbox if item[0] is not work)
    told = None if error is None else to_header(error, work.parts[0].id)
    result = m.Result(epoch=work.epoch, batch=work.batch, error=told, **fields)
    arrays = {"members": np.array([[0, 100]])} if "info" in fields else {}
    w.core.worker_message(worker.incarnation, encode(Command.RESULT, result, arrays), w.now_s, w.now_s)
    w.pump()


def stepped(w, client, tick, journal_bytes=0):
    """A step of one agent, and what its worker says of its journal; returns the batch."""
    request = w.step(client, tick=tick)
    w.pump()
    ((worker, work),) = in_hands(w, Command.STEP)
    worker.inbox.clear()
    w.in_hands.clear()
    result = m.Result(epoch=work.epoch, batch=work.batch, journal_bytes=journal_bytes)
    frames = encode(Command.RESULT, result, {"actions": np.zeros((1, 2), np.int8)})
    w.core.worker_message(worker.incarnation, frames, w.now_s, w.now_s)
    w.pump()
    assert w.answer(request).command is Command.STEPPED
    return work


def pass_time(w, seconds):
    w.now_s += seconds
    for worker in w.workers.values():
        worker.hello()
    w.core.tick(w.now_s, w.now_s)
    w.pump()


def test_nothing_is_begun_with_a_population_that_waits_to_be_rebuilt():
    w = world(stale=True)
    client = w.client()
    step = w.step(client, count=5)
    drop = secrets.token_bytes(16)
    w.send(w.client(), Command.DROP, m.Drop(id=drop, deadline_ms=60_000, population=UID))
    w.pump()
    (recovery,) = in_hands(w)
    assert recovery[1].kind is Command.RECOVER
    end(w, recovery, info=info(durability="disk", rebuilt=REBUILT))
    (line,) = [log for log in w.logs if log.event == "population_rebuilt"]
    assert (line.level, line.fields["steps_lost"], line.fields["damaged_bytes"]) == ("error", 2, 3)
    assert "damaged" in line.fields["lost"]
    assert w.events[-1].info.rebuilt == REBUILT
    assert in_hands(w)
    assert Command.RECOVER not in {work.kind for _, work in in_hands(w)}
    assert not [message for _, message in w.answers if message.header.id in (step, drop)]


def test_a_population_whose_recovery_waits_its_turn_waits_too():
    many = [Population(info(uid=f"{i:016}", name=f"mice{i}"), np.array([[0, 100]]), {}, stale=True) for i in range(5)]
    w = World([], workers=2)
    clients = [w.client() for _ in many]
    w.core.adopt(many)
    for made, client in zip(many, clients, strict=True):
        w.step(client, uid=made.info.uid)
    w.pump()
    assert {work.kind for _, work in in_hands(w)} == {Command.RECOVER}


def test_a_recovery_whose_worker_dies_is_run_again():
    w = world(stale=True)
    w.pump()
    ((worker, work),) = in_hands(w)
    w.kill(worker)
    w.pump()
    ((_, again),) = in_hands(w)
    assert (again.kind, again.parts[0].id) == (Command.RECOVER, work.parts[0].id)


def test_what_cannot_be_rebuilt_keeps_its_name_and_says_why():
    w = world(stale=True)
    client = w.client()
    waiting = w.step(client)
    w.pump()
    end(w, in_hands(w)[0], error=CorruptStore("no checkpoint is whole"))
    assert w.answer(waiting).header.code == "corrupt_store"
    later = w.step(client)
    w.pump()
    assert "no checkpoint is whole" in w.answer(later).header.message
    assert not in_hands(w)


def test_steps_are_journalled_behind_the_last_checkpoint_which_is_made_when_the_journal_is_long():
    w = world()
    client = w.client()
    assert stepped(w, client, 1, MIB - 1).generation == 0
    pass_time(w, 1.0)
    assert not in_hands(w)
    stepped(w, client, 2, 1)
    pass_time(w, 1.0)
    ((worker, work),) = in_hands(w)
    assert work.kind is Command.CHECKPOINT
    pass_time(w, 1.0)
    assert len(in_hands(w)) == 1, "one at a time"
    end(w, (worker, work), first=3)
    assert stepped(w, client, 3).generation == 3
    pass_time(w, 1000.0)
    assert not in_hands(w)


def test_without_a_journal_a_checkpoint_is_made_after_a_while_of_stepping():
    w = world("process")
    pass_time(w, 1000.0)
    assert not in_hands(w)
    stepped(w, w.client(), 1)
    pass_time(w, 1.0)
    pass_time(w, 299.0)
    assert not in_hands(w)
    pass_time(w, 2.0)
    end(w, in_hands(w, Command.CHECKPOINT)[0], first=1)
    pass_time(w, 1000.0)
    assert not in_hands(w), "nothing was stepped since"


def test_a_checkpoint_that_fails_is_tried_again_later():
    w = world()
    stepped(w, w.client(), 1, MIB)
    pass_time(w, 1.0)
    end(w, in_hands(w)[0], error=DiskFull("no room"))
    pass_time(w, 1.0)
    assert not in_hands(w)
    pass_time(w, RETRY_S)
    ((_, work),) = in_hands(w)
    assert work.kind is Command.CHECKPOINT


@pytest.mark.parametrize("kind", ["fork", "restore"])
def test_a_population_made_of_another_is_served_under_its_own_name_and_made_once(kind):
    w = world()
    client, request = w.client(), secrets.token_bytes(16)

    def ask(name, request):
        common = {"id": request, "deadline_ms": 60_000, "name": name}
        if kind == "fork":
            w.send(client, Command.FORK, m.Fork(population=UID, at_tick=4, **common))
        else:
            w.send(client, Command.RESTORE, m.Restore(snapshot="kept", **common))
        w.pump()

    ask("rats", request)
    other = secrets.token_bytes(16)
    ask("rats", other)
    (held,) = in_hands(w)
    uid = m.population_uid(request)
    end(w, held, info=info(uid=uid, name="rats", durability="disk"))
    assert w.answer(request).header.info.name == "rats"
    assert w.answer(other).header.code == PopulationExists.code
    w.answers.clear()
    ask("rats", request)
    assert w.answer(request).header.info.uid == uid
    w.step(client, uid=uid)
    w.pump()
    ((_, work),) = in_hands(w, Command.STEP)
    assert work.generation == 1


def test_a_recovery_is_nothing_that_clients_ask_for():
    w = world()
    request = secrets.token_bytes(16)
    w.send(w.client(), Command.RECOVER, m.Recover(id=request, deadline_ms=1000, population=UID))
    w.pump()
    assert w.answer(request).header.code == "malformed_message"
