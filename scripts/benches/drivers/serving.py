"""How a driver is talked to: one JSON object a line on its standard input, one answer a line on its standard output."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benches.drivers.given import Given

_NO_LIMIT_S = 1e6


class Program(Protocol):
    """Agents that step through a forced history, over and over; its first tick starts them anew."""

    def steps(self, count: int, limit_s: float) -> dict[str, Any]:
        """Do `count` rounds of all agents, fewer where `limit_s` seconds are over.

        Returns
        -------
        dict
            ``step_s``: seconds per round. ``compute_s``: what the agents themselves took of them, where that is known.
            ``wall_s``: seconds of all rounds, where that is not the sum.
        """
        ...

    def check(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Go through the history once, from its start.

        Returns
        -------
        actions : shape (ticks, agents, factors)
            The agents' own choices.
        margins : shape (ticks, agents)
            By how much the best policy beats the best one with another first action, relative to its worth where
            over 1.
        """
        ...

    def close(self) -> None: ...


def serve(make: Callable[[Given, int], Program]) -> None:
    """Answer requests until standard input ends. `make` takes the work and how many of its agents there shall be."""
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    program: Program | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if request["do"] == "prepare":
                if program is not None:
                    program.close()
                started_s = time.perf_counter()
                program = make(Given.load(request["path"]), request["agents"])
                loaded_s = time.perf_counter()
                program.steps(1, _NO_LIMIT_S)
                answer = {"make_s": loaded_s - started_s, "first_s": time.perf_counter() - loaded_s}
            elif program is not None and request["do"] == "steps":
                answer = program.steps(request["count"], request["limit_s"])
            elif program is not None and request["do"] == "check":
                actions, margins = program.check()
                np.savez(request["path"], actions=actions, margins=margins)
        except Exception as error:  # the one who asks decides what becomes of it
            answer = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        answers.write(json.dumps(answer) + "\n")
    if program is not None:
        program.close()


def timed_rounds(one: Callable[[], object], count: int, limit_s: float) -> list[float]:
    """Seconds of each of `count` rounds, at least one; no further one begins after `limit_s`."""
    times_s: list[float] = []
    for _ in range(count):
        started_s = time.perf_counter()
        one()
        times_s.append(time.perf_counter() - started_s)
        if sum(times_s) > limit_s:
            break
    return times_s
