"""Agents in this process: the kernels and the store of the server, without the server."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from beliefd.agents import agent_rows, executed_array, reset_array
from beliefd.call import want_bits
from beliefd.engine.batch import LoadedPopulation, ReadOutputs, StepInputs, StepOutputs
from beliefd.engine.folderlock import FolderLock, refuse_workers
from beliefd.engine.jit import fingerprint
from beliefd.engine.layout import RecordLayout
from beliefd.engine.manifest import Manifest, read_facts, write_manifest
from beliefd.engine.members import Members
from beliefd.engine.planfile import load_plan
from beliefd.engine.planner import CompiledModel, compile_model
from beliefd.engine.store import Store, storage_errors, sync_folder
from beliefd.learned import LearnedCounts, learned_counts
from beliefd.model import Model
from beliefd.observations import canonical
from beliefd.step import Reading, Step
from beliefd_proto.errors import InvalidArgument, PopulationExists

_SMALLEST_PIECE = 256
"""Agents per thread under which a call is not split further: a few tiles, which take longer than a thread's start."""

_LARGEST_PIECE = 16_384
"""Agents over which the passes of a step (admit, advance, publish) find records in the cache."""

_NAMES = ("q_pi", "neg_efe", "vfe", "utility", "info_gain", "inductive", "novelty")
"""Outputs that a step and a reading have as they are."""

_UID = "e" * 16
"""Of the one population that an engine keeps in its data folder."""

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
        self, model: Model, agents: int, seed: int = 0, data: str | os.PathLike[str] | None = None, threads: int = 1
    ) -> None:
        agents = _whole(agents, "agents", 1, 2**31 - 1)
        seed = _whole(seed, "seed", 0, 2**63 - 1)
        threads = _whole(threads, "threads", 1, 1024)
        self.model = model
        self.seed = seed
        self.agents: NDArray[np.int64] = np.arange(agents)
        self.agents.flags.writeable = False
        self._lock = None if data is None else FolderLock(Path(data))
        try:
            if data is None:
                compiled = compile_model(model)
                store = Store.in_memory(compiled.layout, agents)
            else:
                refuse_workers(Path(data))
                compiled, store = _open(Path(data), model, agents, seed)
            self._parts = [LoadedPopulation(compiled, store, seed) for _ in range(threads)]
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise
        self._store: Store | None = store
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="beliefd") if threads > 1 else None
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
            ``"utility"``, ``"info_gain"``, ``"inductive"``, ``"novelty"``.

        Raises
        ------
        InvalidObservation, InvalidArgument, UnknownAgent
            Nothing was changed.
        """
        info = self.model.info
        rows = agent_rows(agents, self.agents, None)
        n = len(rows)
        checked = canonical(observations, info, n)
        mask = None if reset is None else reset_array(reset, n)
        executed = None if executed_actions is None else executed_array(executed_actions, info, n)
        request_ids = np.empty((n, 2), dtype=np.uint64)
        request_ids[:] = np.frombuffer(os.urandom(16), dtype=np.uint64)
        bits = want_bits(want)
        with self._busy:
            store = self._open_store()
            ticks = store.int64[rows, 0] + 1

            def inputs(piece: slice) -> StepInputs:
                return StepInputs(
                    rows[piece],
                    ticks[piece],
                    request_ids[piece],
                    checked.select(piece),
                    None if mask is None else mask[piece],
                    None if executed is None else executed[piece],
                    bits,
                )

            outputs = self._share(n, lambda part, piece: part.step(inputs(piece)))
        return Step(
            actions=_joined(outputs, "actions"),
            tick=ticks,
            control_fac_idx=info.control_fac_idx,
            **self._results(outputs),
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
            **self._results(outputs),
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

    def close(self) -> None:
        """End the threads, and give the store and the folder free. Harmless when it has been done."""
        with self._busy:
            if self._pool is not None:
                self._pool.shutdown()
            if self._store is not None:
                self._store.close()
                self._store = None
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_store(self) -> Store:
        if self._store is None:
            raise InvalidArgument("the engine is closed; make a new one", field="engine")
        return self._store

    def _share(self, n: int, work: Callable[[LoadedPopulation, slice], Out]) -> list[Out]:
        """Do a call in contiguous pieces, as many per thread as keep a piece's records in the cache."""
        threads = min(len(self._parts), -(-n // _SMALLEST_PIECE))
        per_thread = -(-n // (threads * _LARGEST_PIECE))
        edges = [n * i // (threads * per_thread) for i in range(threads * per_thread + 1)]
        slices = [slice(start, end) for start, end in itertools.pairwise(edges)]

        def run(thread: int) -> list[Out]:
            own = slices[thread * per_thread : (thread + 1) * per_thread]
            return [work(self._parts[thread], piece) for piece in own]

        if self._pool is None or threads == 1:
            return run(0)
        return list(itertools.chain.from_iterable(self._pool.map(run, range(threads))))

    def _results(self, outputs: Sequence[StepOutputs] | Sequence[ReadOutputs]) -> dict[str, Any]:
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


def _open(data: Path, model: Model, agents: int, seed: int) -> tuple[CompiledModel, Store]:
    """Open the engine's population in a data folder, or make it."""
    model_folder = data / "models" / model.hash
    folder = data / "populations" / _UID
    with storage_errors(data):
        model_folder.parent.mkdir(exist_ok=True)
        folder.parent.mkdir(exist_ok=True)
    model.save(model_folder)
    compiled = load_plan(model_folder, model.info)
    if not folder.exists():
        _create(folder, model, agents, seed)
    manifest = read_facts(folder)
    for field, found, asked in (
        ("model", manifest.model.hash, model.hash),
        ("agents", manifest.rows, agents),
        ("seed", manifest.seed, seed),
    ):
        if found != asked:
            raise PopulationExists(
                f"{data} holds other agents; open it with theirs, or choose another folder",
                field=field,
                value=asked,
                allowed=str(found),
            )
    if manifest.fingerprint != fingerprint():
        warnings.warn(
            f"{data} was written by other kernels or on another CPU: the agents go on within the tolerance of "
            f"{model.dtype}, not bit for bit",
            stacklevel=3,
        )
    store = Store.open(folder / "agents.bin", compiled.layout)
    store.ensure(agents)
    return compiled, store


def _create(folder: Path, model: Model, agents: int, seed: int) -> None:
    """Make the population's folder in one rename, so that a crash leaves all of it or nothing."""
    draft = folder.with_name(f".new-{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    manifest = Manifest(
        uid=_UID,
        name="engine",
        seed=seed,
        durability="process",
        model=model.info,
        rows=agents,
        created_by="0" * 32,
        fingerprint=fingerprint(),
    )
    try:
        with storage_errors(folder):
            draft.mkdir(mode=0o700)
            Store.create(draft / "agents.bin", RecordLayout.of(model.info), agents).close()
            write_manifest(draft, manifest, Members.of(agents))
            draft.rename(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
