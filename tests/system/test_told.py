"""Steps of a client of the broker's machine, whom workers tell themselves, on the wire of a real stack."""

import contextlib
import os
import secrets
import socket
import time

import numpy as np
import pytest

import beliefd
from beliefd.endpoint import open_connection
from beliefd.engine import Engine
from beliefd.worlds import tmaze
from beliefd_proto import Command, decode, encode
from beliefd_proto import messages as m

pytestmark = pytest.mark.system

LONG_S = 30.0
AGENTS = 10_000
"""So many that two workers share them."""


class Raw:
    """A client that sees messages as they come."""

    def __init__(self, endpoint):
        self._wake_fd, self._write_fd = os.pipe()
        self._connection = open_connection(endpoint, None, self._wake_fd)
        self.letterbox = self._connection.letterbox
        self.ask(
            Command.HELLO,
            m.Hello(
                id=secrets.token_bytes(16),
                deadline_ms=1000,
                session=secrets.token_bytes(16),
                versions=(1,),
                letterbox=self.letterbox,
            ),
        )
        assert isinstance(self.hear().header, m.Welcome)

    def ask(self, command, header, arrays=None):
        self._connection.send(encode(command, header, arrays))

    def step(self, population, observations, tick):
        count = len(observations)
        header = m.Step(
            id=secrets.token_bytes(16), deadline_ms=20_000, population=population, count=count, first=0, tick=tick
        )
        self.ask(Command.STEP, header, {"observations": observations.astype(np.int8)})
        return header.id

    def hear(self):
        deadline_s = time.monotonic() + LONG_S
        while time.monotonic() < deadline_s:
            if (frames := self._connection.receive()) is not None:
                return decode(frames)
            self._connection.wait(100)
        raise TimeoutError

    def close(self):
        self._connection.close()
        os.close(self._wake_fd)
        os.close(self._write_fd)


@pytest.fixture
def raw(stack):
    made = Raw(stack.local_endpoint)
    yield made
    made.close()


def observations(agents, seed):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, n, agents) for n in tmaze().num_obs], axis=1)


@pytest.mark.parametrize("agents", [1, AGENTS])
def test_workers_tell_what_an_engine_does(client, raw, name, agents):
    population = client.create_population(name, tmaze(), agents=agents, seed=3)
    engine = Engine(tmaze(), agents=agents, seed=3)
    tick, by_workers = 0, 0

    def step():
        nonlocal tick, by_workers
        tick += 1
        seen = observations(agents, tick)
        request = raw.step(population.uid, seen, tick)
        actions, told = np.full((agents, 2), -1), 0
        while told < agents:
            message = raw.hear()
            assert message.header.id == request
            part = isinstance(message.header, m.SteppedPart)
            start, count = (message.header.start, message.header.count) if part else (0, agents)
            actions[start : start + count] = message.arrays["actions"]
            told = told + count if part else agents
        by_workers += part
        np.testing.assert_array_equal(actions, engine.step(seen).actions)
        return by_workers >= 5

    until(step)  # the first ones of many may be cut: how long they take is not known then
    population.drop()


def test_where_the_letterbox_is_full_the_broker_tells_and_nothing_is_lost(client, raw, name):
    population = client.create_population(name, tmaze(), agents=AGENTS, seed=3)
    engine = Engine(tmaze(), agents=AGENTS, seed=3)
    with strangers() as stranger, contextlib.suppress(BlockingIOError):
        while True:
            stranger.sendto(b"no message", b"\0beliefd-" + raw.letterbox.hex().encode())
    seen = observations(AGENTS, 1)
    request = raw.step(population.uid, seen, 1)
    until(lambda: bool((population.read(want=()).tick == 1).all()))  # before anybody empties it
    message = raw.hear()
    assert message.command is Command.STEPPED
    assert message.header.id == request
    np.testing.assert_array_equal(message.arrays["actions"], engine.step(seen).actions)
    population.drop()


def strangers():
    """A socket of somebody who has no business here."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


def until(condition):
    deadline_s = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline_s


def test_a_client_whose_letterbox_strangers_fill_again_and_again_is_served(stack, name):
    with beliefd.connect(stack.local_endpoint) as client:
        population = client.create_population(name, tmaze(), agents=300, seed=3)
        engine = Engine(tmaze(), agents=300, seed=3)
        address = b"\0beliefd-" + client._connection.letterbox.hex().encode()
        with strangers() as stranger:
            for tick in range(200):
                with contextlib.suppress(BlockingIOError):
                    for _ in range(tick % 14):
                        stranger.sendto(secrets.token_bytes(50), address)
                seen = observations(300, tick)
                np.testing.assert_array_equal(population.step(seen).actions, engine.step(seen).actions)
        population.drop()
