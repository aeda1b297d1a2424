"""What agents of a model observe and do, and what the kernels make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.engine import Engine
from beliefd.model import Model
from beliefd.step import Step
from conforming.gaps import gap
from models import changed, random_observation, random_per_agent

PARTS = ("utility", "info_gain", "novelty", "inductive")
WANT = ("beliefs", "q_pi", "neg_efe", "vfe", "gamma", *PARTS)
_DISTURBANCE = 1e-12
_LARGEST_LOGARITHM = 36.0


@dataclass(frozen=True)
class History:
    """Of n agents, tick after tick.

    Attributes
    ----------
    observations : list of list of ndarray
        Per tick and modality indices (n,) or distributions (n, num_obs).
    reset : list of ndarray of bool, shape (n,)
    executed : list of ndarray of int, shape (n, controls)
        What the agents' last actions were; -1 where it was what they chose.
    per_agent : dict, or None
        Parameters of the agents' own.
    """

    observations: list[list[NDArray[Any]]]
    reset: list[NDArray[np.bool_]]
    executed: list[NDArray[np.int64]]
    per_agent: dict[str, Any] | None = None

    @property
    def agents(self) -> int:
        return len(self.reset[0])


def random_history(rng: np.random.Generator, model: Model, agents: int, ticks: int, own: bool = False) -> History:
    """Some observations missing and some given as distributions; some resets; half the actions told; where `own`,
    parameters per agent.
    """
    history = History([], [], [], random_per_agent(rng, model, agents) if own else None)
    for _ in range(ticks):
        history.observations.append(columns([random_observation(rng, model, 0.15, 0.2) for _ in range(agents)], model))
        history.reset.append(rng.random(agents) < 0.15)
        executed = np.stack([rng.integers(0, n, agents) for n in model.num_controls], axis=1)
        executed[rng.random(executed.shape) < 0.5] = -1
        history.executed.append(executed)
    return history


def columns(observed: list[list[Any]], model: Model) -> list[NDArray[Any]]:
    """Observations of several agents as a call takes them: distributions where any of a modality is one."""
    arrays: list[NDArray[Any]] = []
    for m, size in enumerate(model.num_obs):
        column = [entries[m] for entries in observed]
        if not all(isinstance(entry, int) for entry in column):
            # A call has one kind per modality. An index says what its one-hot says.
            column = [np.eye(size)[max(entry, 0)] if isinstance(entry, int) else entry for entry in column]
        arrays.append(np.array(column))
    return arrays


def engine_steps(engine: Engine, history: History, agents: list[int] | None = None) -> list[Step]:
    """What the kernels make of a history: of all agents, or of these."""
    return [
        engine.step(observed, agents=agents, reset=reset, executed_actions=executed, want=WANT)
        for observed, reset, executed in zip(history.observations, history.reset, history.executed, strict=True)
    ]


def amplification(model: Model, history: History) -> float:
    """How many times larger a tiny change of the model's numbers comes out than it went in.

    Where the fixed point iteration converges slowly, or stands between two solutions, it can be any number of times;
    there two programs that round differently differ by as much.
    """
    rng = np.random.default_rng(0)
    outcomes = []
    for scale in (0.0, _DISTURBANCE):
        moved = {
            letter: [array * (1.0 + scale * rng.uniform(-1.0, 1.0, array.shape)) for array in getattr(model, letter)]
            for letter in ("A", "B", "C", "D")
        }
        engine = Engine(changed(model, dtype="float64", **moved), history.agents, per_agent=history.per_agent)
        outcomes.append(engine_steps(engine, history))
    distances = []
    for one, other in zip(*outcomes, strict=True):
        distances += [gap(getattr(one, name), getattr(other, name)) for name in ("q_pi", "neg_efe", "vfe")]
        distances += [gap(here, there) for here, there in zip(one.beliefs or [], other.beliefs or [], strict=True)]
    return max(distances) / _DISTURBANCE


def is_unstable(model: Model, history: History, dtype: str, bound: float) -> bool:
    """Whether what is rounded off one logarithm, which can be 36, may come out above `bound`."""
    rounding = _LARGEST_LOGARITHM * float(np.finfo(dtype).eps)
    return amplification(model, history) * rounding > bound
