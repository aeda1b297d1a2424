"""Many clients with an agent each, in one process: ``python -m benches.load`` reads what to do as a line of JSON.

Every client is a connection of its own that greets, and then sends a step, waits for the answer, and sends the next.
It speaks the protocol itself: the SDK's checks are for people, and would be most of what is measured here.
"""

from __future__ import annotations

import json
import secrets
import select
import socket
import sys
import time
from typing import Any

import msgspec
import numpy as np

import beliefd
from beliefd.call import step_call
from beliefd.channel import Channel
from beliefd.observations import canonical, wire_dtype
from beliefd.wire import observation_arrays
from beliefd_proto import Command, Want, encode
from beliefd_proto import messages as m
from beliefd_proto.framing import PREAMBLE_BYTES

_GREETING_S = 60.0
_DEADLINE_MS = 60_000


class OneAgent:
    """A connection that steps one agent, over and over."""

    def __init__(self, endpoint: str, header: m.Step, arrays: dict[str, Any]) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(endpoint.removeprefix("unix://"))
        self.channel = Channel(connection)
        self.channel.send([secrets.token_bytes(16)])
        self._header, self._arrays = header, arrays
        self._sent_s = 0.0
        self._tick = 0

    def greet(self) -> None:
        session = secrets.token_bytes(16)
        hello = m.Hello(id=secrets.token_bytes(16), deadline_ms=_DEADLINE_MS, session=session, versions=(1,))
        self.channel.send(encode(Command.HELLO, hello))

    def send(self) -> None:
        self._tick += 1
        header = msgspec.structs.replace(
            self._header, id=secrets.token_bytes(16), deadline_ms=_DEADLINE_MS, tick=self._tick
        )
        self._sent_s = time.perf_counter()
        self.channel.send(encode(Command.STEP, header, self._arrays))

    def received(self) -> tuple[Command, float] | None:
        """What arrived, and how many seconds after the last step was sent; None where not all of it has."""
        for frames in self.channel.receive():  # one at the most: each is waited for
            return Command(frames[0][PREAMBLE_BYTES - 1]), time.perf_counter() - self._sent_s
        return None


def load(endpoint: str, agents: list[list[Any]], seconds: float) -> dict[str, Any]:
    """Let a client step each of `agents`, given as population and number, until `seconds` are over.

    Returns
    -------
    dict
        ``steps`` answered, in ``seconds``; ``served``: clients that had an answer; ``errors``: answers that were none;
        ``latency_s``: of each step, some thousands at most.
    """
    clients = [OneAgent(endpoint, *request) for request in requests(endpoint, agents)]
    poll = select.epoll()
    by_socket = {}
    for client in clients:
        poll.register(client.channel, select.EPOLLIN)
        by_socket[client.channel.fileno()] = client
        client.greet()
    greeted = 0
    deadline_s = time.perf_counter() + _GREETING_S
    while greeted < len(clients) and time.perf_counter() < deadline_s:
        for source, _ in poll.poll(1.0):
            received = by_socket[source].received()
            greeted += received is not None and received[0] is Command.WELCOME
    print(json.dumps({"greeted": greeted}), flush=True)
    sys.stdin.readline()  # all processes begin at once
    served: set[Any] = set()
    latency_s: list[float] = []
    errors = 0
    for client in clients:
        client.send()
    started_s = time.perf_counter()
    while (elapsed_s := time.perf_counter() - started_s) < seconds:
        for source, _ in poll.poll(1.0):
            client = by_socket[source]
            received = client.received()
            if received is not None:
                errors += received[0] is not Command.STEPPED
                latency_s.append(received[1])
                served.add(source)
                client.send()
    return {
        "steps": len(latency_s) - errors,
        "seconds": elapsed_s,
        "served": len(served),
        "errors": errors,
        "latency_s": [round(s, 7) for s in latency_s[:: max(1, len(latency_s) // 4000)]],
    }


def requests(endpoint: str, agents: list[list[Any]]) -> list[tuple[m.Step, dict[str, Any]]]:
    """The step of each agent, as the SDK would send it: header and arrays."""
    with beliefd.connect(endpoint) as client:
        populations = {name: client.population(name) for name in {name for name, _ in agents}}
    made = []
    for name, number in agents:
        population = populations[name]
        info = population.info
        inputs = observation_arrays(canonical(np.zeros((1, len(info.num_obs)), int), info, 1, wire_dtype(info)))
        rows, ticks = np.array([number]), np.array([1])
        chunk = step_call(population.uid, population.info, m.Limits(), rows, ticks, inputs, Want.NOTHING).chunks[0]
        assert isinstance(chunk.header, m.Step)
        made.append((chunk.header, chunk.arrays))
    return made


if __name__ == "__main__":
    asked = json.loads(sys.stdin.readline())
    print(json.dumps(load(**asked)), flush=True)
    sys.stdin.readline()  # it is looked at before it ends
