"""Which messages are known without being decoded, and which are left to the usual way."""

import secrets

import msgspec
import numpy as np
import pytest
from broker_world import INFO, STEPS, World, population

from beliefd_broker.desk import SESSION_IDLE_S
from beliefd_broker.gathering import _AMPLE_MS, _LEARN_EVERY_S, _MOST_CROWDS, _MOST_OF_A_SIZE, _MOST_SIZES
from beliefd_proto import Command, Want, encode
from beliefd_proto import messages as m
from beliefd_proto.form import Form

UID = "0" * 16
ZEROS = np.zeros((1, 2), np.int8)
WIDE = msgspec.structs.replace(INFO, num_obs=(2,) * 300)


def world_of(*populations, **core):
    return World(list(populations) or [population()], workers=1, **core)


def gathering(world):
    return world.core._gathering


def forms(world):
    return [form for known in gathering(world)._forms.values() for form in known]


def step(request=None, observations=ZEROS, arrays=None, **change):
    """The frames of a step as a client may send them."""
    header = m.Step(id=request or secrets.token_bytes(16), deadline_ms=60_000, population=UID, count=1, first=0, tick=1)
    header = msgspec.structs.replace(header, **change)
    return encode(Command.STEP, header, {"observations": observations} | (arrays or {}))


def said(world, route, frames):
    """What is answered to a message at once."""
    before = len(world.answers)
    world.core.client_message(route, frames, world.now_s)
    world.pump()
    return [message for _, message in world.answers[before:]]


def taught(world, *messages):
    """A client of which these were accepted, one after the other and late enough for each to be learned."""
    route = world.client()
    for frames in messages or [step(first=90)]:
        world.core.client_message(route, frames, world.now_s)
        world.settle()
        world.now_s += 2 * _LEARN_EVERY_S
    return route


def is_taken(world, route, frames):
    """Whether it joins a crowd; it is done then."""
    world.core.client_message(route, frames, world.now_s)
    taken = len(gathering(world)) > 0
    world.settle()
    return taken


def test_what_is_like_an_accepted_step_is_taken():
    world = world_of()
    route = taught(world)
    assert len(forms(world)) == 1
    assert is_taken(world, route, step())
    assert is_taken(world, route, step(first=1))
    world.core.client_message(route, step(tick=2), world.now_s)
    world.core.client_message(route, step(tick=3), world.now_s)  # the usual way, since its agent is busy
    world.settle()
    assert len(world.applied) == 5
    assert len(forms(world)) == 1


@pytest.mark.parametrize(
    "odd",
    [
        {"count": 2, "observations": np.zeros((2, 2), np.int8)},
        {"first": None, "arrays": {"agents": np.array([1], np.uint32)}},
        {"tick": None, "arrays": {"ticks": np.array([1], np.int64)}},
        {"attempt": 1},
        {"arrays": {"reset": np.ones(1, np.uint8)}},
    ],
)
def test_what_is_accepted_and_is_no_plain_step_of_an_agent_is_not_learned(odd):
    world = world_of()
    route = taught(world, step(**odd))
    assert world.answers[-1][1].command is Command.STEPPED
    assert not forms(world)
    assert not is_taken(world, route, step(**({"first": 5} | odd)))


def test_a_step_in_several_frames_is_not_learned():
    world = world_of(population(model=WIDE))
    frames = step(observations=np.zeros((1, 300), np.int8))
    assert len(frames) == 2
    taught(world, frames)
    assert not forms(world)


def test_neither_no_frames_nor_one_more_make_a_step():
    world = world_of()
    route = taught(world)
    assert said(world, route, [])[0].header.code == "malformed_message"
    assert said(world, route, [*step(), b""])[0].header.code == "malformed_message"
    assert not world.applied[1:]


@pytest.mark.parametrize(
    "change",
    [
        {"observations": np.zeros((0, 2), np.int8)},
        {"observations": np.full((2, 2), 2, np.int8)},
        {"want": 1 << 20},
        {"want": int(Want.LEARNED)},
        {"want": -5},
    ],
)
def test_nothing_is_learned_of_what_repeats_an_open_request_and_is_not_checked(change):
    world = world_of()
    route, honest = world.client(), world.client()
    request = secrets.token_bytes(16)
    world.core.client_message(route, step(request, attempt=1), world.now_s)  # which is not learned
    world.pump()
    world.now_s += 1
    world.core.client_message(route, step(request, **change), world.now_s)
    assert not forms(world)
    world.settle()
    world.core.client_message(route, step(first=7, **change), world.now_s)
    world.core.client_message(honest, step(first=8), world.now_s)
    world.settle()
    assert {(agent, tick) for _, agent, tick, _ in world.applied} == {(0, 1), (8, 1)}


def test_nothing_is_learned_of_what_is_refused():
    world = world_of()
    route = taught(world, step(tick=0))
    assert not forms(world)
    assert not is_taken(world, route, step(tick=0, first=3))


