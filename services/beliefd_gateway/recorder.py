"""Writes the projection: reads the ring after the cursor that the database holds, and writes rows and cursor together.

The ring is the queue: nothing that was read is kept anywhere but in the database, so a gateway that is killed, or whose
database is away for a while, goes on from the cursor. What is overwritten meanwhile becomes a row in `gaps`; then, and
after each start of the broker, the manifests are read again, since a population may have come or gone unseen.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from sqlalchemy.ext.asyncio import AsyncConnection

from beliefd_gateway import tables
from beliefd_gateway.database import Database, DatabaseError
from beliefd_gateway.manifests import OnDisk, scan
from beliefd_gateway.reading import Cursor, read_entries
from beliefd_gateway.record import Rows, Run, Standing, project
from beliefd_proto.errors import StartupError
from beliefd_service.logging import Logger
from beliefd_service.settings import Settings

BATCH_EVENTS = 500
BATCH_S = 0.2
TELEMETRY_KEPT_S = 7 * 86_400.0
"""How long the intervals are kept. A hundred busy populations write about 3 GB in a day."""
_FORGET_EVERY_S = 3600.0
_BACKOFF_S = (0.2, 5.0)
_LAST_BATCHES = 20


class Recorder:
    """The one writer of the database. It belongs to the event loop; its blocking reads run in the loop's executor.

    Attributes
    ----------
    trouble : str or None
        Why the database cannot be written now.
    cursor : Cursor
        Up to where the ring is in the database.
    rows_written : Counter
        Rows by table since the start.
    """

    def __init__(self, settings: Settings, database: Database, logger: Logger) -> None:
        self.trouble: str | None = "the database is not open yet"
        self.rows_written: Counter[str] = Counter()
        self._settings = settings
        self._database = database
        self._logger = logger
        self._standing: Standing | None = None
        self._forgotten_s = float("-inf")
        self._stopping = asyncio.Event()

    @property
    def cursor(self) -> Cursor:
        return self._standing.cursor if self._standing else Cursor()

    async def open(self) -> None:
        """Migrate, find the cursor, and bring the populations up to date with their manifests.

        Raises
        ------
        StartupError
            The database is of a newer version.
        SQLAlchemyError, OSError
            It cannot be used now.
        """
        await self._database.migrate()
        on_disk = await asyncio.to_thread(scan, self._settings, self._logger)
        async with self._database.writing() as connection:
            found = (await connection.execute(tables.where_to_go_on())).first()
            cursor = Cursor(found.ring_id, found.sequence) if found else Cursor()
            runs = [Run(**row) for row in (await connection.execute(tables.open_runs())).mappings()]
            standing = Standing(cursor, {run.population: run for run in runs})
            rows = Rows()
            await self._take_disk(connection, on_disk, rows)
            await self._write(connection, rows, cursor)
        self._count(rows)
        self._standing = standing
        self.trouble = None

    async def run(self) -> None:
        """Record until `stop`, whatever happens to the database."""
        backoff_s = _BACKOFF_S[0]
        while not self._stopping.is_set():
            try:
                if self._standing is None:
                    await self.open()
                read = await self._record_batch()
                await self._forget_old()
                backoff_s = _BACKOFF_S[0]
            except (*DatabaseError, StartupError) as error:
                await self._lose(error)
                await self._pause(backoff_s)
                backoff_s = min(backoff_s * 2, _BACKOFF_S[1])
                continue
            if read < BATCH_EVENTS:
                await self._pause(BATCH_S)
        await self._record_rest()

    def stop(self) -> None:
        self._stopping.set()

    def report_trouble(self, error: Exception) -> None:
        """Note that the database could not be opened, and why."""
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if self.trouble != reason:
            self._logger.error("database_trouble", reason=reason)
        self.trouble = reason

    async def _record_batch(self) -> int:
        """One read of the ring, one transaction. Returns how many entries there were."""
        assert self._standing is not None
        now_s = time.time()
        entries, cursor = await asyncio.to_thread(
            read_entries, self._settings.events, self._standing.cursor, BATCH_EVENTS
        )
        standing, rows = project(self._standing, entries, cursor, now_s, drained=len(entries) < BATCH_EVENTS)
        if standing == self._standing:
            return 0
        on_disk = await asyncio.to_thread(scan, self._settings, self._logger) if rows.unseen else None
        async with self._database.writing() as connection:
            if on_disk is not None:
                await self._take_disk(connection, on_disk, rows)
            await self._write(connection, rows, cursor)
        self._standing = standing
        self._count(rows)
        for gap in rows.gaps:
            self._logger.warning("events_lost", **gap)
        return len(entries)

    async def _forget_old(self) -> None:
        """Keep the database bounded, however long the stack runs."""
        if time.monotonic() - self._forgotten_s >= _FORGET_EVERY_S:
            async with self._database.writing() as connection:
                await tables.forget_telemetry(connection, time.time() - TELEMETRY_KEPT_S)
            self._forgotten_s = time.monotonic()

    async def _record_rest(self) -> None:
        """At the end: what the ring holds already. If the database does not take it, the next start finds it there."""
        try:
            for _ in range(_LAST_BATCHES):
                if self._standing is None or await self._record_batch() < BATCH_EVENTS:
                    return
        except DatabaseError as error:
            self.report_trouble(error)

    async def _take_disk(self, connection: AsyncConnection, on_disk: OnDisk, rows: Rows) -> None:
        """Bring `rows` up to what the manifests tell: they are newer than what was read of the ring so far."""
        now_s = time.time()
        for info in on_disk.infos:
            rows.add_population(info, now_s)
        known = set((await connection.execute(tables.live_uids())).scalars())
        # Also those that the events of this batch would bring back, though they are gone by now.
        for uid in (known | rows.populations.keys()) - on_disk.uids:
            rows.dropped_s.setdefault(uid, now_s)

    async def _write(self, connection: AsyncConnection, rows: Rows, cursor: Cursor) -> None:
        await tables.upsert(connection, tables.models, rows.models.values(), keep=["first_seen_s"])
        await tables.upsert(connection, tables.populations, rows.populations.values(), keep=["first_seen_s"])
        await tables.mark_dropped(connection, rows.dropped_s)
        await tables.upsert(connection, tables.runs, rows.runs.values())
        await tables.insert(connection, tables.telemetry, rows.telemetry)
        await tables.insert(connection, tables.worker_events, rows.worker_events)
        await tables.insert(connection, tables.gaps, rows.gaps)
        row = {"id": 1, "ring_id": cursor.ring_id, "sequence": cursor.sequence}
        await tables.upsert(connection, tables.cursor, [row])

    def _count(self, rows: Rows) -> None:
        for name in ("models", "populations", "runs", "telemetry", "worker_events", "gaps"):
            self.rows_written[name] += len(getattr(rows, name))

    async def _lose(self, error: Exception) -> None:
        """After trouble nothing is certain, not even whether the last commit was one: begin again from the database."""
        self.report_trouble(error)
        self._standing = None
        await self._database.close()

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return
