"""The populations that a worker has open."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd.engine.batch import LoadedPopulation
from beliefd.engine.given import open_given
from beliefd.engine.journal import Journal
from beliefd.engine.manifest import read_facts
from beliefd.engine.plan import LANES
from beliefd.engine.planfile import load_plan
from beliefd.engine.scratch import Scratch
from beliefd.engine.store import Store
from beliefd_proto import ModelInfo
from beliefd_service.settings import Settings
from beliefd_service.tallies import Tallies

SAMPLE_EVERY_S = 0.05


class Shelf:
    """Opens populations when they are first needed and keeps them open until they are gone."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._open: dict[str, LoadedPopulation] = {}
        # Of the models of populations that are open: many small ones of one model take no more than one.
        self._scratches: WeakValueDictionary[bytes, Scratch] = WeakValueDictionary()
        self._journals: dict[str, Journal] = {}
        self._sampled_s: dict[str, float] = {}
        self._tallies: Tallies | None = None

    def folder(self, uid: str) -> Path:
        return self.settings.populations / uid

    def model_folder(self, model_hash: str) -> Path:
        return self.settings.models / model_hash

    def population(self, uid: str, rows: int) -> LoadedPopulation:
        """The population, mapped at least up to `rows` agents.

        Raises
        ------
        CorruptStore, FolderNotUsable
        """
        population = self._open.get(uid)
        if population is None:
            manifest = read_facts(self.folder(uid))
            scratch = self._scratch(manifest.model)
            store = Store.open(self.folder(uid) / "agents.bin", scratch.compiled.layout)
            given = open_given(self.folder(uid), manifest.model)
            population = self._open[uid] = LoadedPopulation(scratch, store, manifest.seed, given)
            if manifest.durability == "disk":
                self._journals[uid] = Journal(self.folder(uid), uid, population)
        population.ensure(rows)
        return population

    def _scratch(self, info: ModelInfo) -> Scratch:
        """The scratch and the plan of a model, parameters of agents' own counted in."""
        key = msgspec.msgpack.encode(info)
        scratch = self._scratches.get(key)
        if scratch is None:
            scratch = self._scratches[key] = Scratch(load_plan(self.model_folder(info.hash), info))
        return scratch

    def journal(self, uid: str) -> Journal | None:
        """The journal of a population that is open; None where it has none."""
        return self._journals.get(uid)

    def tally(self, number: int) -> NDArray[np.int64]:
        """The count of this number, which is shared with another worker.

        Raises
        ------
        DiskFull, FolderNotUsable
        """
        if self._tallies is None:
            self._tallies = Tallies(self.settings.tallies)
        return self._tallies.of(number)

    def is_taken(self, tally: int, agents: int) -> bool:
        """Whether nothing is left of so many agents that are shared."""
        return self.tally(tally).item() * LANES >= agents

    def sample_due(self, uid: str) -> bool:
        """Whether the population's telemetry has not been sampled for a while; if so, it is now."""
        now_s = time.monotonic()
        due = now_s - self._sampled_s.get(uid, float("-inf")) > SAMPLE_EVERY_S
        if due:
            self._sampled_s[uid] = now_s
        return due

    def forget(self, uid: str) -> None:
        """Let go of a population's files."""
        self._sampled_s.pop(uid, None)
        journal = self._journals.pop(uid, None)
        if journal is not None:
            journal.close()
        population = self._open.pop(uid, None)
        if population is not None:
            population.close()

    def delete(self, uid: str) -> None:
        """Delete a population's folder. It leaves its place first, so that no start ever finds half of it."""
        self.forget(uid)
        folder = self.folder(uid)
        doomed = folder.with_name(f".dropped-{uid}")
        if folder.exists():
            folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def close(self) -> None:
        for uid in list(self._open):
            self.forget(uid)