def test_each_client_has_one_learned_now_and_then():
    world = world_of()
    routes = [world.client() for _ in range(2)]
    for number, route in enumerate([routes[0], routes[0], routes[1]]):
        world.core.client_message(route, step(first=number, want=1 << number), world.now_s)
        world.settle()
    assert len(forms(world)) == 2
    world.now_s += 2 * _LEARN_EVERY_S
    world.core.client_message(routes[0], step(first=5, want=2), world.now_s)
    world.settle()
    assert len(forms(world)) == 3


def test_of_a_size_the_last_forms_are_known():
    world = world_of()
    wants = [want for want in range(1, 64) if not want & Want.OBSERVATION][: _MOST_OF_A_SIZE + 3]
    for want in wants:
        taught(world, step(first=want, want=want))
    assert len(forms(world)) == _MOST_OF_A_SIZE
    route = world.client()
    assert is_taken(world, route, step(first=70, want=wants[-1]))
    assert is_taken(world, route, step(first=71, want=wants[3]))
    assert not is_taken(world, route, step(first=72, want=wants[2]))


def test_forms_of_many_sizes_are_forgotten():
    made = [
        population(f"{n:016x}", f"p{n}", model=msgspec.structs.replace(INFO, num_obs=(2,) * n)) for n in range(1, 70)
    ]
    world = world_of(*made)
    for n, each in enumerate(made, 1):
        taught(world, step(observations=np.zeros((1, n), np.int8), population=each.info.uid))
        assert len(gathering(world)._forms) <= _MOST_SIZES
    assert 0 < len(forms(world)) < len(made)


def test_a_long_message_is_no_step_of_an_agent(monkeypatch):
    """Keys that come again and again are accepted; to take such a message apart would take long."""
    [frame] = step()
    keys = 3000
    again = b"\xa5count\x01" * keys
    long = frame[:4] + b"\xde" + (keys + (frame[4] & 0x0F)).to_bytes(2, "big") + again + frame[5:]
    world = world_of()
    monkeypatch.setattr(Form, "of", lambda *_: pytest.fail("it was taken apart"))
    taught(world, [long])
    assert world.answers[-1][1].command is Command.STEPPED


def test_integers_with_a_sign_are_known_too():
    """As other libraries write them."""
    [frame] = step(deadline_ms=60_000)
    signed = frame.replace(b"deadline_ms\xcd\xea\x60", b"deadline_ms\xd2\x00\x00\xea\x60")
    assert len(signed) == len(frame) + 2
    world = world_of()
    route = taught(world, [signed.replace(b"first\x00", b"first\x5a")])
    assert is_taken(world, route, [signed])
    below = signed.replace(b"\xd2\x00\x00\xea\x60", b"\xd2\xff\xff\xea\x60")
    assert said(world, route, [below])[0].header.code == "malformed_message"
    signed = frame.replace(b"first\x00", b"first\xd0\x00")
    route = taught(world, [signed.replace(b"first\xd0\x00", b"first\xd0\x5b")])
    assert is_taken(world, route, [signed.replace(b"first\xd0\x00", b"first\xd0\x5c")])
    assert (
        said(world, route, [signed.replace(b"first\xd0\x00", b"first\xd0\xff")])[0].header.code == "malformed_message"
    )


@pytest.mark.parametrize(("field", "bound"), [("tick", m.MAX_TICK), ("deadline_ms", m.MAX_DEADLINE_MS)])
def test_numbers_beyond_their_bounds_are_refused_by_who_decodes_them(field, bound):
    world = world_of()
    frames = step(first=90, tick=1, deadline_ms=m.MAX_DEADLINE_MS)
    form = Form.of(
        frames[0].replace(b"tick\x01", b"tick\xcf" + (1).to_bytes(8, "big")), ("id", "deadline_ms", "first", "tick")
    )
    wide = form.write(secrets.token_bytes(16), m.MAX_DEADLINE_MS, 90, 1, b"\0\0")
    route = taught(world, [wide])
    values = {"deadline_ms": m.MAX_DEADLINE_MS, "first": 1, "tick": 1} | {field: bound + 1}
    [told] = said(world, route, [form.write(secrets.token_bytes(16), *values.values(), b"\0\0")])
    assert told.header.code == "malformed_message"
    values[field] = bound
    assert is_taken(world, route, [form.write(secrets.token_bytes(16), *values.values(), b"\0\0")])


def test_who_has_no_time_goes_the_usual_way():
    world = world_of()
    route = taught(world, step(first=90, deadline_ms=_AMPLE_MS))
    assert is_taken(world, route, step(deadline_ms=_AMPLE_MS))
    assert not is_taken(world, route, step(first=1, deadline_ms=_AMPLE_MS - 1))


def test_where_an_agent_takes_seconds_nothing_is_begun_that_ends_too_late():
    slow = population()
    world = world_of(slow)
    for _ in range(40):
        slow.record(STEPS, 64, 64 * 40_000_000, world.now_s)  # 40 ms an agent, and whole tiles are run
    world.agent_ns = 40_000_000
    route = taught(world)
    request = secrets.token_bytes(16)
    world.core.client_message(route, step(request, deadline_ms=1500), world.now_s)
    assert not gathering(world)
    world.settle()
    assert world.answer(request).header.code == "deadline_exceeded"


