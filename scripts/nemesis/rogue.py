"""A client that goes on beyond its credits, by far: ``python -m nemesis.rogue ENDPOINT POPULATION SECONDS``.

Prints as JSON how many requests it sent, how many were answered as busy, and the longest time that the broker took
nothing more from it.
"""

from __future__ import annotations

import json
import os
import sys
import time

import zmq

import beliefd
from beliefd.transport import receive, send
from beliefd_proto import Command, decode, encode
from beliefd_proto import messages as m

_RATE = 2_000.0
"""Requests per second. More would be its own processor time, which the others lack on the same machine."""
_QUEUED = 1_000
"""Messages that its own socket holds back once the broker takes none."""


def main(endpoint: str, population: str, seconds: float) -> None:
    with beliefd.connect(endpoint) as client:
        uid = client.population(population).uid
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, _QUEUED)
    socket.connect(endpoint)
    hello = m.Hello(id=os.urandom(16), deadline_ms=1000, session=os.urandom(16), versions=(m.PROTOCOL_VERSION,))
    send(socket, encode(Command.HELLO, hello))
    started_s = time.monotonic()
    sent = busy = 0
    longest_wait_ms = 0
    heard_s, silent_s = started_s, 0.0
    while (now_s := time.monotonic()) < started_s + seconds:
        while sent < (now_s - started_s) * _RATE:
            read = m.Read(id=os.urandom(16), deadline_ms=1000, population=uid, count=1, first=0, want=0)
            try:
                send(socket, encode(Command.READ, read))
            except zmq.Again:
                break
            sent += 1
        while (frames := receive(socket)) is not None:
            silent_s, heard_s = max(silent_s, now_s - heard_s), now_s
            header = decode(frames).header
            if isinstance(header, m.Error) and header.code == "busy":
                busy += 1
                longest_wait_ms = max(longest_wait_ms, header.retry_after_ms or 0)
        time.sleep(0.001)
    silent_s = max(silent_s, time.monotonic() - heard_s)
    socket.close()
    print(json.dumps({"sent": sent, "busy": busy, "retry_after_ms": longest_wait_ms, "silent_s": silent_s}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
