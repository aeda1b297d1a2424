"""pymdp 0.0.7.1, which FreeAgentics pins: agents in a Python loop."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymdp.agent import Agent

from benches.drivers.given import Given
from benches.drivers.serving import serve, timed_rounds


class Loop:
    """`agents` agents, one after the other."""

    def __init__(self, given: Given, agents: int) -> None:
        self._given = given
        self._agents = [make_agent(given) for _ in range(agents)]
        self._observations = given.observations[:, :agents].tolist()
        self._forced = given.actions[:, :agents].astype(np.float64)
        self._tick = 0

    def _round(self) -> list[Any]:
        tick = self._tick % len(self._observations)
        chosen = []
        for number, agent in enumerate(self._agents):
            if tick == 0:
                agent.reset()
                agent.action = None
            agent.infer_states(self._observations[tick][number])
            agent.infer_policies()
            chosen.append(agent.sample_action())
            agent.action = self._forced[tick, number]
        self._tick += 1
        return chosen

    def steps(self, count: int, limit_s: float) -> dict[str, Any]:
        return {"step_s": timed_rounds(self._round, count, limit_s)}

    def check(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        self._tick = 0
        actions, margins = [], []
        first_actions = self._given.policies[:, 0].tolist()
        for _ in self._observations:
            actions.append(np.array(self._round(), np.int64))
            margins.append([_margin(np.log(agent.q_pi + 1e-300), first_actions) for agent in self._agents])
        return np.stack(actions), np.array(margins)

    def close(self) -> None:
        pass


def make_agent(given: Given) -> Any:
    """It knows no A_dependencies: every modality is given all factors."""
    states = [len(B) for B in given.B]
    return Agent(
        A=_as_objects([_over_all(A, deps, states) for A, deps in zip(given.A, given.A_dependencies, strict=True)]),
        B=_as_objects(given.B),
        C=_as_objects(given.C),
        D=_as_objects(given.D),
        E=given.E,
        policies=list(given.policies),
        policy_len=given.policy_len,
        control_fac_idx=given.control_fac_idx,
        gamma=given.gamma,
        alpha=given.alpha,
        sampling_mode="full",
        inference_params={"num_iter": given.num_iter, "dF": 1.0, "dF_tol": 0.001},
    )


def _over_all(A: NDArray[np.float64], factors: list[int], states: list[int]) -> NDArray[np.float64]:
    ordered = A.transpose(0, *(1 + np.argsort(factors)))
    missing = tuple(1 + f for f in range(len(states)) if f not in factors)
    return np.array(np.broadcast_to(np.expand_dims(ordered, missing), (len(A), *states)))


def _as_objects(arrays: list[NDArray[np.float64]]) -> Any:
    objects = np.empty(len(arrays), dtype=object)
    for i, array in enumerate(arrays):
        objects[i] = array
    return objects


def _margin(worth: NDArray[np.float64], first_actions: list[list[int]]) -> float:
    values = worth.tolist()
    best = values.index(max(values))
    others = [v for v, action in zip(values, first_actions, strict=True) if action != first_actions[best]]
    return float(values[best] - max(others))


if __name__ == "__main__":
    serve(Loop)
