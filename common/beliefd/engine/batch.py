"""The one way to step and read agents, for a worker and for `Engine` alike."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd.engine import jit, kernels
from beliefd.engine.own import counts_of, gamma_of
from beliefd.engine.plan import LANES
from beliefd.engine.scratch import Scratch
from beliefd.engine.store import Store
from beliefd.observations import Observations
from beliefd_proto.commands import StepStatus, Want

# Plain integers: the operators of an enum cost more than a small batch's bookkeeping.
_BELIEFS, _Q_PI, _NEG_EFE, _VFE, _OBSERVATION, *_PARTS = (
    int(bit)
    for bit in (
        Want.BELIEFS,
        Want.Q_PI,
        Want.NEG_EFE,
        Want.VFE,
        Want.OBSERVATION,
        # In the order of the parts of G in `plan`.
        Want.UTILITY,
        Want.INFO_GAIN,
        Want.INDUCTIVE,
        Want.NOVELTY,
    )
)

_GAMMA = int(Want.GAMMA)

Reals = NDArray[np.floating]


class StepInputs(msgspec.Struct, eq=False):
    """One call, checked by the caller: observations in range, no agent twice, every row in the store.

    Arrays are aligned and C-contiguous; indices of observations may begin at any byte.

    Attributes
    ----------
    rows : ndarray of int64, shape (n,) or (1,)
        Agent numbers, in any order; or the first of neighbouring agents.
    ticks : ndarray of int64, shape (n,) or (1,)
        The tick that the call wants to commit, per agent or of all; 1 or above.
    request_ids : ndarray of uint64, shape (n, 2) or (1, 2)
        Of what is journalled all three are given per agent.
    observations : Observations
    reset : ndarray of uint8, shape (n,), or None
        Nonzero: the agent starts from D.
    executed_actions : ndarray of int32, shape (n, controls), or None
        What the agent's last action really was. A negative entry: not told for that control, so the action stands that
        the agent selected.
    want : int
        Bits of `Want`.
    """

    rows: NDArray[np.int64]
    ticks: NDArray[np.int64]
    request_ids: NDArray[np.uint64]
    observations: Observations
    reset: NDArray[np.uint8] | None = None
    executed_actions: NDArray[np.int32] | None = None
    want: int = 0

    def select(self, piece: slice) -> StepInputs:
        """The call for some of its agents; rows and ticks are given per agent."""
        return StepInputs(
            self.rows[piece],
            self.ticks[piece],
            self.request_ids if len(self.request_ids) == 1 else self.request_ids[piece],
            self.observations.select(piece),
            None if self.reset is None else self.reset[piece],
            None if self.executed_actions is None else self.executed_actions[piece],
            self.want,
        )


class StepOutputs(msgspec.Struct, eq=False):
    """What a step gives, in the order of the call. An agent in conflict has action -1 and zeros.

    Attributes
    ----------
    status : ndarray of uint8, shape (n,)
        `StepStatus` per agent.
    actions : ndarray of int32, shape (n, controls)
    vfe : ndarray, shape (n,), or None
    beliefs : ndarray, shape (n, sum of num_states), or None
        Factor after factor.
    q_pi, neg_efe, utility, info_gain, inductive, novelty : ndarray, shape (n, policies), or None
    gamma : ndarray, shape (n,), or None
    """

    status: NDArray[np.uint8]
    actions: NDArray[np.int32]
    vfe: Reals | None = None
    beliefs: Reals | None = None
    q_pi: Reals | None = None
    neg_efe: Reals | None = None
    utility: Reals | None = None
    info_gain: Reals | None = None
    inductive: Reals | None = None
    novelty: Reals | None = None
    gamma: Reals | None = None


_WANTED = StepOutputs.__struct_fields__[2:]


class Begun(msgspec.Struct, eq=False):
    """A call that was computed into idle slots, and that `commit` is to commit, or that is committed.

    Attributes
    ----------
    inputs : StepInputs
    status, actions : ndarray
        As in `StepOutputs`; the actions of agents that are picked are those that they will have done.
    picked : ndarray of int64, shape (count,)
        The positions in the call of the agents that it steps, as long as they are not committed.
    count : int
        How many these are, or were.
    taken : slice
        The agents of the call that were looked at here: all, where nobody shares it.
    """

    inputs: StepInputs
    rows: NDArray[np.int64]
    ticks: NDArray[np.int64]
    status: NDArray[np.uint8]
    actions: NDArray[np.int32]
    picked: NDArray[np.int64]
    count: int
    taken: slice
    results: tuple[Reals, Reals, Reals, Reals, Reals]


class ReadOutputs(msgspec.Struct, frozen=True, eq=False):
    """The committed state of agents, in the order of the call; see `beliefd.step.Reading` for agents at tick 0.

    Attributes
    ----------
    ticks : ndarray of int64, shape (n,)
    actions : ndarray of int32, shape (n, controls)
    observations : ndarray of int32, shape (n, modalities), or None
    vfe, beliefs, q_pi, neg_efe, utility, info_gain, inductive, novelty, gamma
        As in `StepOutputs`.
    """

    ticks: NDArray[np.int64]
    actions: NDArray[np.int32]
    observations: NDArray[np.int32] | None
    vfe: Reals | None
    beliefs: Reals | None
    q_pi: Reals | None
    neg_efe: Reals | None
    utility: Reals | None
    info_gain: Reals | None
    inductive: Reals | None
    novelty: Reals | None
    gamma: Reals | None


class LoadedPopulation:
    """A population that this process can step: plan, records and scratch.

    One call at a time with one scratch. Several of these may serve one store from several threads as long as no agent
    is in two calls at once.

    Parameters
    ----------
    scratch : Scratch
        Of the model.
    store : Store
        With the layout of the model.
    seed : int
        0 .. 2^63 - 1.
    given : Store, optional
        Parameters of the agents' own, where they have some.
    """

    def __init__(self, scratch: Scratch, store: Store, seed: int, given: Store | None = None) -> None:
        self.scratch = scratch
        self.compiled = compiled = scratch.compiled
        self.info = compiled.info
        self.store = store
        self.given = given
        self.seed = seed
        jit.prepare(self.info.dtype)
        self._dtype = np.dtype(self.info.dtype)
        controls = len(self.info.num_controls)
        self._total_obs = sum(self.info.num_obs)
        self._no_reset = np.zeros(0, dtype=np.uint8)
        self._no_actions = np.zeros((0, controls), dtype=np.int32)
        self._no_vector = np.zeros(0, dtype=self._dtype)
        self._no_matrix = np.zeros((0, 1), dtype=self._dtype)
        self._no_parts = np.zeros((len(_PARTS), 0, 1), dtype=self._dtype)
        self._own_tally = np.zeros(1, dtype=np.int64)
        self._picked = np.empty(LANES, dtype=np.int64)
        self._nothing = (self._no_vector, self._no_matrix, self._no_matrix, self._no_matrix, self._no_parts)

    def step(self, inputs: StepInputs) -> StepOutputs:
        """Step agents. A death or an error in between leaves some committed, each whole, the others as they were."""
        return self._told(self._advance(inputs, commits=True))

    def step_part(self, inputs: StepInputs, tally: NDArray[np.int64], from_end: bool) -> tuple[slice, StepOutputs]:
        """Step those agents of a call that another, who does the same in another process at once, does not.

        Parameters
        ----------
        tally : ndarray of int64, shape (1,)
            In memory that both share, 0 before the call: how many tiles they have taken.
        from_end : bool
            Whether the last agents are taken first; one of the two does so.

        Returns
        -------
        slice
            Which agents of the call were taken: the first ones, or the last.
        StepOutputs
            Theirs; of none, no more than status and actions.
        """
        begun = self._advance(inputs, commits=True, tally=tally, from_end=from_end)
        here = begun.taken
        if here.start == here.stop:
            return here, StepOutputs(begun.status[here], begun.actions[here])
        told = self._told(begun)
        wanted = [getattr(told, name) for name in _WANTED]
        return here, StepOutputs(
            told.status[here], told.actions[here], *[None if array is None else array[here] for array in wanted]
        )

    def begin(self, inputs: StepInputs) -> Begun:
        """Compute a call into the idle slots. Nothing of it counts until `commit`; it may be begun again, or never."""
        return self._advance(inputs, commits=False)

    def commit(self, begun: Begun) -> StepOutputs:
        """Commit what was begun: from here on it is the state of its agents."""
        if begun.count:
            kernels.publish(self.store.int64, begun.rows, begun.ticks, begun.picked, begun.count)
        return self._told(begun)

    def _advance(
        self,
        inputs: StepInputs,
        commits: bool,
        tally: NDArray[np.int64] | None = None,
        from_end: bool = False,
    ) -> Begun:
        compiled, store = self.compiled, self.store
        rows, ticks = inputs.rows, inputs.ticks
        n = len(inputs.observations.indices)
        part = np.array([from_end, 0], dtype=np.int64)
        if tally is None:
            tally = self._own_tally
            tally[0] = 0
        status = np.zeros(n, dtype=np.uint8)  # which is what it stays of agents that another takes
        actions = np.empty((n, len(self.info.num_controls)), dtype=np.int32)
        picked = self._picked if commits else np.empty(n, dtype=np.int64)
        results = self._results(n, inputs.want) if inputs.want else self._nothing
        reset, executed = inputs.reset, inputs.executed_actions
        count = kernels.advance(
            compiled.ints,
            compiled.reals,
            self.scratch.work,
            self.scratch.lanes,
            self.scratch.marks,
            store.int32,
            store.int64,
            store.real,
            self._parameters,
            self.seed,
            int(commits),
            tally,
            part,
            rows,
            ticks,
            inputs.request_ids.view(np.int64),
            inputs.observations.indices.view(np.int8),
            self._packed(inputs.observations),
            self._no_reset if reset is None else reset,
            self._no_actions if executed is None else executed,
            status,
            picked,
            actions,
            *results,
        )
        agents = part.item(1) * LANES
        first = max(-(-n // LANES) * LANES - agents, 0) if from_end else 0
        taken = slice(min(first, n), n if from_end else min(agents, n))
        return Begun(inputs, rows, ticks, status, actions, picked[:count], count, taken, results)

    def _told(self, begun: Begun) -> StepOutputs:
        """The outputs of a call that is committed."""
        rows, status, actions, results = begun.rows, begun.status, begun.actions, begun.results
        n, want = len(status), begun.inputs.want
        others = begun.count < begun.taken.stop - begun.taken.start
        if len(rows) < n and (others or want):
            rows = np.arange(rows[0], rows[0] + n)
        if others:
            recorded = np.flatnonzero(status == StepStatus.RECORDED)
            self._report(rows, recorded, np.empty(n, np.int64), actions, None, results)
        if not want:
            return StepOutputs(status, actions)
        wanted = self._wanted(results, want, rows)
        if wanted[-1] is not None:
            wanted[-1][status > StepStatus.RECORDED] = 0
        return StepOutputs(status, actions, *wanted)

    def read(self, rows: NDArray[np.int64], want: int = 0) -> ReadOutputs:
        """Read agents; nothing is changed. `rows` are agent numbers, int64 (n,)."""
        n = len(rows)
        ticks = np.empty(n, dtype=np.int64)
        actions = np.empty((n, len(self.info.num_controls)), dtype=np.int32)
        observations = np.empty((n, self.info.num_modalities), dtype=np.int32) if want & _OBSERVATION else None
        results = self._results(n, want)
        self._report(rows, np.arange(n), ticks, actions, observations, results)
        return ReadOutputs(ticks, actions, observations, *self._wanted(results, want, rows))

    def learned(self, rows: NDArray[np.int64]) -> dict[str, Reals]:
        """What agents have learned, as of their last tick: arrays (n, ...) by the names of `ModelInfo.learned`."""
        return counts_of(self.compiled, self.store, self.given, rows)

    def ensure(self, rows: int) -> None:
        """Map at least `rows` agents: what another process may have added.

        Raises
        ------
        CorruptStore
        """
        self.store.ensure(rows)
        if self.given is not None:
            self.given.ensure(rows)

    def close(self) -> None:
        """Let go of the files."""
        self.store.close()
        if self.given is not None:
            self.given.close()

    @property
    def _parameters(self) -> Reals:
        return self._no_matrix if self.given is None else self.given.real

    def _report(
        self,
        rows: NDArray[np.int64],
        picked: NDArray[np.int64],
        ticks: NDArray[np.int64],
        actions: NDArray[np.int32],
        observations: NDArray[np.int32] | None,
        results: tuple[Reals, Reals, Reals, Reals, Reals],
    ) -> None:
        kernels.report(
            self.compiled.ints,
            self.compiled.reals,
            self.scratch.work,
            self.scratch.lanes,
            self.scratch.marks,
            self.store.int32,
            self.store.int64,
            self.store.real,
            self._parameters,
            self.seed,
            picked,
            rows,
            ticks,
            actions,
            self._no_actions if observations is None else observations,
            *results,
        )

    def _results(self, n: int, want: int) -> tuple[Reals, Reals, Reals, Reals, Reals]:
        """Make the arrays of vfe, beliefs, q_pi, neg_efe and its parts; without rows where not wanted."""
        policies = self.info.num_policies
        return (
            np.zeros(n, dtype=self._dtype) if want & _VFE else self._no_vector,
            np.zeros((n, sum(self.info.num_states)), dtype=self._dtype) if want & _BELIEFS else self._no_matrix,
            np.zeros((n, policies), dtype=self._dtype) if want & _Q_PI else self._no_matrix,
            np.zeros((n, policies), dtype=self._dtype) if want & _NEG_EFE else self._no_matrix,
            np.zeros((len(_PARTS), n, policies), dtype=self._dtype) if want & sum(_PARTS) else self._no_parts,
        )

    def _wanted(
        self, results: tuple[Reals, Reals, Reals, Reals, Reals], want: int, rows: NDArray[np.int64]
    ) -> tuple[Reals | None, ...]:
        """What was wanted, in the order of the outputs; the precision comes from the committed records."""
        flags = (_VFE, _BELIEFS, _Q_PI, _NEG_EFE, *_PARTS)
        found = (*results[:4], *results[4])
        gamma = gamma_of(self.compiled, self.store, self.given, rows) if want & _GAMMA else None
        return (*(result if want & flag else None for result, flag in zip(found, flags, strict=True)), gamma)

    def _packed(self, observations: Observations) -> Reals:
        """Put the distributions side by side, modality after modality; no rows where there is none."""
        for entry in observations.distributions:
            if entry is not None:
                break
        else:
            return self._no_matrix
        packed = np.zeros((len(observations.indices), self._total_obs), dtype=self._dtype)
        start = 0
        for entry, num_obs in zip(observations.distributions, self.info.num_obs, strict=True):
            if entry is not None:
                packed[:, start : start + num_obs] = entry
            start += num_obs
        return packed
