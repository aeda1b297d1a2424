"""Episodes of a vector environment, whichever way it starts the next one by itself.

Gymnasium's vector environments reset in one of three modes, named by ``metadata["autoreset_mode"]``:

- NEXT_STEP: the step that ends an episode gives its last observation. The step after it ignores the action and gives
  the first observation of the next episode.
- SAME_STEP: the step that ends an episode gives the first observation of the next one already.
- DISABLED: nothing happens until the caller resets those environments.

An agent has to know which observation is a first one: it does not follow from what it believed and did before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from beliefd_proto.errors import InvalidArgument

MODE = "autoreset_mode"


class Episodes:
    """A vector environment with one discrete observation, stepped episode after episode.

    Attributes
    ----------
    observations : ndarray of int64, shape (envs,)
        What the environments show now.
    starts : ndarray of bool, shape (envs,)
        Where `observations` is the first of an episode: the ``reset=`` of a step.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], seed: int) -> None:
        mode = env.metadata.get(MODE)
        if not isinstance(mode, AutoresetMode):
            raise InvalidArgument(
                "the environment does not say how it resets; use a vector environment of Gymnasium 1.1 or newer",
                field=f"metadata[{MODE!r}]",
                value=mode,
                allowed=", ".join(AutoresetMode.__members__),
            )
        self._env = env
        self._mode = mode
        self.observations: NDArray[np.int64] = env.reset(seed=seed)[0]
        self.starts: NDArray[np.bool_] = np.ones(env.num_envs, np.bool_)
        self._over: NDArray[np.bool_] = np.zeros(env.num_envs, np.bool_)

    def step(self, actions: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Act, and start what has to start again.

        Returns
        -------
        rewards : ndarray of float64, shape (envs,)
        ended : ndarray of bool, shape (envs,)
            Whose episode ended with this step.
        """
        observations, rewards, terminated, truncated, _ = self._env.step(actions)
        ended = np.logical_or(terminated, truncated)
        self.observations = observations
        if self._mode is AutoresetMode.NEXT_STEP:
            self.starts = self._over
        else:
            self.starts = ended
            if self._mode is AutoresetMode.DISABLED and ended.any():
                self.observations, _ = self._env.reset(options={"reset_mask": ended})
        self._over = ended
        return np.asarray(rewards, np.float64), ended


class Scores:
    """The rewards of the first `episodes` episodes of every environment.

    A fixed number of each, since to count whatever ends within some time would favour short episodes.
    """

    def __init__(self, envs: int, episodes: int) -> None:
        self._rewards: NDArray[np.float64] = np.zeros((envs, episodes + 1))
        self._ended: NDArray[np.int64] = np.zeros(envs, np.int64)
        self._episodes = episodes

    def add(self, rewards: NDArray[np.float64], ended: NDArray[np.bool_]) -> None:
        """Take in one step. Episodes beyond the counted ones fall into a last column that nobody reads."""
        self._rewards[np.arange(len(rewards)), np.minimum(self._ended, self._episodes)] += rewards
        self._ended += ended

    @property
    def finished(self) -> int:
        """How many of the episodes that count have ended."""
        return int(np.minimum(self._ended, self._episodes).sum())

    @property
    def complete(self) -> bool:
        return bool((self._ended >= self._episodes).all())

    @property
    def rewards(self) -> NDArray[np.float64]:
        """Sum of the rewards per episode, shape (envs, episodes)."""
        return self._rewards[:, : self._episodes]
