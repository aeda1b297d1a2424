"""The broker's shell: sockets, clocks, pidfds and files around the pure core, on one thread."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import Any

import zmq

from beliefd.engine.boot import mark_clean, take_clean
from beliefd_broker.actions import (
    Action,
    Emit,
    KillWorker,
    Log,
    MarkQuarantine,
    ResetTally,
    SendClient,
    SendWorker,
    WatchWorker,
)
from beliefd_broker.disk import clear_leftovers, load_populations, mark_quarantine, next_epoch
from beliefd_broker.doorkeeper import Doorkeeper
from beliefd_broker.doors import Doors, open_local
from beliefd_broker.outbox import Outbox
from beliefd_broker.population import Damaged, Population
from beliefd_broker.routing import Core
from beliefd_broker.scales import OWN_BYTES, Scales
from beliefd_broker.switchboard import Switchboard
from beliefd_broker.upkeep import Upkeep
from beliefd_broker.vigil import Vigil
from beliefd_broker.workforce import survivor_key
from beliefd_proto.errors import BeliefdError, StorageError
from beliefd_service.access import Access
from beliefd_service.leases import held_leases
from beliefd_service.lifecycle import StopSignal
from beliefd_service.logging import Logger
from beliefd_service.process import ProcessIdentity, kill_process, open_process
from beliefd_service.processor import take_short_turns
from beliefd_service.ring import RingWriter
from beliefd_service.settings import Settings
from beliefd_service.tallies import Tallies

_LEAST_DRAINED, _MOST_DRAINED = 32, 512
_WAVES = 3
_FEW_OPEN = 4
"""Where so few requests are open it is not worth the wait to see whether somebody asks something too."""
_TICK_MS = 20
_SOON_MS = 5
"""Where something is held back, or processors are kept awake. A shorter one than the system's own tick, often of 4 ms,
would have a timer set and taken back at each wait."""
_GC_OBJECTS = 50_000
_DRAIN_S = 5.0
_LINGER_S = 1.0
"""For how long clients that are slow to take their answers hold up a stop: they ask the next broker again."""
_ACCESS_S = 0.5


class Broker:
    """Owns the connections of clients and workers, the event ring, and a pidfd of every worker."""

    def __init__(self, settings: Settings, logger: Logger, stop: StopSignal) -> None:
        self._settings = settings
        self._logger = logger
        self._stop = stop
        self._limits = settings.limits
        self._access = Access.read(settings.keys) if settings.keys is not None else None
        self._accessed_s = 0.0
        self._context = zmq.Context()
        self._doorkeeper = Doorkeeper(self._context, self._access) if self._access is not None else None
        self._local = open_local(settings, gone=lambda route: self._core.client_gone(route))
        self._doors = Doors(settings, self._context, self._doorkeeper, self._local)
        self._poller = zmq.Poller()
        self._poller.register(stop.fd, zmq.POLLIN)
        self._workers = Switchboard(settings.worker_socket)
        self._poller.register(self._workers.fileno(), zmq.POLLIN)
        self._vigil = Vigil(settings.awake_ms / 1000, lambda why: logger.info("processors_may_sleep", why=why))
        open_bytes = self._limits.open_bytes
        # Thrice: what is open, once more while it is put together, and what waits for slow clients.
        self._scales = Scales(self._doors.endpoint, self._local, OWN_BYTES + 3 * open_bytes)
        self._client_outbox = Outbox(self._doors.send, open_bytes)
        self._ring = RingWriter(settings.events)
        self._tallies = Tallies(settings.tallies, create=True)
        self._deaths: dict[int, Callable[[], None]] = {}
        self._pidfds: dict[bytes, int] = {}
        epoch = next_epoch(settings.run)
        survivors = _survivors(settings)
        upkeep = Upkeep(epoch, settings.journal_bytes, settings.checkpoint_s)
        grants = self._access.grants if self._access is not None else None
        self._core = Core(
            epoch, (), survivors, time.monotonic(), time.time(), self._limits, upkeep=upkeep, grants=grants
        )
        for identity in survivors:
            self._watch(survivor_key(identity), identity, self._survivor_died(identity))
        self._ticked_s = 0.0
        self._scarce = False
        logger.info(
            "listening",
            endpoint=self._doors.endpoint,
            socket=str(settings.client_socket),
            epoch=epoch,
            survivors=len(survivors),
            keys=self._doorkeeper is not None,
        )

    def run(self) -> None:
        """Serve until a signal asks to stop."""
        # Messages make no cycles: what is left to collect is rare, and a pause in the middle of a step is not.
        gc.freeze()
        gc.set_threshold(_GC_OBJECTS)
        take_short_turns()
        serving = False
        while not self._stop.requested:
            self._turn()
            if not serving and self._core.workforce.settled:
                self._begin_serving()
                serving = True
        if serving:
            self._finish()

    def _turn(self) -> None:
        """Take what is there, decide, and send."""
        ready = self._wait()
        proceed = False
        if self._workers.fileno() in ready:
            proceed = True
            self._take_results()
        # After results, which count. Before the dead are given work, clients ask who lives, and a descriptor is opened
        # that may get the number of one in `ready`.
        for source in ready:
            if source in self._deaths:
                proceed = True
                self._deaths[source]()
        if proceed:
            self._proceed()  # before more is read: who waits for an answer or for work waits for all of this
        if self._doors.are_among(ready):
            self._drain_clients(ready)
        self._tick()
        self._proceed()

    def _proceed(self) -> None:
        """Hand out what can be begun, and send what is to be sent."""
        now_s = time.monotonic()
        while self._core.dispatch(now_s):
            self._act_all()
        self._core.answer()
        self._flush()
        while self._core.help(time.monotonic()):  # by what is left then
            self._act_all()

    def _finish(self) -> None:
        """End what was begun, and answer it; what clients sent and nobody has begun they send to the next broker."""
        self._logger.info("leaving")
        self._doors.shut(self._poller)
        self._core.drain()
        leave_by_s = time.monotonic() + _DRAIN_S
        while not self._core.drained and time.monotonic() < leave_by_s:
            self._turn()
        leave_by_s = min(leave_by_s, time.monotonic() + _LINGER_S)
        while (self._client_outbox or self._local.unsent) and time.monotonic() < leave_by_s:
            self._turn()
        if self._core.drained:
            try:
                mark_clean(self._settings.data)
            except StorageError as error:  # then populations are rebuilt if the machine is started again
                self._logger.error("not_marked_clean", code=error.code, reason=str(error))

    def _begin_serving(self) -> None:
        """Read what the data folder holds, and listen to clients.

        Not before every worker that outlived the last broker is idle or dead: it may be changing a population still.
        """
        clear_leftovers(self._settings)
        take_clean(self._settings.data)
        found = list(load_populations(self._settings, self._logger))
        populations = [population for population in found if isinstance(population, Population)]
        damaged = [damaged for damaged in found if isinstance(damaged, Damaged)]
        self._core.adopt(populations, damaged)
        self._doors.open(self._poller)
        self._logger.info("serving", populations=len(populations))

    def close(self) -> None:
        """Let go of everything. What is in workers' hands stays there: the next broker settles it."""
        self._flush()
        if self._doorkeeper is not None:
            self._doorkeeper.stop()
        self._context.destroy(linger=200)
        self._local.close()
        self._workers.close()
        self._ring.close()
        self._vigil.close()
        for fd in self._pidfds.values():
            os.close(fd)

    def _wait(self) -> list[Any]:
        """Wait for something, but not for long; returns the sockets and fds that have something to read."""
        soon = self._client_outbox or self._vigil.awake
        return [source for source, _ in self._poller.poll(_SOON_MS if soon else _TICK_MS)]

    def _drain_clients(self, ready: list[Any]) -> None:
        """Take what clients sent, of many a part at a time: it is worked on while the next part is read."""
        part = min(max(_LEAST_DRAINED, self._core.clients // _WAVES), _MOST_DRAINED)
        for number, (route, frames) in enumerate(self._doors.messages(ready, part)):
            now_s = time.monotonic()
            self._core.client_message(route, frames, now_s)
            if self._core.open_requests:  # not for what is answered at once, or refused
                self._vigil.keep(now_s)
            if number == 0 and self._core.open_requests <= _FEW_OPEN:
                if self._core.workforce.busy:  # who told this client what it goes on from is idle by now
                    self._take_results()
                self._proceed()

    def _take_results(self) -> None:
        for name, frames in self._workers.messages():
            self._core.worker_message(name, frames, time.monotonic(), time.time())

    def _tick(self) -> None:
        now_s = time.monotonic()
        self._vigil.look(now_s)
        if now_s - self._ticked_s >= _TICK_MS / 1000:
            self._ticked_s = now_s
            self._core.tick(now_s, time.time())
            self._workers.listen()
            self._listen_to_clients()
            if not self._scales.light() and self._scales.look(self._core.state_bytes):
                self._logger.warning("connection_cut", why="the broker takes more memory than it may")
            if self._access is not None and now_s - self._accessed_s >= _ACCESS_S:
                self._accessed_s = now_s
                self._renew_access(self._access, now_s)

    def _listen_to_clients(self) -> None:
        self._local.listen()
        scarce = not self._local.listening
        if scarce != self._scarce:
            self._scarce = scarce
            self._logger.warning("descriptors", scarce=scarce)

    def _renew_access(self, access: Access, now_s: float) -> None:
        """Follow what beliefd-keys changed. Where that cannot be read, what held holds on."""
        try:
            renewed = access.renewed()
        except BeliefdError as error:
            self._logger.error("access_not_renewed", reason=str(error))
            return
        if renewed is not None and self._doorkeeper is not None:
            self._access = renewed
            self._doorkeeper.renew(renewed)
            self._core.renew_access(renewed.grants, now_s)

    def _flush(self) -> None:
        if self._client_outbox:
            for route in self._client_outbox.flush():
                self._client_gone(route)
        self._act_all()

    def _client_gone(self, route: bytes) -> None:
        """A client is gone, or takes nothing any more."""
        self._local.disconnect(route)
        self._core.client_gone(route)

    def _act_all(self) -> None:
        for action in self._core.take_actions():
            self._act(action)

    def _act(self, action: Action) -> None:
        match action:
            case SendClient():  # by name: patterns in brackets take as long as all else that is done to a message here
                if not self._client_outbox.send(action.route, action.frames):
                    self._client_gone(action.route)
            case SendWorker():
                # A worker that cannot be reached is dying: its pidfd tells, and its work is run again.
                self._workers.send(action.route, action.frames)
            case ResetTally():
                self._tallies.reset(action.number)
            case WatchWorker(incarnation, identity):
                self._watch(incarnation, identity, self._worker_died(incarnation))
            case KillWorker(incarnation, reason):
                self._logger.warning("kill_worker", reason=reason)
                if incarnation in self._pidfds:
                    kill_process(self._pidfds[incarnation])
            case MarkQuarantine(uid, quarantined):
                try:
                    mark_quarantine(self._settings, uid, quarantined)
                except OSError as error:  # it holds until the broker's next start all the same
                    self._logger.error("quarantine_not_kept", population=uid, reason=str(error))
            case Emit(event):
                self._ring.append(event)
            case Log(level, event, fields):
                getattr(self._logger, level)(event, **fields)

    def _watch(self, key: bytes, identity: ProcessIdentity, died: Callable[[], None]) -> None:
        """Have `died` called when the process is gone: by the poll that sees its pidfd, or now."""
        pidfd = open_process(identity)
        if pidfd is None:
            died()
            return
        self._pidfds[key] = pidfd
        self._poller.register(pidfd, zmq.POLLIN)

        def gone() -> None:
            self._poller.unregister(pidfd)
            os.close(pidfd)
            del self._deaths[pidfd], self._pidfds[key]
            died()

        self._deaths[pidfd] = gone

    def _worker_died(self, incarnation: bytes) -> Callable[[], None]:
        return lambda: self._core.worker_died(incarnation, time.time())

    def _survivor_died(self, identity: ProcessIdentity) -> Callable[[], None]:
        return lambda: self._core.workforce.settle_died(identity)


def _survivors(settings: Settings) -> dict[ProcessIdentity, str]:
    """The workers that outlived the last broker.

    One that took its lease this moment and has not said who it is yet never had work from an earlier broker.
    """
    return {identity: name for name, identity in held_leases(settings.leases) if identity is not None}
