"""Ray: one actor per core, each with a batch of NumPy agents."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from benches.drivers.given import Given
from benches.drivers.numpy_agents import NumpyAgents
from benches.drivers.serving import serve, timed_rounds


class Holder:
    """An actor with agents `first` to `first + count`: it is sent their observations and answers with their actions."""

    def __init__(self, given: Given, first: int, count: int) -> None:
        self._agents = NumpyAgents(given, first, count)

    def step(self, observations: NDArray[np.int64], tick: int) -> NDArray[np.int64]:
        agents = self._agents
        agents.observations[tick % agents.ticks] = observations.tolist()
        return np.array([agents.step(number, tick) for number in range(len(agents.agents))])

    def margins(self) -> NDArray[np.float64]:
        return self._agents.margins()


class Actors:
    def __init__(self, given: Given, agents: int) -> None:
        cores = os.cpu_count() or 1
        if not ray.is_initialized():
            # Another address than 127.0.0.1, with which it hangs where nothing but the loopback is there.
            ray.init(num_cpus=cores, _node_ip_address="127.0.0.2", include_dashboard=False, log_to_driver=False)
        self._parts = [part for part in np.array_split(np.arange(agents), cores) if len(part)]
        kind = ray.remote(Holder)
        shared = ray.put(given)
        self._actors = [kind.remote(shared, int(part[0]), len(part)) for part in self._parts]
        self._observations = given.observations
        self._tick = 0

    def _round(self) -> NDArray[np.int64]:
        seen = self._observations[self._tick % len(self._observations)]
        asked = [
            actor.step.remote(seen[part], self._tick) for actor, part in zip(self._actors, self._parts, strict=True)
        ]
        self._tick += 1
        return np.concatenate(ray.get(asked))

    def steps(self, count: int, limit_s: float) -> dict[str, Any]:
        return {"step_s": timed_rounds(self._round, count, limit_s)}

    def check(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        self._tick = 0
        actions, margins = [], []
        for _ in self._observations:
            actions.append(self._round())
            margins.append(np.concatenate(ray.get([actor.margins.remote() for actor in self._actors])))
        return np.stack(actions), np.stack(margins)

    def close(self) -> None:
        for actor in self._actors:
            ray.kill(actor)


if __name__ == "__main__":
    serve(Actors)
