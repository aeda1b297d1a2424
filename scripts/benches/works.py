"""What is measured: a world, and how many agents live in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from beliefd.model import Model
from beliefd.worlds import CENTRE, CUE, cue_chaining, explorer, grid, tmaze
from benches.history import TICKS


@dataclass(frozen=True)
class Work:
    """Agents that share a model.

    Attributes
    ----------
    name : str
    make : callable
        Makes the model.
    agents : int
    moves : tuple of int or None
        The actions of the first factor that histories are made of; None for all. In the T-maze an arm is never left and
        in it all policies are worth the same, so a history that enters one has nothing more to compare.
    ticks : int
        Of a history, before it begins anew.
    peers : tuple of str
        The programs that can do it; empty for all.
    """

    name: str
    make: Callable[[], Model]
    agents: int
    moves: tuple[int, ...] | None = None
    ticks: int = TICKS
    peers: tuple[str, ...] = ()


def decided(make: Callable[..., Model], *arguments: int, **options: Any) -> Callable[[], Model]:
    """The world `make` gives, with a weak habit in favour of some policies.

    On a grid many policies are worth exactly the same: right and then down, or down and then right. Rounding would
    decide between them, differently in every program. The habit decides first. It is the same for all, and costs none
    of them anything.
    """

    def made() -> Model:
        policies = len(make(*arguments).policies)
        liking = np.exp(_HABIT * np.random.default_rng(policies).standard_normal(policies))
        return make(*arguments, E=liking / liking.sum(), **options)

    return made


def learning(make: Callable[..., Model], *arguments: int) -> Callable[[], Model]:
    """The same world for agents that do not know it: they learn A and B from counts which leave nothing out."""

    def unknown(**options: Any) -> Model:
        known = make(*arguments)
        pA, pB = ([16.0 * p + 0.1 for p in tensors] for tensors in (known.A, known.B))
        A, B = ([p / p.sum(axis=0) for p in counts] for counts in (pA, pB))
        counted: dict[str, Any] = {"pA": pA, "pB": pB, "learn_A": True, "learn_B": True}
        return Model(A, B, C=known.C, D=known.D, policy_len=known.policy_len, **counted, **options)

    return decided(unknown)


def window(algo: str) -> dict[str, Any]:
    """Arguments of a model that passes messages over a window."""
    return {"inference_algo": algo, "inference_horizon": WINDOW}


WINDOW = 8
"""Steps that agents look back on where they pass messages. Histories are longer, so that most windows are full."""
_HABIT = 0.2
"""Standard deviation of the habit's logarithm, in nats."""
MAZE_MOVES = (CENTRE, CUE)
WORKS: dict[str, Work] = {
    work.name: work
    for work in (
        Work("tmaze-1000", decided(tmaze), 1_000, MAZE_MOVES),
        Work("tmaze-10000", decided(tmaze), 10_000, MAZE_MOVES),
        Work("tmaze-100000", decided(tmaze), 100_000, MAZE_MOVES),
        Work("grid5-1000", decided(grid, 5), 1_000),
        Work("grid10-100", decided(grid, 10), 100),
        Work("cue-100", decided(cue_chaining), 100),
        Work(
            "tmaze-tree-100",
            partial(tmaze, planner="sophisticated", policy_len=4),
            100,
            MAZE_MOVES,
            peers=("pymdp",),
        ),
        *(
            work
            for algo in ("mmp", "vmp")
            for work in (
                Work(f"tmaze-{algo}-10000", decided(tmaze, **window(algo)), 10_000, MAZE_MOVES, 4 * WINDOW, ("pymdp",)),
                Work(f"grid5-{algo}-1000", decided(grid, 5, **window(algo)), 1_000, None, 4 * WINDOW, ("pymdp",)),
            )
        ),
        Work("grid5-learn-1000", learning(grid, 5), 1_000, peers=("pymdp",)),
        Work("explorer-50", decided(explorer, 5), 50),
        Work("explorer100-50", decided(explorer, 10), 50),
    )
}
"""By name. The explorer is there with 25 cells, and with 100."""
GRID = Work("grid5-10000", decided(grid, 5), 10_000)
"""Calls that keep two workers busy for milliseconds."""
GRID_CROWD = Work("grid5-100000", decided(grid, 5), 100_000)
"""Calls beside which what a call costs is little."""
