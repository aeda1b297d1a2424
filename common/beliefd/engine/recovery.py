"""A population's records made anew, from a checkpoint and the journal of what came after it.

The entries of a generation are applied in the order of (epoch, batch). Per agent:

- An entry one tick ahead of the agent is stepped by the same kernels that stepped it first, and the action is the one
  that was chosen then.
- An entry of the agent's own tick and of another request takes the place of the one before, which was never
  acknowledged: the agent goes back to the state before that tick, which stands in its other slot.
- An entry that names another request before it than the agent was stepped by, or that is further ahead, shows that
  entries are missing. The agent stays where it is; all later entries are lost for it. What was applied to an agent is
  thus always the beginning of what happened to it.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd.engine.batch import LoadedPopulation, StepInputs
from beliefd.engine.boot import stamp
from beliefd.engine.checkpoint import Checkpoint, load_checkpoint, read_checkpoint
from beliefd.engine.generations import (
    checkpoint_folder,
    checkpoint_numbers,
    generation_folder,
    last_generation,
    size_bytes,
)
from beliefd.engine.given import open_given
from beliefd.engine.jit import fingerprint
from beliefd.engine.journal import segments, selected
from beliefd.engine.journalentry import Entry, EntryHead, SegmentHead, Skipped, decode_entry, read_frames
from beliefd.engine.manifest import write_rebuilt
from beliefd.engine.planner import CompiledModel
from beliefd.engine.scratch import Scratch
from beliefd.engine.store import Store, storage_errors
from beliefd_proto.commands import StepStatus
from beliefd_proto.errors import CorruptStore, InvalidArgument, StorageError
from beliefd_proto.messages import Rebuilt


@dataclass
class _Found:
    """What a replay came across."""

    entries: int = 0
    steps: int = 0
    steps_lost: int = 0
    torn_bytes: int = 0
    damaged_bytes: int = 0
    differing_actions: int = 0
    fingerprints: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Source:
    """Where a population's state comes from.

    Attributes
    ----------
    folder : Path
        The population's.
    seed, rows : int
    live : ndarray of int64
        The numbers of the agents that live.
    journalled : bool
        Whether its steps are journalled.
    """

    folder: Path
    seed: int
    rows: int
    live: NDArray[np.int64]
    journalled: bool


def rebuild(source: Source, compiled: CompiledModel, target: Path, why: str, at_tick: int | None = None) -> Rebuilt:
    """Make a file of records at `target` from the last checkpoint and the journal.

    Parameters
    ----------
    source : Source
    compiled : CompiledModel
    target : Path
        Nothing stands there.
    why : str
        What it is done for, as `Rebuilt.why`.
    at_tick : int, optional
        Stop every agent at this tick. By default all that is there is applied.

    Raises
    ------
    InvalidArgument
        What is kept does not reach back to `at_tick`.
    CorruptStore
        There is nothing whole to begin from.
    DiskFull, FolderNotUsable
    """
    target.unlink(missing_ok=True)
    store = Store.create(target, compiled.layout, source.rows)
    try:
        base, damaged = _begin(source, compiled, store, at_tick)
        given = open_given(source.folder, compiled.info)
        population = LoadedPopulation(Scratch(compiled), store, source.seed, given)
        found = _Found(damaged_bytes=damaged)
        if source.journalled:
            first = base.number if base is not None else 0
            for generation in range(first, last_generation(source.folder) + 1):
                _replay(population, source, generation, at_tick, found)
        ticks = store.int64[source.live, 0]
    finally:
        store.close()
    fingerprints = found.fingerprints | ({base.fingerprint} if base is not None else set())
    return Rebuilt(
        why=why,
        time_s=time.time(),
        checkpoint=base.number if base is not None else 0,
        checkpoint_time_s=base.time_s if base is not None else 0.0,
        journalled=source.journalled,
        entries=found.entries,
        steps=found.steps,
        steps_lost=found.steps_lost,
        torn_bytes=found.torn_bytes,
        damaged_bytes=found.damaged_bytes,
        lowest_tick=int(ticks.min(initial=2**62)) if len(ticks) else 0,
        highest_tick=int(ticks.max(initial=0)),
        same_kernels=fingerprints <= {fingerprint()},
        differing_actions=found.differing_actions,
    )


def recover(source: Source, compiled: CompiledModel) -> Rebuilt:
    """Put the live file of a population in place anew, after the machine was started again.

    Nobody may have it open. Where this is cut off, it is begun again at the next start.

    Raises
    ------
    CorruptStore
        There is nothing whole to begin from.
    DiskFull, FolderNotUsable
    """
    folder = source.folder
    draft = folder / "agents.bin.rebuilt"
    rebuilt = rebuild(source, compiled, draft, "restarted")
    with storage_errors(folder):
        os.replace(draft, folder / "agents.bin")
        write_rebuilt(folder, rebuilt)
        stamp(folder)
    return rebuilt


def _begin(source: Source, compiled: CompiledModel, store: Store, at_tick: int | None) -> tuple[Checkpoint | None, int]:
    """Fill the store with the last checkpoint that is whole; returns it, and the bytes of those that are not.

    Without a checkpoint, the beginning is a population of agents that never stepped.
    """
    folder = source.folder
    numbers = checkpoint_numbers(folder)
    damaged = 0
    for number in reversed(numbers):
        facts = read_checkpoint(folder, number)
        if facts is not None and at_tick is not None and facts.highest_tick > at_tick:
            continue
        try:
            if facts is None or facts.rows > source.rows:
                raise CorruptStore("this checkpoint says nothing that can be read", field=str(folder), value=number)
            load_checkpoint(folder, facts, store, compiled.layout)
        except StorageError:
            damaged += size_bytes(checkpoint_folder(folder, number))
            store.bytes[:] = 0
            continue
        return facts, damaged
    begins = generation_folder(folder, 0).exists()
    if at_tick is not None and not begins:
        oldest = [facts.highest_tick for n in numbers if (facts := read_checkpoint(folder, n)) is not None]
        raise InvalidArgument(
            "what is kept of this population does not reach back so far",
            field="at_tick",
            value=at_tick,
            allowed=f"{min(oldest, default=0)} or more",
        )
    if source.journalled and not begins:
        raise CorruptStore(
            "no checkpoint of this population is whole; restore it from a snapshot", field=str(folder), value=numbers
        )
    return None, damaged


def _replay(population: LoadedPopulation, source: Source, generation: int, at_tick: int | None, found: _Found) -> None:
    """Apply the entries of one generation."""
    mapped = [_mapped(path) for path in segments(source.folder, generation)]
    entries: list[tuple[int, int, memoryview, EntryHead, int]] = []
    for segment in mapped:
        with _readable(source.folder):
            frames = list(read_frames(segment))
        for frame in frames:
            if isinstance(frame, Skipped):
                size = frame.stop - frame.start
                found.torn_bytes += size if frame.torn else 0
                found.damaged_bytes += 0 if frame.torn else size
                continue
            head, payload, start = frame
            if isinstance(head, SegmentHead):
                _check(head, source, population)
                found.fingerprints.add(head.fingerprint)
            else:
                entries.append((head.epoch, head.batch, payload, head, start))
    entries.sort(key=lambda entry: entry[:2])
    for _, _, payload, head, start in entries:
        found.entries += 1
        with _readable(source.folder):
            entry = decode_entry(payload, head, start)
        _apply(population, entry, at_tick, found)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """What is whole and still cannot be read is of another version."""
    try:
        yield
    except (ValueError, msgspec.MsgspecError) as error:
        raise CorruptStore(
            f"its journal is of another version of beliefd ({error}); open it with that version, and stop it in order",
            field=str(folder),
        ) from error


def _check(head: SegmentHead, source: Source, population: LoadedPopulation) -> None:
    layout = population.compiled.layout.hash
    if head.layout != layout:
        raise CorruptStore(
            "the journal was written for records of another layout; restore the population from a snapshot",
            field=str(source.folder),
            value=head.layout,
            allowed=layout,
        )


def _mapped(path: Path) -> memoryview:
    with storage_errors(path), open(path, "rb") as file:
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError:  # an empty file has no mapping
            return memoryview(b"")


def _apply(population: LoadedPopulation, entry: Entry, at_tick: int | None, found: _Found) -> None:
    """Step the agents of an entry whose turn it is."""
    store = population.store
    inputs = entry.inputs
    if at_tick is not None:
        inputs, entry = _kept(entry, inputs.ticks <= at_tick)
    rows, ticks = inputs.rows, inputs.ticks
    if not len(rows) or rows.max() >= store.rows:
        found.steps_lost += len(rows)
        return
    committed = store.int64[rows, 0]
    same = (store.request_ids(rows) == inputs.request_ids).all(axis=1)
    again = ticks == committed
    # Of two entries for a tick the later one counts, and of two from one request it is the same.
    store.step_back(rows[again & ~same])
    ahead = ticks == store.int64[rows, 0] + 1
    follows = ahead & (store.request_ids(rows) == entry.previous_ids).all(axis=1)
    # Another step was acknowledged in the place of the agent's last one, and its entry is missing.
    store.step_back(rows[ahead & ~follows])
    found.steps_lost += int(np.count_nonzero(~follows & ~(again & same)))
    if not follows.all():
        inputs, entry = _kept(entry, follows)
    if not len(inputs.rows):
        return
    begun = population.begin(inputs)
    assert (begun.status == StepStatus.APPLIED).all()
    differing = (begun.actions != entry.actions).any(axis=1)
    if differing.any():
        # Other kernels may choose otherwise where choices are nearly tied; what happened is what was chosen then.
        found.differing_actions += int(np.count_nonzero(differing))
        store.set_actions(inputs.rows, inputs.ticks, entry.actions)
    population.commit(begun)
    found.steps += len(inputs.rows)


def _kept(entry: Entry, mask: NDArray[np.bool_]) -> tuple[StepInputs, Entry]:
    inputs = selected(entry.inputs, mask)
    return inputs, replace(entry, inputs=inputs, previous_ids=entry.previous_ids[mask], actions=entry.actions[mask])
