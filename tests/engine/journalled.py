"""A population that is stepped and journalled as a worker does it, and what each of its agents was after each tick."""

from __future__ import annotations

import numpy as np

from beliefd.engine import boot
from beliefd.engine.batch import LoadedPopulation, StepInputs
from beliefd.engine.checkpoint import write_checkpoint
from beliefd.engine.generations import last_generation, make_generation
from beliefd.engine.journal import Journal, segments
from beliefd.engine.planner import compile_model
from beliefd.engine.recovery import Source, rebuild
from beliefd.engine.scratch import Scratch
from beliefd.engine.store import Store
from beliefd.observations import canonical
from models import random_model, with_counts


def small_model(seed=1, learns=True, **options):
    """Two or three factors, coupled; counts that are learned and forgotten."""
    rng = np.random.default_rng(seed)
    arguments = {"dtype": "float32", "coupled": True, "num_iter": 3, "action_selection": "stochastic"} | options
    model = random_model(rng, **arguments)
    return with_counts(rng, model, learn_E=False, fr_pA=0.9) if learns else model


def random_inputs(rng, model, rows, ticks, request_id=None):
    """A call with everything in it that a step takes."""
    n = len(rows)
    observations = [
        rng.dirichlet(np.ones(num_obs), n) if rng.random() < 0.3 else rng.integers(-1, num_obs, n)
        for num_obs in model.num_obs
    ]
    request_id = rng.bytes(16) if request_id is None else request_id
    ids = np.repeat(np.frombuffer(request_id, np.uint64)[np.newaxis], n, axis=0)
    return StepInputs(
        rows=np.asarray(rows, np.int64),
        ticks=np.asarray(ticks, np.int64),
        request_ids=ids,
        observations=canonical(observations, model.info, n),
        reset=(rng.random(n) < 0.2).astype(np.uint8) if rng.random() < 0.5 else None,
        executed_actions=np.stack([rng.integers(-1, c, n) for c in model.num_controls], axis=1).astype(np.int32)
        if rng.random() < 0.5
        else None,
    )


class Herd:
    """Agents in a folder, stepped in random groups by several workers' hands.

    `past[agent][tick]` is the agent's slot as that tick left it.
    """

    def __init__(self, folder, agents=6, seed=3, model=None):
        self.folder, self.agents, self.seed = folder, agents, seed
        self.model = small_model() if model is None else model
        self.compiled = compile_model(self.model)
        folder.mkdir(exist_ok=True)
        make_generation(folder, 0)
        boot.stamp(folder)
        self.store = Store.create(folder / "agents.bin", self.compiled.layout, agents)
        self.population = LoadedPopulation(Scratch(self.compiled), self.store, seed)
        self.workers = [Journal(folder, "a" * 16, self.population) for _ in range(2)]
        self.rng = np.random.default_rng(seed)
        self.past = [{0: b""} for _ in range(agents)]
        self.epoch, self.batch, self.generation = 1, 0, 0
        self.synced = []  # (ticks of all agents, size of every segment) after each acknowledged batch

    def begin(self, rows=None, request_id=None, worker=None):
        """Compute and journal a step, and stop before its commit words."""
        if rows is None:
            rows = self.rng.permutation(self.agents)[: self.rng.integers(1, self.agents + 1)]
        self.batch += 1
        ticks = self.store.int64[rows, 0] + 1
        begun = self.population.begin(random_inputs(self.rng, self.model, rows, ticks, request_id))
        worker = self.rng.integers(len(self.workers)) if worker is None else worker
        self.workers[worker].append([begun], self.generation, self.epoch, self.batch)
        return begun

    def step(self, rows=None, worker=None):
        begun = self.begin(rows, worker=worker)
        self.population.commit(begun)
        for row, tick in zip(begun.rows.tolist(), begun.ticks.tolist(), strict=True):
            self.past[row][tick] = slot_of(self.store, row)
        sizes = {path: path.stat().st_size for path in self.segments()}
        self.synced.append((self.store.int64[:, 0].tolist(), sizes))

    def checkpoint(self):
        made = write_checkpoint(self.folder, self.store, self.agents, np.arange(self.agents), self.rng.bytes(16).hex())
        self.generation = made.number

    def segments(self):
        last = last_generation(self.folder)
        return [path for generation in range(last + 1) for path in segments(self.folder, generation)]

    def rebuilt(self, at_tick=None):
        """What `rebuild` makes of the folder: what it tells, and a store."""
        target = self.folder / "rebuilt.bin"
        source = Source(self.folder, self.seed, self.agents, np.arange(self.agents), True)
        told = rebuild(source, self.compiled, target, "restarted", at_tick)
        return told, Store.open(target, self.compiled.layout)

    def ticks_if_past(self, store):
        """The tick of every agent of a store; each must be what the agent once was at that tick."""
        ticks = store.int64[:, 0].tolist()
        for row, tick in enumerate(ticks):
            assert slot_of(store, row) == self.past[row][tick], f"agent {row} never was like this at tick {tick}"
        return ticks


def slot_of(store, row):
    """The bytes of an agent's committed slot; none before its first step."""
    tick = int(store.int64[row, 0])
    if tick == 0:
        return b""
    start = store.layout.slot_start + (tick & 1) * store.layout.slot_bytes
    return store.bytes[row, start : start + store.layout.slot_bytes].tobytes()