def test_an_answer_that_would_be_too_large_is_refused():
    wide = population("1" * 16, "wide", model=msgspec.structs.replace(INFO, num_states=(2000,)))
    world = world_of(population(), wide, limits=m.Limits(frame_bytes=4096))
    beliefs = int(Want.BELIEFS)
    route = taught(world, step(first=90, want=beliefs))
    assert is_taken(world, route, step(want=beliefs))
    [told] = said(world, route, step(first=1, want=beliefs, population="1" * 16))
    assert told.header.code == "too_large"


def test_crowds_of_many_populations_hold_no_more_than_there_is_room_for():
    made = [population(f"{n:016x}", f"p{n}") for n in range(_MOST_CROWDS)]
    for each in made:
        each.record(STEPS, 100, 100, 100.0)
    limit = 100_000
    world = world_of(*made, limits=m.Limits(open_bytes=limit))
    route, held, crowds = taught(world), [], []
    for n in range(60):
        frames = step(first=n, population=made[n % len(made)].info.uid)
        world.core.client_message(route, frames, world.now_s)
        held.append(world.core._desk._open_bytes)
        crowds.append(len(gathering(world)))
    assert limit / 4 < max(held) <= limit / 2  # who leaves as much as it takes
    assert max(crowds) == len(made)


def test_there_are_no_more_crowds_than_are_worth_it():
    made = [population(f"{n:016x}", f"p{n}") for n in range(_MOST_CROWDS + 1)]
    world = world_of(*made)
    other, route = world.client(), taught(world)
    for each in made[:-1]:
        world.core.client_message(route, step(population=each.info.uid), world.now_s)
    assert len(gathering(world)) == _MOST_CROWDS
    world.core.client_message(other, step(population=made[-1].info.uid), world.now_s)
    assert len(gathering(world)) == len(world.core._desk._members) == _MOST_CROWDS
    world.settle()
    assert len(world.applied) == 2 + _MOST_CROWDS


def test_while_no_worker_has_room_all_go_the_usual_way():
    world = world_of()
    route = taught(world)
    for agent in range(1, 3):
        assert not world.core.client_message(route, step(first=agent), world.now_s)
        assert len(gathering(world)) == 1
        world.pump()
    world.core.client_message(route, step(first=3), world.now_s)  # it has two loads in hand
    assert not gathering(world)
    world.settle()
    assert len(world.applied) == 4


def test_while_a_job_has_a_population_its_steps_go_the_usual_way():
    world = world_of()
    route = taught(world)
    job = m.Checkpoint(id=secrets.token_bytes(16), deadline_ms=60_000, population=UID)
    world.send(route, Command.CHECKPOINT, job)
    world.pump()
    world.core.client_message(route, step(), world.now_s)
    assert not gathering(world)
    world.settle()
    assert len(world.applied) == 2


def test_of_a_quarantined_population_nothing_is_taken():
    world = world_of()
    route = taught(world)
    found = world.core._populations.get(UID)
    world.core.client_message(route, step(), world.now_s)
    found.set_quarantined(True)
    world.settle()
    assert world.answers[-1][1].header.code == "quarantined"
    assert said(world, route, step(first=1))[0].header.code == "quarantined"


@pytest.mark.parametrize("before", [True, False])
def test_when_the_broker_begins_nothing_more_crowds_are_not_begun_either(before):
    world = world_of()
    route = taught(world)
    if before:
        world.core.client_message(route, step(), world.now_s)
    world.core.drain()
    if not before:
        world.core.client_message(route, step(), world.now_s)
    world.settle()
    assert world.core.drained
    assert len(world.applied) == 1


def test_when_the_broker_begins_nothing_more_no_batch_is_filled_up_with_what_is_new():
    world = world_of(population(rows=500))
    first, second = world.client(), world.client()
    begun = world.step(first, count=300)
    world.pump()
    waiting = world.step(second, first=400)
    world.core.drain()
    world.settle()
    assert world.answer(begun).command is Command.STEPPED
    assert not [message for _, message in world.answers if message.header.id == waiting]


def test_who_steps_is_heard():
    world = world_of()
    route = taught(world)
    for tick in (1, 2):
        world.now_s += SESSION_IDLE_S * 0.7
        assert is_taken(world, route, step(tick=tick))
        world.core.tick(world.now_s, world.now_s)
        world.settle()
    assert is_taken(world, route, step(tick=3))


def test_an_id_that_is_open_is_not_taken_again():
    world = world_of(population(), population("1" * 16, "rats"))
    route = taught(world)
    request = secrets.token_bytes(16)
    world.core.client_message(route, step(request), world.now_s)
    world.core.client_message(route, step(request, first=1), world.now_s)
    world.settle()
    assert [agent for _, agent, _, _ in world.applied] == [90, 0]
    world.core.client_message(route, step(request, tick=2, count=1, attempt=1), world.now_s)
    world.pump()
    world.core.client_message(route, step(request, first=2), world.now_s)  # held as a request of its own
    world.settle()
    assert [agent for _, agent, _, _ in world.applied] == [90, 0, 0]
