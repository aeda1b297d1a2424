"""The WebSocket hub: frames of telemetry to every client that watches, none of which can hold up another.

A client holds at most one frame that it has not been sent: a newer one takes its place, and the next frame says in
`skipped` how many were passed over. Frames are encoded once per topic, not once per client.

========  ==============================================================
close     meaning
========  ==============================================================
1001      the gateway ends
1013      try again later: too many clients, or the broker is not known yet
4403      the page that opened this came from elsewhere
4404      there is no such population, or it was dropped
========  ==============================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from urllib.parse import urlsplit

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from beliefd_gateway.frames import encode_frame, frame_of, whole_frame, with_skipped
from beliefd_gateway.live import Live

MAX_CLIENTS = 64
FRAME_EVERY_S = 0.25
SEND_TIMEOUT_S = 20.0
GOING_AWAY = 1001
TRY_AGAIN_LATER = 1013
FORBIDDEN = 4403
NOT_FOUND = 4404


class Watcher:
    """One client: the frame that it shall get next, or the code that it is closed with."""

    def __init__(self, population: str | None) -> None:
        self.population = population
        self.sent = 0
        self._next: bytes | None = None
        self._skipped = 0
        self._closing: tuple[int, str] | None = None
        self._wake = asyncio.Event()

    def offer(self, encoded: bytes) -> int:
        """Have this sent next. Returns 1 where a frame that was not sent yet is passed over for it."""
        skipped = int(self._next is not None)
        self._skipped += skipped
        self._next = encoded
        self._wake.set()
        return skipped

    def close(self, code: int, reason: str) -> None:
        self._closing = self._closing or (code, reason)
        self._wake.set()

    async def serve(self, socket: WebSocket) -> None:
        """Send what is offered, until told to close."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._closing is not None:
                await socket.close(*self._closing)
                return
            if self._next is not None:
                text = with_skipped(self._next, self._skipped)
                self._next, self._skipped = None, 0
                # A peer that is gone without a word blocks the send, and holds its place here no longer than this.
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await socket.send_text(text)
                self.sent += 1


class Hub:
    """All clients. Belongs to the event loop.

    Attributes
    ----------
    skipped_frames : int
        Frames that were passed over for newer ones, of all clients since the start.
    """

    def __init__(self, live: Live, ask_broker: Callable[[], Future[None]], max_clients: int = MAX_CLIENTS) -> None:
        self.skipped_frames = 0
        self._live = live
        self._ask_broker = ask_broker
        self._max_clients = max_clients
        self._watchers: set[Watcher] = set()
        self._closed = False

    @property
    def clients(self) -> int:
        return len(self._watchers)

    async def serve(self, socket: WebSocket, population: str | None) -> None:
        """Serve one client to its end; `population` is the name of the one that it watches, None for all."""
        # A peer that is gone, at whatever moment, is an ordinary end.
        with contextlib.suppress(WebSocketDisconnect, TimeoutError):
            await socket.accept()
            refusal = await self._refusal(socket, population)
            if refusal is not None:
                await socket.close(*refusal)
            else:
                await self._serve(socket, population)

    async def _serve(self, socket: WebSocket, population: str | None) -> None:
        watcher = Watcher(population)
        self._watchers.add(watcher)
        self._offer([watcher])
        sending = asyncio.create_task(watcher.serve(socket))
        receiving = asyncio.create_task(_until_gone(socket))
        try:
            done, _ = await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._watchers.discard(watcher)
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)

    async def publish(self) -> None:
        """Send frames for ever: whenever something changed, though not more often than every `FRAME_EVERY_S`."""
        while True:
            await self._live.changed.wait()
            self._live.changed.clear()
            self._offer(self._watchers)
            await asyncio.sleep(FRAME_EVERY_S)

    async def close(self) -> None:
        """Close every client with 1001, and refuse new ones."""
        self._closed = True
        for watcher in self._watchers:
            watcher.close(GOING_AWAY, "the gateway ends; connect again soon")
        deadline_s = time.monotonic() + 0.5
        while self._watchers and time.monotonic() < deadline_s:
            await asyncio.sleep(0.01)

    def _offer(self, watchers: set[Watcher] | list[Watcher]) -> None:
        if not watchers:
            return
        frame = whole_frame(self._live, time.time())
        there = {view.name for view in frame.populations}
        encoded: dict[str | None, bytes] = {}
        for watcher in watchers:
            name = watcher.population
            if name is not None and name not in there:
                watcher.close(NOT_FOUND, "this population was dropped")
                continue
            if name not in encoded:
                encoded[name] = encode_frame(frame if name is None else frame_of(frame, name))
            self.skipped_frames += watcher.offer(encoded[name])

    async def _refusal(self, socket: WebSocket, population: str | None) -> tuple[int, str] | None:
        """Why this client is not served, as a close code and a reason."""
        origin = socket.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != socket.headers.get("host"):
            return FORBIDDEN, "pages of other servers may not watch"
        if self._closed:
            return GOING_AWAY, "the gateway ends; connect again soon"
        if population is not None and self._live.population(population) is None:
            # It may have been made a moment ago.
            await asyncio.wrap_future(self._ask_broker())
            if self._live.population(population) is None:
                if self._live.report is None:
                    return TRY_AGAIN_LATER, "the broker cannot be reached, so no population is known; try again later"
                return NOT_FOUND, "there is no population of this name"
        # The last of all, so that nothing is awaited between the count and the place that is taken.
        if len(self._watchers) >= self._max_clients:
            return TRY_AGAIN_LATER, f"{self._max_clients} clients watch already; try again later"
        return None


async def _until_gone(socket: WebSocket) -> None:
    """Read and forget what the client says, to learn of its end."""
    while socket.client_state is WebSocketState.CONNECTED:
        await socket.receive()
