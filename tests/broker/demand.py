"""Steps that come at a rate, each of its own agents, through the SDK's session: what is asked of an overloaded core."""

import secrets
from collections import Counter, deque

import numpy as np

from beliefd.session import Pending, Session
from beliefd_proto import Command, encode
from beliefd_proto import messages as m
from beliefd_proto.errors import BeliefdError

SIZE = 256
"""Agents of a request: four tiles."""


class Demand:
    """One client's. `served` and `errors`, by code and by what became of an agent, count how its requests ended."""

    def __init__(self, groups, first, per_s, timeout_s):
        self._session = Session()
        self._free = deque((first + i * SIZE, 1) for i in range(groups))
        self._per_s, self._timeout_s = per_s, timeout_s
        self._due = 0.0
        self._at_s = None
        self.served = 0
        self.errors = Counter()

    def turn(self, now_s):
        """Ask for what is due; returns the messages for the broker."""
        self._due += self._per_s * (now_s - (self._at_s if self._at_s is not None else now_s))
        self._at_s = now_s
        while self._due >= 1 and self._free:
            self._due -= 1
            self._submit(*self._free.popleft(), now_s)
        return self._flush(now_s)

    def receive(self, message, now_s):
        frames = encode(message.command, message.header, message.arrays)
        self._session.receive([bytes(frame) for frame in frames], now_s)
        self._resolve()

    def _submit(self, first, tick, now_s):
        header = m.Step(
            id=secrets.token_bytes(16), deadline_ms=0, population="0" * 16, count=SIZE, first=first, tick=tick
        )
        arrays = {"observations": np.zeros((SIZE, 2), np.int8)}
        pending = Pending(Command.STEP, header, arrays, now_s + self._timeout_s)
        pending.ended = lambda: self._ended(pending, first, tick)
        self._session.submit(pending)

    def _ended(self, pending, first, tick):
        error = pending.outcome if isinstance(pending.outcome, BeliefdError) else None
        if error is None:
            self.served += 1
        else:
            self.errors.update((error.code, int(applied)) for applied in set(error.applied.tolist()))
        self._free.append((first, tick + (error is None)))

    def _flush(self, now_s):
        self._session.tick(now_s)
        self._resolve()
        return [[bytes(frame) for frame in frames] for frames in self._session.take_outgoing(now_s)]

    def _resolve(self):
        while self._session.ended:
            self._session.ended.popleft().resolve()
