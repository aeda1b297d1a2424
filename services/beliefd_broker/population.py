"""A population as the broker knows it: who lives, who is busy, how long a step takes, what it did lately."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd_broker.pace import LEAST_MEASURED_AGENTS, Pace
from beliefd_proto import Arrays, Command
from beliefd_proto.errors import StorageError
from beliefd_proto.messages import PopulationInfo, Telemetry
from beliefd_proto.model_info import ModelInfo
from beliefd_service.events import PopulationTelemetry

TILE_AGENTS = 64
PLAN_NS = 2000.0
"""The most that compiling a plan takes for an action in a policy."""
_SWEEPS = 16
_HISTOGRAM_BINS = 64


class Population:
    """State of one population, rebuilt from its manifest at a start.

    Attributes
    ----------
    info : PopulationInfo
    id_arrays : dict of str to ndarray
        The ids of the live agents as they travel; empty where they have none.
    live, busy : ndarray of bool, shape (rows,)
        Which agents exist; which are in the hands of an admitted request.
    all_live : bool
        None has been removed.
    opening_ns : float
        What a worker may take to open the population, beside what it does with it.
    exclusive : bool
        A job over the whole population runs: no agent may be touched.
    job_waiting : bool
        A job over the whole population waits for the busy agents: nothing new is admitted before it.
    step_arrays : frozenset of str
        The names that arrays of a step may have.
    generation : int
        The last checkpoint, after which steps are journalled now.
    journal_bytes, unsaved_steps : int
        What was journalled, and how many agents were stepped, since then.
    checkpointing : bool
        A checkpoint is being made.
    checkpoint_after_s, retry_after_s : float
        When the next may be made, as `Upkeep` says.
    stale : bool
        The live file is of another boot of the machine: nothing is begun before it is rebuilt.
    """

    def __init__(
        self,
        info: PopulationInfo,
        live_ranges: NDArray[np.int64],
        id_arrays: Arrays,
        generation: int = 0,
        journal_bytes: int = 0,
        stale: bool = False,
    ) -> None:
        self.info = info
        self.busy = np.zeros(info.rows, np.bool_)
        self.busy_agents = 0
        self.exclusive = False
        self.job_waiting = False
        self.generation = generation
        self.journal_bytes = journal_bytes
        self.unsaved_steps = 0
        self.checkpointing = False
        self.checkpoint_after_s: float | None = None
        self.retry_after_s = 0.0
        self.stale = stale
        self._paces: dict[int, Pace] = {}
        self._guess_ns = guess_ns(info.model)
        self.opening_ns = opening_ns(info.model)
        self._telemetry = _Sums()
        self._vfe_mean = 0.0
        self._row_bytes: dict[int, int] = {}
        distributions = (f"distribution{m}" for m in range(info.model.num_modalities))
        self.step_arrays = frozenset(("agents", "ticks", "reset", "executed_actions", "observations", *distributions))
        self.update(info, live_ranges, id_arrays)

    def update(self, info: PopulationInfo, live_ranges: NDArray[np.int64], id_arrays: Arrays) -> None:
        """Take over what a job changed. Whether the population is quarantined is the broker's own knowledge."""
        self.info = msgspec.structs.replace(info, quarantined=self.info.quarantined)
        self.live_ranges = live_ranges
        self.id_arrays = id_arrays
        self.live = np.zeros(info.rows, np.bool_)
        for start, stop in live_ranges:
            self.live[start:stop] = True
        self.all_live = bool(self.live.all())
        grown = np.zeros(info.rows, np.bool_)
        grown[: len(self.busy)] = self.busy
        self.busy = grown

    @property
    def is_open(self) -> bool:
        """Whether agents of it that are free may be begun with: no job has it or waits for it."""
        return not (self.exclusive or self.job_waiting or self.stale)

    @property
    def state_bytes(self) -> int:
        """What this takes in memory."""
        return sum(array.nbytes for array in (self.live, self.busy, self.live_ranges, *self.id_arrays.values()))

    def checkpointed(self, generation: int) -> None:
        """A checkpoint of this number was made."""
        self.generation = generation
        self.journal_bytes = self.unsaved_steps = 0

    def set_quarantined(self, quarantined: bool) -> None:
        self.info = msgspec.structs.replace(self.info, quarantined=quarantined)

    def row_bytes(self, want: int) -> int:
        """Bytes per agent of an answer with these outputs."""
        known = self._row_bytes.get(want)
        if known is None:
            known = self._row_bytes[want] = self.info.model.answer_row_bytes(want)
        return known

    def predicted_ns(self, cost_key: int, agents: int) -> float:
        """How long a worker will take for `agents` agents, from what batches that asked alike took.

        Kernels run whole tiles, so one agent takes as long as a tile does.
        """
        pace = self._paces.get(cost_key)
        known_ns = pace.ns if pace is not None else None
        most_ns = (self._guess_ns if known_ns is None else known_ns) * _whole_tiles(agents)
        # Where agents are always few nothing else tells; a call that was slow once makes no agent slow.
        if pace is not None and pace.few_ns is not None and agents < LEAST_MEASURED_AGENTS:
            return min(pace.few_ns, most_ns)
        return most_ns

    def needed_ns(self, cost_key: int, agents: int, share: float, now_s: float) -> float:
        """How long `agents` agents take where each worker is shared by `share`; 0 where that is not sure."""
        pace = self._paces.get(cost_key)
        usual_ns = pace.usual_ns(now_s) if pace is not None else None
        return 0.0 if usual_ns is None else usual_ns * max(_whole_tiles(agents) * share, TILE_AGENTS)

    def has_run(self, cost_key: int) -> bool:
        """Whether a batch that asked alike has been done."""
        return cost_key in self._paces

    def is_measured(self, cost_key: int) -> bool:
        """Whether a batch that asked alike was large enough to tell what an agent takes."""
        pace = self._paces.get(cost_key)
        return pace is not None and pace.ns is not None

    def batch_agents(self, cost_key: int, batch_ns: float) -> int:
        """How many agents a batch of `batch_ns` holds; one tile as long as nobody knows what an agent takes."""
        pace = self._paces.get(cost_key)
        return TILE_AGENTS if pace is None or pace.ns is None else max(int(batch_ns / pace.ns), 1)

    def record(self, cost_key: int, agents: int, elapsed_ns: int, now_s: float) -> None:
        """Learn from a batch that is finished now what an agent takes."""
        pace = self._paces.get(cost_key)
        if pace is None:
            pace = self._paces[cost_key] = Pace()
        pace.record(agents, elapsed_ns, now_s)

    def count_steps(self, agents: int, sample: Telemetry | None) -> None:
        """Take a finished batch of steps into the telemetry: how many agents it stepped, and what was measured."""
        self._telemetry.count(agents, sample)

    def take_telemetry(self, time_s: float, epoch: int, interval_s: float) -> PopulationTelemetry | None:
        """What happened since the last call; None where nothing did."""
        sums, self._telemetry = self._telemetry, _Sums()
        if not sums.batches:
            return None
        if sums.sampled:
            self._vfe_mean = sums.vfe / sums.sampled
        counts = sums.action_counts
        return PopulationTelemetry(
            time_s=time_s,
            epoch=epoch,
            population=self.info.uid,
            interval_s=interval_s,
            agent_steps=sums.agents,
            batches=sums.batches,
            vfe_mean=self._vfe_mean,
            entropy_mean=sums.entropy / sums.entropy_agents if sums.entropy_agents else None,
            action_counts=tuple(counts[i] for i in range(min(max(counts, default=-1) + 1, _HISTOGRAM_BINS))),
        )


