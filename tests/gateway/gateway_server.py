"""A gateway's HTTP side in the test's own event loop, on a real socket, over parts that the test controls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway_world import info, quiet_logger, settings_of, worker
from starlette.types import ASGIApp

from beliefd_gateway.app import application
from beliefd_gateway.database import Database
from beliefd_gateway.live import Live
from beliefd_gateway.recorder import Recorder
from beliefd_gateway.server import Server, address_of, listen
from beliefd_gateway.streams import Hub
from beliefd_proto.messages import PopulationInfo, StatusReport, WorkerStatus


@dataclass
class Serving:
    url: str
    live: Live
    hub: Hub
    recorder: Recorder

    @property
    def websocket_url(self) -> str:
        return self.url.replace("http://", "ws://")


def report(
    populations: tuple[PopulationInfo, ...] | None = None, workers: tuple[WorkerStatus, ...] | None = None
) -> StatusReport:
    return StatusReport(
        id=bytes(16),
        epoch=1,
        uptime_s=1.0,
        sessions=1,
        open_requests=0,
        ready=True,
        workers=(worker(),) if workers is None else workers,
        populations=(info(),) if populations is None else populations,
        counters={"requests": 5},
    )


def _answered() -> Future[None]:
    answered: Future[None] = Future()
    answered.set_result(None)
    return answered


@asynccontextmanager
async def serving(
    folder: Path,
    max_clients: int = 8,
    ask_broker: Callable[[], Future[None]] = _answered,
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> AsyncIterator[Serving]:
    settings = settings_of(folder)
    database = Database(settings.database)
    recorder = Recorder(settings, database, quiet_logger())
    await recorder.open()
    live = Live()
    hub = Hub(live, ask_broker, max_clients)
    with listen(settings.http_host, settings.http_port) as listening:
        server = Server(around(application(live, hub, recorder, database)))
        publishing = asyncio.create_task(hub.publish())
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield Serving(address_of(listening), live, hub, recorder)
        finally:
            await hub.close()
            server.should_exit = True
            await running
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            await database.close()
