"""What a herd's agents observe: a function of seed, agent and tick alone.

So a simulator that was killed is followed by one that goes on with the inputs that the first would have sent, and an
engine that nothing happened to can be given the same ones afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_RESET = 255
_ONE_IN = np.uint64(16)


def observations(
    seed: int, num_obs: Sequence[int], agents: NDArray[np.int64], ticks: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Observations of `agents` before their `ticks`, shape (n, modalities); one in sixteen is missing, -1."""
    columns = []
    for modality, count in enumerate(num_obs):
        drawn = _drawn(seed, agents, ticks, modality)
        missing = (drawn >> np.uint64(32)) % _ONE_IN == 0
        columns.append(np.where(missing, -1, (drawn % np.uint64(count)).astype(np.int64)))
    return np.stack(columns, axis=1)


def resets(seed: int, agents: NDArray[np.int64], ticks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `agents` start again before their `ticks`: one in sixteen."""
    return np.asarray(_drawn(seed, agents, ticks, _RESET) % _ONE_IN == 0)


def _drawn(seed: int, agents: NDArray[np.int64], ticks: NDArray[np.int64], purpose: int) -> NDArray[np.uint64]:
    """SplitMix64 of a number that is another one for every seed (< 2^8), purpose, agent (< 2^16) and tick (< 2^32)."""
    key = np.uint64((seed << 56) | (purpose << 48)) | (agents.astype(np.uint64) << np.uint64(32))
    z = (key | ticks.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