@dataclass(frozen=True, slots=True)
class Damaged:
    """A population in the data folder that cannot be read. Its name is None where that cannot be read either."""

    uid: str
    name: str | None
    error: StorageError


def cost_key(command: Command, want: int = 0) -> int:
    """What steps or reads of a population have in common that take about as long."""
    return want << 8 | command


def guess_ns(model: ModelInfo) -> float:
    """What a step of one agent takes at the most, as far as the sizes of its model tell: a nanosecond per operation.

    Every policy's every step moves all factors and predicts all modalities, and inference sweeps over all modalities;
    over a window, at each of its steps, and there it moves all factors too, forth and back.
    Sparse models and policies that share their beginning take a small part of it.
    """
    predict = math.prod(model.num_states) * sum(model.num_obs)
    move = sum(states**2 for states in model.num_states)
    window = model.inference_horizon
    sweeps = _SWEEPS * window * (math.prod(model.num_states) * model.num_modalities + 2 * move * (window > 1))
    return float(model.num_policies * model.policy_len * (predict + move) + sweeps)


def opening_ns(model: ModelInfo) -> float:
    """What the plan of a model takes to compile, at the most: the first worker with new kernels does that."""
    return PLAN_NS * model.num_policies * model.policy_len * len(model.num_controls)


def _whole_tiles(agents: int) -> int:
    """So many agents take as long: kernels run whole tiles."""
    return -(-agents // TILE_AGENTS) * TILE_AGENTS


class _Sums:
    def __init__(self) -> None:
        self.agents = 0
        self.batches = 0
        self.sampled = 0
        self.vfe = 0.0
        self.entropy = 0.0
        self.entropy_agents = 0
        self.action_counts: defaultdict[int, int] = defaultdict(int)

    def count(self, agents: int, sample: Telemetry | None) -> None:
        self.agents += agents
        self.batches += 1
        if sample is None:
            return
        self.sampled += sample.agents
        self.vfe += sample.vfe_sum
        self.entropy += sample.entropy_sum
        self.entropy_agents += sample.entropy_agents
        for action, count in enumerate(sample.action_counts):
            self.action_counts[action] += count
