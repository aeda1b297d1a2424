"""What agents observe and do, drawn from their own model: the forced history that every program is given alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beliefd.model import Model

TICKS = 8


@dataclass(frozen=True)
class History:
    """A walk of each agent through the world that its model describes, with actions at random.

    Attributes
    ----------
    observations : ndarray of int64, shape (ticks, agents, modalities)
    actions : ndarray of int32, shape (ticks, agents, factors)
        What each agent does after the observation of the same tick.
    """

    observations: NDArray[np.int64]
    actions: NDArray[np.int32]

    def cut(self, agents: int) -> History:
        """The first `agents` agents."""
        return History(self.observations[:, :agents], self.actions[:, :agents])


def drawn_history(
    model: Model, agents: int, moves: tuple[int, ...] | None = None, ticks: int = TICKS, seed: int = 0
) -> History:
    """Draw a history; the model's factors have to move by themselves, without other factors as parents.

    Parameters
    ----------
    moves : tuple of int, optional
        The actions that the first factor may take; by default all.
    """
    assert all(parents == (f,) for f, parents in enumerate(model.B_dependencies))
    rng = np.random.default_rng(seed)
    states = [_draw(rng, np.tile(prior, (agents, 1))) for prior in model.D]
    options = [np.arange(n) for n in model.num_controls]
    if moves is not None:
        options[0] = np.array(moves)
    observations, actions = [], []
    for _ in range(ticks):
        seen = [
            _draw(rng, np.moveaxis(A, 0, -1)[tuple(states[f] for f in factors)])
            for A, factors in zip(model.A, model.A_dependencies, strict=True)
        ]
        done = [rng.choice(allowed, agents) for allowed in options]
        states = [_draw(rng, B[:, s, u].T) for B, s, u in zip(model.B, states, done, strict=True)]
        observations.append(np.stack(seen, axis=1))
        actions.append(np.stack(done, axis=1).astype(np.int32))
    return History(np.stack(observations), np.stack(actions))


def _draw(rng: np.random.Generator, p: NDArray[np.float64]) -> NDArray[np.int64]:
    """One index per row of `p`, with the probabilities of that row."""
    sums = p.cumsum(axis=1)
    return np.asarray((sums <= rng.random((len(p), 1)) * sums[:, -1:]).sum(axis=1))
