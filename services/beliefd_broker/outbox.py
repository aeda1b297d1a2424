"""Sends to many peers without ever waiting for one of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

MESSAGES_PER_PEER = 1024
BYTES_PER_PEER = 256 * 2**20


class Outbox:
    """What could not be sent yet, bounded per peer and over all of them, by `most_bytes`.

    `send` takes a peer's route and a message, and returns whether it was sent; None where the peer takes nothing now.
    """

    def __init__(self, send: Callable[[bytes, Sequence[Any]], bool | None], most_bytes: int = 2**30) -> None:
        self._try = send
        self._most_bytes = most_bytes
        self._held: dict[bytes, deque[Sequence[Any]]] = {}
        self._held_bytes: dict[bytes, int] = {}
        self._all_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._held)

    def send(self, route: bytes, frames: Sequence[Any]) -> bool:
        """Send now, or as soon as the peer takes it; False where the peer is gone or takes nothing any more."""
        held = self._held.get(route)
        if held is None:
            sent = self._try(route, frames)
            if sent is not None:
                return sent
            held = self._held[route] = deque()
            self._held_bytes[route] = 0
        size = _bytes(frames)
        peer_bytes = self._held_bytes[route] + size
        full = bool(held) and (len(held) >= MESSAGES_PER_PEER or peer_bytes > BYTES_PER_PEER)
        if full or peer_bytes > self._most_bytes - self._all_bytes - size:  # as much as it leaves free
            self._drop(route)
            return False
        held.append(frames)
        self._held_bytes[route] = peer_bytes
        self._all_bytes += size
        return True

    def flush(self) -> Iterator[bytes]:
        """Try again what is held; yields the peers that turned out to be gone."""
        for route, held in list(self._held.items()):
            while held:
                sent = self._try(route, held[0])
                if sent is None:
                    break
                if sent is False:
                    held.clear()
                    yield route
                else:
                    size = _bytes(held.popleft())
                    self._held_bytes[route] -= size
                    self._all_bytes -= size
            if not held:
                self._drop(route)

    def _drop(self, route: bytes) -> None:
        del self._held[route]
        self._all_bytes -= self._held_bytes.pop(route)


def _bytes(frames: Sequence[Any]) -> int:
    return sum(memoryview(frame).nbytes for frame in frames)
