"""``python -m beliefd_gateway``: HTTP, WebSocket, live page, metrics and database of one stack. Never in the step path.

Threads
-------
main
    The event loop: HTTP, the WebSocket hub, `Live`, the recorder's decisions. Nothing here blocks.
gateway-broker
    Owns the client of the broker (`bridge`). Hands reports to the loop; takes questions through a queue.
gateway-ring
    Follows the event ring (`follow`). Hands entries to the loop.
gateway-pool-*
    The executor for what blocks: reads of the ring for the recorder, of manifests, of files for the page.
aiosqlite's own, one per connection
    Each runs the statements of its connection: one writes, up to four read (`database`). The loop awaits them, so the
    writer needs no loop of its own: nothing that it does takes the loop's time but the making of rows.

What threads hand over goes to the loop by `call_soon_threadsafe`, so `Live` and all that shows it need no lock.
"""

from __future__ import annotations

import asyncio
import functools
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.types import ASGIApp

from beliefd.engine.folderlock import FolderLock
from beliefd_gateway.app import application
from beliefd_gateway.bridge import Bridge
from beliefd_gateway.database import Database, DatabaseError
from beliefd_gateway.follow import Follower
from beliefd_gateway.guard import Guard
from beliefd_gateway.live import Live
from beliefd_gateway.recorder import Recorder
from beliefd_gateway.server import Server, address_of, forward_library_logs, listen
from beliefd_gateway.streams import Hub
from beliefd_service.access import Access
from beliefd_service.lifecycle import StopSignal, make_folders, raise_descriptor_limit, run
from beliefd_service.logging import Logger
from beliefd_service.parent import end_with_supervisor
from beliefd_service.settings import Settings


def main(settings: Settings, logger: Logger) -> None:
    stop = StopSignal()
    end_with_supervisor(signal.SIGTERM)
    forward_library_logs(logger)
    make_folders(settings)
    raise_descriptor_limit()
    database = Database(settings.database)
    # Two that record what happened would each continue where the other stands, and lose or double rows.
    with (
        FolderLock(settings.run / "gateway"),
        listen(settings.http_host, settings.http_port) as listening,
    ):
        asyncio.run(_serve_and_close(settings, logger, stop, database, listening))


async def _serve_and_close(
    settings: Settings, logger: Logger, stop: StopSignal, database: Database, listening: socket.socket
) -> None:
    try:
        await _serve(settings, logger, stop, database, listening)
    finally:
        # Its connections are threads that outlive the loop, and with it the process, unless they are closed.
        await database.close()


async def _serve(
    settings: Settings, logger: Logger, stop: StopSignal, database: Database, listening: socket.socket
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(settings.gateway_threads, "gateway-pool"))
    stopping = asyncio.Event()
    loop.add_reader(stop.fd, stopping.set)

    live = Live()
    recorder = Recorder(settings, database, logger)
    try:
        # Before anything is served, so that a database of a newer version ends this start with one clear line.
        await recorder.open()
    except DatabaseError as error:
        recorder.report_trouble(error)

    access = Access.read(settings.keys) if settings.keys is not None else None
    bridge = Bridge(
        f"unix://{settings.client_socket}",
        _on(loop, live.take_report),
        _on(loop, live.take_outage),
        logger,
        access.server.local_keys if access is not None else None,
    )
    follower = Follower(settings.events, _on(loop, live.take_entries), logger)
    hub = Hub(live, bridge.ask)
    app: ASGIApp = application(live, hub, recorder, database)
    server = Server(app if access is None else Guard(app, access, logger))

    bridge.start()
    follower.start()
    recording = asyncio.create_task(recorder.run())
    publishing = asyncio.create_task(hub.publish())
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    asked_to_stop = asyncio.create_task(stopping.wait())
    logger.info("listening", http=address_of(listening), database=database.shown_url)
    try:
        # None of them ends by itself: if one does, it failed, and the process with it.
        await asyncio.wait((recording, publishing, serving, asked_to_stop), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await hub.close()
        server.should_exit = True
        recorder.stop()
        bridge.stop()
        follower.stop()
        publishing.cancel()
        ended = await asyncio.gather(serving, recording, return_exceptions=True)
        await asyncio.gather(asyncio.to_thread(bridge.join), asyncio.to_thread(follower.join))
        asked_to_stop.cancel()
        loop.remove_reader(stop.fd)
    for result in ended:
        if isinstance(result, BaseException):
            raise result
    if publishing.done() and not publishing.cancelled():
        publishing.result()


def _on(loop: asyncio.AbstractEventLoop, function: Callable[..., Any]) -> Callable[..., None]:
    """`function` for other threads to call: it runs on the loop, soon."""

    def call(*arguments: Any) -> None:
        loop.call_soon_threadsafe(functools.partial(function, *arguments))

    return call


if __name__ == "__main__":
    sys.exit(run("beliefd_gateway", main))
