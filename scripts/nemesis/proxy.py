"""A TCP proxy that cuts, delays and swallows what passes through it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 65_536


class Proxy:
    """Forwards connections to ``host:port``, in a thread of its own. A context manager."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._delay_s = 0.0
        self._cut_after: int | None = None
        self._open = asyncio.Event()
        self._was_cut = threading.Event()
        self.port = 0

    def cut(self, after_bytes: int = 0) -> None:
        """Break every connection once so many more bytes have passed, in the middle of a message or not."""
        self._was_cut.clear()
        self._loop.call_soon_threadsafe(self._cut, after_bytes)

    def wait_until_cut(self, patience_s: float) -> bool:
        """Wait for what `cut` asked for; False where so little passed meanwhile that it has not happened."""
        return self._was_cut.wait(patience_s)

    def delay(self, delay_s: float) -> None:
        """Hold everything back for so long, both ways."""
        self._delay_s = delay_s

    def swallow(self, swallowing: bool) -> None:
        """Pass nothing on until told otherwise; connections stay."""
        self._loop.call_soon_threadsafe(self._open.clear if swallowing else self._open.set)

    def __enter__(self) -> Self:
        self._open.set()
        self._thread.start()
        serving = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = serving.result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        self._cut(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cut(self, after_bytes: int) -> None:
        if after_bytes:
            self._cut_after = after_bytes
            return
        self._cut_after = None
        for writer in self._writers:
            writer.transport.abort()
        self._was_cut.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:  # the broker is down
            writer.transport.abort()
            return
        ends = {writer, back}
        self._writers |= ends
        await asyncio.wait(
            [asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for end in ends:
            end.transport.abort()
        self._writers -= ends

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                await self._open.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if self._cut_after is not None:
                    passed = chunk[: self._cut_after]
                    self._cut_after -= len(passed)
                    writer.write(passed)
                    await writer.drain()
                    if not self._cut_after:
                        self._cut(0)
                        return
                else:
                    writer.write(chunk)
                    await writer.drain()
