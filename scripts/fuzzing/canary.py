"""Agents that step throughout, beside an engine that sees the same: what happens around them must not show."""

from __future__ import annotations

from typing import Any

import numpy as np

from beliefd.client import Client
from beliefd.engine import Engine
from beliefd.model import Model

TIMEOUT_S = 30.0
_WANT = ("beliefs", "q_pi", "vfe")


class Canary:
    """A population of the stack, and its twin in this process."""

    def __init__(self, client: Client, model: Model, agents: int, seed: int) -> None:
        self._served = client.create_population("canary", model, agents=agents, seed=seed)
        self._local = Engine(model, agents=agents, seed=seed)
        self._rng = np.random.default_rng(seed)
        self._num_obs = model.num_obs
        self._agents = agents
        self.steps = 0

    def step(self) -> str | None:
        """One tick of both; what differs, if anything does."""
        observations = np.stack([self._rng.integers(0, n, self._agents) for n in self._num_obs], axis=1)
        served = self._served.step(observations, want=_WANT, timeout_s=TIMEOUT_S)
        local = self._local.step(observations, want=_WANT)
        self.steps += 1
        pairs: list[tuple[str, Any, Any]] = [
            ("actions", served.actions, local.actions),
            ("q_pi", served.q_pi, local.q_pi),
        ]
        pairs += [("vfe", served.vfe, local.vfe), ("tick", served.tick, local.tick)]
        assert served.beliefs is not None
        assert local.beliefs is not None
        pairs += [("beliefs", *both) for both in zip(served.beliefs, local.beliefs, strict=True)]
        differing = [name for name, theirs, ours in pairs if not np.array_equal(theirs, ours)]
        return f"step {self.steps}: {', '.join(differing)} differ from the twin's" if differing else None
