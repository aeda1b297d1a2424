"""beliefd itself as a program to compare with: one client of the stack at ``BELIEFD_ENDPOINT``, one call per tick."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

import beliefd
from benches.drivers.given import Given
from benches.drivers.serving import serve, timed_rounds
from benches.history import History
from benches.served import Walk


class Served:
    """A population of its own."""

    def __init__(self, given: Given, agents: int) -> None:
        self._client = beliefd.connect()
        model = beliefd.Model(
            A=given.A,
            B=given.B,
            C=given.C,
            D=given.D,
            E=given.E,
            A_dependencies=given.A_dependencies,
            B_dependencies=given.B_dependencies,
            control_fac_idx=given.control_fac_idx,
            policies=given.policies,
            inference_algo=given.inference_algo,
            inference_horizon=given.inference_horizon,
            num_iter=given.num_iter,
            gamma=given.gamma,
            alpha=given.alpha,
        )
        name = f"served-{secrets.token_hex(4)}"
        self._population = self._client.create_population(name, model, agents=agents)
        self._walk = Walk(self._population, History(given.observations, given.actions).cut(agents), forced=True)

    def steps(self, count: int, limit_s: float) -> dict[str, Any]:
        return {"step_s": timed_rounds(self._walk.step, count, limit_s)}

    def check(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """It is what the others are held against: its margins are not asked for."""
        choices = self._walk.choices()
        return choices.astype(np.int64), np.full(choices.shape[:2], np.inf)

    def close(self) -> None:
        self._population.drop()
        self._client.close()


if __name__ == "__main__":
    serve(Served)
