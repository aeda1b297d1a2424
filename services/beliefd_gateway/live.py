"""What is known now: the broker's last report, the last telemetry of each population, the workers seen.

It belongs to the event loop. The threads that learn something hand it over by `loop.call_soon_threadsafe`; whoever
shows it (WebSocket frames, metrics, /readyz, /api/workers) reads it there. The database has no part in it, so the page
lives while the database does not.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

import msgspec

from beliefd_gateway.reading import Cursor, Entry, Happened
from beliefd_proto.errors import BeliefdError, Disconnected
from beliefd_proto.messages import PopulationInfo, StatusReport, WorkerStatus
from beliefd_service import events

LOST_SHOWN_S = 300.0
"""How long a worker that is gone is still shown."""


@dataclass(slots=True)
class SeenWorker:
    """A worker as it was last reported; `lost_s` is when it was found gone (Unix time), None while it is there."""

    status: WorkerStatus
    lost_s: float | None = None


class Live:
    """The state that the gateway shows. Of the event loop alone: no lock guards it.

    Attributes
    ----------
    report : StatusReport or None
        The broker's last report, which is old while `outage` is set. None before the first.
    outage : BeliefdError or None
        Why the broker cannot be reached.
    populations : dict of str to PopulationInfo
        By uid.
    telemetry : dict of str to PopulationTelemetry
        The last interval of each population, by uid.
    entropy_mean : dict of str to float
        The last entropy that was sampled of each population, by uid, nats per agent: not every interval has one.
    agent_steps : Counter
        Agents stepped per population, by uid, in all the telemetry that was read.
    workers : dict of str to SeenWorker
        By name.
    cursor : Cursor
        Up to where the ring has been followed.
    changed : asyncio.Event
        Set by whatever changes any of this.
    """

    def __init__(self) -> None:
        self.report: StatusReport | None = None
        self.outage: BeliefdError | None = Disconnected("the broker has not answered yet", field="broker")
        self.populations: dict[str, PopulationInfo] = {}
        self.telemetry: dict[str, events.PopulationTelemetry] = {}
        self.entropy_mean: dict[str, float] = {}
        self.agent_steps: Counter[str] = Counter()
        self.workers: dict[str, SeenWorker] = {}
        self.cursor = Cursor()
        self.changed = asyncio.Event()
        # Made since the last report, which may be older than they are.
        self._new_uids: set[str] = set()

    def population(self, name: str) -> PopulationInfo | None:
        return next((info for info in self.populations.values() if info.name == name), None)

    def take_report(self, report: StatusReport) -> None:
        """The broker answered: its word on populations and workers is the last one."""
        now_s = time.time()
        self.report = report
        self.outage = None
        made_since = {uid: info for uid, info in self.populations.items() if uid in self._new_uids}
        self.populations = made_since | {info.uid: info for info in report.populations}
        self._new_uids.clear()
        for uid in self.telemetry.keys() - self.populations.keys():
            self._forget(uid)
        reported = {status.name: SeenWorker(status) for status in report.workers}
        for name, seen in self.workers.items():
            if name not in reported:
                seen.lost_s = seen.lost_s or now_s
                if now_s - seen.lost_s < LOST_SHOWN_S:
                    reported[name] = seen
        self.workers = dict(sorted(reported.items()))
        self.changed.set()

    def take_outage(self, error: BeliefdError) -> None:
        """The broker did not answer: what was last known stands, as such."""
        self.outage = error
        self.changed.set()

    def take_entries(self, entries: list[Entry], cursor: Cursor) -> None:
        """Events of the ring, in their order."""
        self.cursor = cursor
        for entry in entries:
            if isinstance(entry, Happened):
                self._take_event(entry.event)
        self.changed.set()

    def _take_event(self, event: events.AnyEvent) -> None:
        match event:
            case events.PopulationCreated(info=info):
                self.populations[info.uid] = info
                self._new_uids.add(info.uid)
            case events.PopulationChanged(info=info):
                self.populations[info.uid] = info
            case events.PopulationDropped(uid=uid):
                self.populations.pop(uid, None)
                self._forget(uid)
            case events.PopulationTelemetry(population=uid):
                self.telemetry[uid] = event
                if event.entropy_mean is not None:
                    self.entropy_mean[uid] = event.entropy_mean
                self.agent_steps[uid] += event.agent_steps
            case events.WorkerLost(worker=name, pid=pid):
                seen = self.workers.get(name)
                if seen is not None and seen.status.pid == pid:
                    seen.lost_s = event.time_s
            case events.WorkerTelemetry():
                self._take_worker(event)
            case _:
                pass

    def _take_worker(self, told: events.WorkerTelemetry) -> None:
        seen = self.workers.get(told.worker)
        if seen is not None and seen.status.pid == told.pid:
            seen.status = msgspec.structs.replace(
                seen.status,
                state=told.state,
                batches=told.batches,
                agent_steps=told.agent_steps,
                cpu_s=told.cpu_s,
                rss_bytes=told.rss_bytes,
            )

    def _forget(self, uid: str) -> None:
        self.telemetry.pop(uid, None)
        self.entropy_mean.pop(uid, None)
        self.agent_steps.pop(uid, None)
