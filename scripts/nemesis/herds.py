"""The populations that live through a run: their models, how many agents, how durable, and how their herd connects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from beliefd.model import Model
from beliefd.worlds import grid, tmaze

PARTS = 3
"""Into how many parts, each a request, a herd is cut at most when it makes a step."""


@dataclass(frozen=True)
class Herd:
    """A population and the simulator that steps it.

    `route` is how it connects: "tcp", "unix", or "proxy" for a connection that can be cut. `wait_s` is the longest
    timeout of its steps; each has its own, down to a tenth of that. Its agents are `agents`, its draws are of `seed`.
    """

    name: str
    make: Callable[[], Model]
    agents: int
    durability: str
    route: str
    seed: int
    wait_s: float


def learners() -> Model:
    """Agents that learn A, B and D and forget."""
    plain = tmaze()
    counts: dict[str, Any] = {f"p{letter}": [array * 3.0 for array in getattr(plain, letter)] for letter in "ABD"}
    return tmaze(**counts, learn_A=True, learn_B=True, learn_D=True, fr_pA=0.99, fr_pB=0.99)


def lookers_back() -> Model:
    """Agents that infer over a window of steps, and choose by chance."""
    return tmaze(inference_algo="mmp", inference_horizon=3, action_selection="stochastic")


HERDS = (
    Herd("mice", tmaze, 96, "process", "tcp", 1, 10.0),
    Herd("learners", learners, 48, "disk", "proxy", 2, 10.0),
    Herd("lookers-back", lookers_back, 32, "process", "proxy", 3, 5.0),
    Herd("walkers", lambda: grid(size=3, policy_len=2), 64, "disk", "unix", 4, 3.0),
)
