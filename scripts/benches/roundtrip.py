"""One agent, one client, one call after the other, beside a bare double hop of ZeroMQ with the same frames.

The broker keeps processors awake while clients wait. So they are kept awake for the double hop too, and both are
measured once more on processors that sleep.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import beliefd
from beliefd.client import Client
from beliefd.worlds import tmaze
from beliefd_broker.vigil import Vigil
from beliefd_proto import Command, encode
from beliefd_service.stack import Stack
from benches.coldness import coldness
from benches.hop import double_hop
from benches.load import requests
from benches.processes import thread_s
from benches.served import fresh_name
from benches.timing import percentiles, timed

_BLOCK = 100
"""Calls of one kind between those of the other."""


def asleep(calls: int) -> dict[str, Any]:
    """The same on a stack that lets processors sleep, and a double hop that does."""
    with (
        tempfile.TemporaryDirectory(prefix="bd-") as folder,
        Stack(Path(folder), workers=2, environment={"BELIEFD_AWAKE": "0"}) as stack,
        beliefd.connect(stack.local_endpoint) as client,
    ):
        return round_trips(client, stack, calls, hop_awake=False)


def round_trips(client: Client, stack: Stack, calls: int, hop_awake: bool = True) -> dict[str, Any]:
    """Percentiles of both, their ratios, and the processor time of a step.

    The double hop carries the frames of the very step that is measured.
    """
    name = fresh_name("one-agent")
    population = client.create_population(name, tmaze(), agents=1)
    observation = np.zeros((1, 3), np.int64)
    [(header, arrays)] = requests(stack.local_endpoint, [[name, 0]])
    frames = [bytes(frame) for frame in encode(Command.STEP, header, arrays)]
    front, back = (f"ipc://{stack.data / 'run' / name}.ipc" for name in ("front", "back"))
    served_s: list[float] = []
    bare_s: list[float] = []
    refusals: list[str] = []
    used_s = dict.fromkeys(("client", "broker", "workers"), 0.0)
    workers = [stack.worker_pid(f"worker_{number:02d}") for number in range(stack.workers)]
    owners = {os.getpid(): "client", stack.pid("broker"): "broker", **dict.fromkeys(workers, "workers")}
    with double_hop(front, back) as there_and_back:
        for block in range(1 + calls // _BLOCK):
            with _processors(owners, used_s if block else {}):
                served = [timed(lambda: population.step(observation)) for _ in range(_BLOCK)]
            with _awake(hop_awake, refusals.append):
                bare = [timed(lambda: there_and_back(frames)) for _ in range(_BLOCK)]
            if block:  # the first is the warm-up
                served_s += served
                bare_s += bare
    population.drop()
    cold = coldness(max(calls // 10, 100))
    ours, least = percentiles(served_s), percentiles(bare_s)
    return {
        **ours,
        "kept_awake": hop_awake and not refusals,
        "bare_double_hop": least,
        "over_bare": {name.removesuffix("_ms"): ours[name] / least[name] for name in ours},
        **cold,
        "processor_us": {name: 1e6 * used / len(served_s) for name, used in used_s.items()},
        "raw": {"served_s": served_s, "bare_s": bare_s, **cold["raw"]},
    }


@contextmanager
def _awake(wanted: bool, refused: Callable[[str], None]) -> Iterator[None]:
    """Have processors kept awake meanwhile, as the broker does."""
    vigil = Vigil(float(wanted), refused)
    vigil.keep(time.monotonic())
    try:
        yield
    finally:
        vigil.close()


@contextmanager
def _processors(owners: dict[int | None, str], used_s: dict[str, float]) -> Iterator[None]:
    """Add the processor time that what is done meanwhile takes, by who takes it."""
    before_s = {pid: thread_s(pid) for pid in owners if pid is not None}
    yield
    for pid, threads in before_s.items():
        for thread, now_s in thread_s(pid).items():
            used_s[owners[pid]] = used_s.get(owners[pid], 0.0) + now_s - threads.get(thread, 0.0)
