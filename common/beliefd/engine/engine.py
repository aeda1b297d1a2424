"""Agents in this process: the kernels and the store of the server, without the server."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd import peragent
from beliefd.agents import agent_rows, executed_array, reset_array
from beliefd.allocation import keep_freed_memory
from beliefd.call import want_bits
from beliefd.engine.batch import LoadedPopulation, ReadOutputs, StepInputs, StepOutputs
from beliefd.engine.boot import mark_clean
from beliefd.engine.checkpoint import trim, write_checkpoint
from beliefd.engine.enginefolder import UID, check_durability, open_folder
from beliefd.engine.enginejournal import EngineJournal
from beliefd.engine.folderlock import FolderLock, refuse_workers
from beliefd.engine.given import given_in_memory, given_rows
from beliefd.engine.planner import compile_model
from beliefd.engine.scratch import Scratch
from beliefd.engine.store import Store
from beliefd.learned import LearnedCounts, learned_counts
from beliefd.model import Model
from beliefd.observations import canonical, wire_dtype
from beliefd.step import Reading, Step
from beliefd_proto.errors import InvalidArgument
from beliefd_proto.messages import Rebuilt

_SMALLEST_PIECE = 256
"""Agents per thread under which a call is not split further: a few tiles, which take longer than a thread's start."""

_LARGEST_PIECE = 16_384
"""Agents that a thread takes at once: it reads their ticks, and the kernels then find those records in the cache."""

_NAMES = ("q_pi", "neg_efe", "vfe", "utility", "info_gain", "inductive", "novelty", "gamma")
"""Outputs that a step and a reading have as they are."""

Out = TypeVar("Out")


