"""What the broker asks for by itself: populations rebuilt after a power loss, and checkpoints now and then.

Such a job waits its turn, and runs, like a client's. It has a session of its own that is reached nowhere.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator

from beliefd_broker.accounts import Account
from beliefd_broker.population import Population
from beliefd_broker.request import Job
from beliefd_broker.session import Session
from beliefd_proto import Command
from beliefd_proto import messages as m

RETRY_S = 60.0
"""After a checkpoint that failed, as on a full disk."""
_CREDITS = 2**31


class Upkeep:
    """When which population needs what.

    Parameters
    ----------
    epoch : int
    journal_bytes : int
        A population that is journalled gets a checkpoint after so much of journal.
    checkpoint_s : float
        One that is not gets a checkpoint after this time, where it was stepped since the last; 0: never.
    """

    def __init__(self, epoch: int, journal_bytes: int = 64 * 2**20, checkpoint_s: float = 300.0) -> None:
        self._epoch = epoch
        self._journal_bytes = journal_bytes
        self._checkpoint_s = checkpoint_s
        self._jobs = 0
        self._session = Session(bytes(16), b"", "beliefd", Account(None, 0.0), _CREDITS, 0.0)

    def recovery(self, population: Population) -> Job:
        """The job that rebuilds a population."""
        return self._job(Command.RECOVER, m.Recover, population)

    def checkpoints(self, populations: Iterable[Population], now_s: float) -> Iterator[Job]:
        """The checkpoints that are due. To be called now and then."""
        for population in populations:
            if not population.stale and not population.checkpointing and self._is_due(population, now_s):
                population.checkpointing = True
                population.checkpoint_after_s = now_s + max(RETRY_S, self._checkpoint_s)
                population.retry_after_s = now_s + RETRY_S
                yield self._job(Command.CHECKPOINT, m.Checkpoint, population)

    def _is_due(self, population: Population, now_s: float) -> bool:
        if population.info.durability == "disk":
            return population.journal_bytes >= self._journal_bytes and now_s >= population.retry_after_s
        if not population.unsaved_steps or not self._checkpoint_s:
            return False
        if population.checkpoint_after_s is None:
            population.checkpoint_after_s = now_s + self._checkpoint_s
        return now_s >= population.checkpoint_after_s

    def _job(self, command: Command, header: type[m.Recover | m.Checkpoint], population: Population) -> Job:
        self._jobs += 1
        request_id = hashlib.sha256(f"{self._epoch} {self._jobs} {population.info.uid}".encode()).digest()[:16]
        asked = header(id=request_id, deadline_ms=0, population=population.info.uid)
        job = Job(self._session, command, asked, {}, 0.0)
        job.deadline_s = math.inf
        job.population = population
        return job
