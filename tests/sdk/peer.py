"""A broker of a few lines: it answers what it is told to, and keeps no agent."""

from __future__ import annotations

import contextlib
import secrets
import select
import threading
import time

import numpy as np
import zmq

from beliefd.wire import id_arrays
from beliefd_broker.switchboard import Switchboard
from beliefd_proto import Command, ModelInfo, decode, encode
from beliefd_proto import messages as m

INFO = ModelInfo(
    hash="0" * 64,
    dtype="float32",
    num_obs=(4,),
    num_states=(4,),
    num_controls=(4,),
    control_fac_idx=(0,),
    policy_len=1,
    num_policies=4,
)
UID = "a" * 16


def request(**change):
    """A header with a fresh id that asks for nothing in particular."""
    return m.Attach(id=secrets.token_bytes(16), deadline_ms=0, name="mice", **change)


def step_header(count=1, first=0, tick=1):
    return m.Step(id=secrets.token_bytes(16), deadline_ms=0, population=UID, count=count, first=first, tick=tick)


def welcome(hello, epoch=1, credits=8, limits=None):
    header = m.Welcome(id=hello, version=1, epoch=epoch, credits=credits, limits=limits or m.Limits(), workers=1)
    return frames(Command.WELCOME, header)


def error(of, code, **fields):
    return frames(Command.ERROR, m.Error(id=of, code=code, message=code, **fields))


def done(of, credits=0):
    return frames(Command.DONE, m.Done(id=of, credits=credits))


def frames(command, header, arrays=None):
    return [bytes(frame) for frame in encode(command, header, arrays)]


def population(of, rows=8, ids=None, uid=UID):
    info = m.PopulationInfo(
        uid=uid, name="mice", model=INFO, seed=0, durability="process", rows=rows, live=rows, record_bytes=1
    )
    members = {"members": np.array([[0, rows]]), **({} if ids is None else id_arrays(ids))}
    return frames(Command.POPULATION, m.Population(id=of, info=info, credits=8), members)


def stepped(header, action=1):
    arrays = {"actions": np.full((header.count, 1), action, np.int8)}
    return frames(Command.STEPPED, m.Stepped(id=header.id, credits=8), arrays)


def values(header, tick=0):
    arrays = {"tick": np.full(header.count, tick), "actions": np.zeros((header.count, 1), np.int32)}
    return frames(Command.VALUES, m.Values(id=header.id, credits=8), arrays)


class OverTcp:
    """Messages over a ROUTER."""

    def __init__(self):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self.endpoint = f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"

    def messages(self):
        if self._socket.poll(5):
            with contextlib.suppress(zmq.Again):
                route, *received = self._socket.recv_multipart(zmq.DONTWAIT)
                yield route, received

    def send(self, route, message):
        self._socket.send_multipart([route, *message])

    def close(self):
        self._context.destroy(linger=0)


class Local:
    """Messages over a Unix socket."""

    def __init__(self, path):
        self.endpoint = f"unix://{path}"
        self._board = Switchboard(path)
        self._poll = select.poll()
        self._poll.register(self._board, select.POLLIN)
        self.send = self._board.send
        self.close = self._board.close

    def messages(self):
        self._poll.poll(5)
        return self._board.messages()


class Peer:
    """The protocol spoken by a thread, over TCP or at the Unix socket `path`.

    `answer(header)` gives the frames that a request is answered with, or None for silence. By default a step takes
    action 1, and what is read is at tick 0. `hold` keeps answers back until it is cleared. `heard` is all that arrived,
    `arrays` those of the last message.
    """

    def __init__(self, answer=None, limits=None, path=None):
        self.heard = []
        self.hold = threading.Event()
        self._answer = answer or self.default
        self._limits = limits
        self._clients = OverTcp() if path is None else Local(path)
        self.endpoint = self._clients.endpoint
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    @staticmethod
    def default(header):
        match header:
            case m.List():
                return frames(Command.POPULATIONS, m.Populations(id=header.id, populations=(), credits=8))
            case m.Attach() | m.Create():
                return population(header.id)
            case m.Step():
                return stepped(header)
            case m.Read():
                return values(header)
        return done(header.id, credits=8)

    def count(self, kind):
        return sum(isinstance(header, kind) for header in list(self.heard))

    def wait_for(self, kind, count=1):
        until(lambda: self.count(kind) >= count)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()
        self._clients.close()

    def _serve(self):
        held = []
        while not self._stop.is_set():
            if not self.hold.is_set():
                for route, message in held:
                    self._clients.send(route, message)
                held.clear()
            for route, received in self._clients.messages():
                message = decode(received)
                header, self.arrays = message.header, message.arrays
                self.heard.append(header)
                if isinstance(header, m.Hello):
                    self._clients.send(route, welcome(header.id, limits=self._limits))
                elif isinstance(header, m.Ping):
                    self._clients.send(route, frames(Command.PONG, m.Pong(id=header.id, epoch=1)))
                elif (answer := self._answer(header)) is not None:
                    held.append((route, answer))


def until(condition, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "this did not come about in time"
        time.sleep(0.002)