class Engine:
    """A population of agents in this process.

    Parameters
    ----------
    model : Model
    agents : int
        How many; their numbers are 0 .. agents - 1.
    seed : int
        Of all draws, 0 .. 2^63 - 1.
    data : path, optional
        Folder to keep the agents in. An engine opened again on it, with the same model, agents and seed, goes on where
        the last one stopped. None: they live in memory.
    threads : int
        How many threads share a call. The results do not depend on it.
    durability : str
        ``"process"``: what a step returned survives the death of this process. ``"disk"``: it survives a power loss
        too, since it is written to a journal in `data` and synced before `step` returns.
    per_agent : mapping, optional
        Parameters of each agent's own, as the model has them with an axis of agents before the others: ``"C"``,
        ``"D"``, ``"pA"``, ``"pB"`` lists with None for what is the model's, ``"E"``, ``"gamma"``, ``"alpha"`` arrays.
        An agent's A and B are then the means of its pA and pB.

    Attributes
    ----------
    rebuilt : Rebuilt or None
        What was found where the agents had to be rebuilt from their last checkpoint and journal, because the machine
        was started again since they were last open and they had not been closed. Of agents that are not journalled,
        what came after the last `checkpoint` is lost then, and a warning says so.

    Raises
    ------
    InvalidArgument
    PopulationExists
        The folder holds agents of another model, number or seed.
    FolderLocked
        Another process uses the folder.
    DiskFull, FolderNotUsable, CorruptStore
    """

    def __init__(
        self,
        model: Model,
        agents: int,
        seed: int = 0,
        data: str | os.PathLike[str] | None = None,
        threads: int = 1,
        durability: str = "process",
        per_agent: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(model, Model):
            raise InvalidArgument("not a model", field="model", value=type(model).__name__, allowed="a beliefd.Model")
        agents = _whole(agents, "agents", 1, 2**31 - 1)
        seed = _whole(seed, "seed", 0, 2**63 - 1)
        threads = _whole(threads, "threads", 1, 1024)
        own = peragent.of_model(per_agent, model, agents)
        info = msgspec.structs.replace(model.info, per_agent={name: a.shape[1:] for name, a in own.items()})
        rows = given_rows(model, info, own) if own else None
        keep_freed_memory(agents)
        self.model = model
        self.seed = seed
        self.agents: NDArray[np.int64] = np.arange(agents)
        self.agents.flags.writeable = False
        self.rebuilt: Rebuilt | None = None
        check_durability(durability, data)
        self._lock = None if data is None else FolderLock(Path(data))
        self._folder = None if data is None else Path(data) / "populations" / UID
        try:
            if data is None:
                compiled = compile_model(model, info)
                store = Store.in_memory(compiled.layout, agents)
                given = None if rows is None else given_in_memory(info, rows)
            else:
                refuse_workers(Path(data))
                compiled, store, given, self.rebuilt = open_folder(
                    Path(data), model, info, agents, seed, durability, rows
                )
            self._parts = [LoadedPopulation(Scratch(compiled), store, seed, given) for _ in range(threads)]
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise
        self._store: Store | None = store
        # Of the last call: at random, and counted, so that no two calls of whoever opens this store have the same.
        self._request_id = np.frombuffer(bytearray(os.urandom(16)), dtype=np.uint64).reshape(1, 2)
        self._journal: EngineJournal | None = None
        if self._folder is not None and durability == "disk":
            self._journal = EngineJournal(self._folder, UID, self._parts[0])
        # The thread that calls takes a share itself.
        self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="beliefd") if threads > 1 else None
        # Guards the scratch of the parts and the ticks between their reading and their commit.
        self._busy = threading.Lock()

    def step(
        self,
        observations: Any,
        agents: Any = None,
        reset: Any = None,
        executed_actions: Any = None,
        want: Iterable[str] = (),
    ) -> Step:
        """One tick of perception and action for n agents.

        Parameters
        ----------
        observations : array_like
            Integers (n, modalities), or (n,) for one modality; -1 where an observation is missing. Or a list with one
            array per modality: integers (n,) are indices, floats (n, num_obs[m]) are probabilities.
        agents : array_like of int, optional
            Which agents, each once; by default all.
        reset : array_like of bool, shape (n,), optional
            Agents that start again from D before this observation.
        executed_actions : array_like of int, shape (n, factors) or (n,) for one controlled factor, optional
            What the environment really did since the last step, in place of the actions that the agents chose; -1 where
            the agent's own action stands.
        want : iterable of str
            Further outputs: ``"beliefs"``, ``"q_pi"``, ``"neg_efe"``, ``"vfe"``; and the parts of ``neg_efe``:
            ``"utility"``, ``"info_gain"``, ``"inductive"``, ``"novelty"``; and ``"gamma"``.

        Raises
        ------
        InvalidObservation, InvalidArgument, UnknownAgent
            Nothing was changed.
        MemoryError
            Some agents may have been stepped, unless durability is "disk": `read` tells by their ticks which.
        """
        info = self.model.info
        rows = agent_rows(agents, self.agents, None)
        n = len(rows)
        # As they are journalled; else in fewer bytes, which kernels read faster.
        checked = canonical(observations, info, n, wire_dtype(info) if self._journal is None else np.int32)
        mask = None if reset is None else reset_array(reset, n)
        executed = None if executed_actions is None else executed_array(executed_actions, info, n)
        bits = want_bits(want)
        ticks = np.empty(n, dtype=np.int64)
        with self._busy:
            committed = self._open_store().int64[:, 0]
            call = StepInputs(rows, ticks, self._next_request_ids(n), checked, mask, executed, bits)

            def inputs(piece: slice) -> StepInputs:
                # Read piece by piece: the kernels then find the records in the cache. All agents are a slice, which
                # NumPy reads faster than numbers.
                np.add(committed[piece if agents is None else rows[piece]], 1, out=ticks[piece])
                return call if piece.stop - piece.start == n else call.select(piece)

            if self._journal is None:
                outputs = self._share(n, lambda part, piece: part.step(inputs(piece)))
            else:
                begun = self._share(n, lambda part, piece: part.begin(inputs(piece)))
                self._journal.append(begun)
                outputs = [self._parts[0].commit(part) for part in begun]
                if self._journal.due:
                    self._checkpoint()
        return Step(
            actions=_joined(outputs, "actions"),
            tick=ticks,
            control_fac_idx=info.control_fac_idx,
            **self._results(outputs, bits),
        )

    def read(self, agents: Any = None, want: Iterable[str] = ()) -> Reading:
        """The state of agents as of their last tick; nothing is changed.

        Parameters
        ----------
        agents : array_like of int, optional
            By default all.
        want : iterable of str
            As in `step`, and ``"observations"``.

        Raises
        ------
        InvalidArgument, UnknownAgent
        """
        rows = agent_rows(agents, self.agents, None)
        bits = want_bits(want, read=True)
        with self._busy:
            self._open_store()
            outputs = self._share(len(rows), lambda part, piece: part.read(rows[piece], bits))
        return Reading(
            tick=_joined(outputs, "ticks"),
            actions=_joined(outputs, "actions"),
            observations=_joined(outputs, "observations"),
            **self._results(outputs, bits),
        )

    def parameters(self, agents: Any = None) -> LearnedCounts:
        """What agents have learned, as of their last tick.

        Parameters
        ----------
        agents : array_like of int, optional
            By default all.

        Returns
        -------
        dict
            The counts that the model learns, named as its arguments are. ``"pA"`` to ``"pD"``: a list with an array
            per modality or factor, shape (n, ...) as the model has it, None for one that is not learned. ``"pE"``: an
            array, shape (n, policies).

        Raises
        ------
        InvalidArgument, UnknownAgent
        """
        rows = agent_rows(agents, self.agents, None)
        with self._busy:
            self._open_store()
            return learned_counts(self.model.info, self._parts[0].learned(rows))

    def checkpoint(self) -> None:
        """Copy the agents to a file of their own, from which they are rebuilt after a power loss.

        Agents that are journalled are copied now and then by themselves.

        Raises
        ------
        InvalidArgument
            The agents live in memory.
        DiskFull, FolderNotUsable
        """
        with self._busy:
            self._open_store()
            self._checkpoint()

    def _checkpoint(self) -> None:
        if self._folder is None:
            raise InvalidArgument("agents in memory have no checkpoints; pass data", field="data")
        facts = write_checkpoint(self._folder, self._open_store(), len(self.agents), self.agents, os.urandom(16).hex())
        trim(self._folder, 0)
        if self._journal is not None:
            self._journal.begin_generation(facts.number)

    def close(self) -> None:
        """End the threads, sync the store and give it and the folder free. Harmless when it has been done."""
        with self._busy:
            if self._pool is not None:
                self._pool.shutdown()
            if self._journal is not None:
                self._journal.close()
                self._journal = None
            if self._store is not None:
                self._parts[0].close()
                self._store = None
                if self._folder is not None:
                    mark_clean(self._folder.parents[1])
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next_request_ids(self, n: int) -> NDArray[np.uint64]:
        """One for all agents of the next call; given per agent where that is journalled. `_busy` is held."""
        self._request_id[0, 1] += 1
        return self._request_id if self._journal is None else np.repeat(self._request_id, n, axis=0)

    def _open_store(self) -> Store:
        if self._store is None:
            raise InvalidArgument("the engine is closed; make a new one", field="engine")
        return self._store

    def _share(self, n: int, work: Callable[[LoadedPopulation, slice], Out]) -> list[Out]:
        """Do a call in contiguous pieces, as many per thread as keep a piece's records in the cache."""
        threads = min(len(self._parts), -(-n // _SMALLEST_PIECE))
        per_thread = -(-n // (threads * _LARGEST_PIECE))
        if threads * per_thread == 1:
            return [work(self._parts[0], slice(0, n))]
        edges = [n * i // (threads * per_thread) for i in range(threads * per_thread + 1)]
        slices = [slice(start, end) for start, end in itertools.pairwise(edges)]

        def run(thread: int) -> list[Out]:
            own = slices[thread * per_thread : (thread + 1) * per_thread]
            return [work(self._parts[thread], piece) for piece in own]

        if self._pool is None or threads == 1:
            return run(0)
        others = [self._pool.submit(run, thread) for thread in range(1, threads)]
        try:
            first = run(0)
        finally:
            wait(others)  # whatever happened here: they work in scratch that the next call takes
        return first + [output for other in others for output in other.result()]

    def _results(self, outputs: Sequence[StepOutputs] | Sequence[ReadOutputs], bits: int) -> dict[str, Any]:
        """The outputs that were wanted and maybe others as None, by name."""
        if not bits:
            return {}
        beliefs = _joined(outputs, "beliefs")
        if beliefs is not None:
            beliefs = np.split(beliefs, np.cumsum(self.model.num_states)[:-1], axis=1)
        return {"beliefs": beliefs} | {name: _joined(outputs, name) for name in _NAMES}


def _joined(outputs: Sequence[StepOutputs] | Sequence[ReadOutputs], name: str) -> Any:
    parts = [getattr(output, name) for output in outputs]
    return parts[0] if len(parts) == 1 or parts[0] is None else np.concatenate(parts)


def _whole(value: Any, field: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise InvalidArgument("not a whole number in range", field=field, value=value, allowed=f"{low}..{high}")
    return int(value)
