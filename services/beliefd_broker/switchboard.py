"""Connections over Unix stream sockets: those of workers, and those of clients of the same machine."""

from __future__ import annotations

import os
import resource
import select
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from beliefd.channel import Bounds, Channel, Closed
from beliefd_proto.errors import EndpointNotUsable

_IN, _OUT, _ENDED = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR
_BACKLOG = 1024
_NAME_BYTES = 16
_MOST_STRANGERS = 64
_FIRST_BYTES = 32  # a number of frames, a length, a name
_SPARE = 16
"""So many descriptors are free again before others are let in again."""


class Switchboard:
    """Listens at `path`. Whoever connects says a name first, random and its own, and is known by it from then on.

    Of those who have not said it only the last who came are kept: they could use up all descriptors. Nobody is let in
    while more than the part `crowded` of all descriptors is in use: who knocks waits. Who sends more than the bounds
    allow is disconnected. `gone` is told the name of whoever's connection has ended.

    `fileno` is readable while `messages` has something to do.

    Raises
    ------
    EndpointNotUsable
    """

    def __init__(
        self,
        path: Path,
        bounds: Bounds | None = None,
        crowded: float = 1.0,
        gone: Callable[[bytes], None] | None = None,
    ) -> None:
        self._bounds = (bounds or Bounds())._replace(first_bytes=_FIRST_BYTES)
        self._crowded = crowded
        self._deaf = False
        self._listener = _listener(path)
        self._epoll = select.epoll()
        self._channels: dict[int, Channel] = {}
        self._names: dict[int, bytes] = {}
        self._known: dict[bytes, Channel] = {}
        self._gone = gone
        self.listening = False
        self.listen()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def listen(self) -> None:
        """Let others in, again where that had to stop for want of descriptors."""
        spare = _SPARE if self._crowded < 1.0 else 0
        if not (self.listening or self._deaf or self._is_crowded(_lowest_free() + spare)):
            self.listening = True
            self._epoll.register(self._listener, _IN)

    def shut(self) -> None:
        """Hear nobody any more, and let nobody in. What was sent goes out still, by `messages`."""
        self._deaf = True
        if self.listening:
            self._stop_listening()
        for channel in self._channels.values():
            self._watch(channel)

    @property
    def unsent(self) -> bool:
        """Whether somebody does not take what it was sent."""
        return any(channel.unsent for channel in self._channels.values())

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._listener.close()
        self._epoll.close()

    def messages(self, most: int = -1) -> Iterator[tuple[bytes, list[Any]]]:
        """What was said, each with the name of who said it; not of more than `most` connections, who take turns."""
        for source, event in self._epoll.poll(0, most):
            channel = self._channels.get(source)
            if channel is not None:
                try:
                    if channel.unsent and channel.flush():
                        self._watch(channel)
                    if not self._deaf:
                        yield from self._heard(source, channel)
                    elif event & _ENDED:
                        raise Closed
                except Closed:
                    self.drop(channel)
            elif source == self._listener.fileno():
                self._accept()

    def send(self, name: bytes, frames: Sequence[Any]) -> bool:
        """Send, now or as soon as it is taken; False where nobody of this name is connected."""
        channel = self._known.get(name)
        if channel is None:
            return False
        try:
            channel.send(frames)
        except Closed:
            self.drop(channel)
            return False
        if channel.unsent:
            self._watch(channel)
        return True

    def knows(self, name: bytes) -> bool:
        """Whether somebody of this name is connected."""
        return name in self._known

    def clogged(self, name: bytes) -> bool:
        """Whether who has this name does not take what it was sent."""
        return self._known[name].unsent

    def held(self) -> list[tuple[int, Channel]]:
        """How many bytes are held for each connection, of whatever name; the most first."""
        held = [(channel.held_bytes, channel) for channel in self._channels.values()]
        return sorted(held, key=lambda each: each[0], reverse=True)

    def disconnect(self, name: bytes) -> None:
        """End the connection of who has this name, if anybody has."""
        channel = self._known.get(name)
        if channel is not None:
            self.drop(channel)

    def drop(self, channel: Channel) -> None:
        """End a connection."""
        source = channel.fileno()
        del self._channels[source]
        name = self._names.pop(source, None)
        if name is not None and self._known.get(name) is channel:  # else it has come again since
            del self._known[name]
            if self._gone is not None:
                self._gone(name)
        self._epoll.unregister(source)
        channel.close()

    def _heard(self, source: int, channel: Channel) -> list[tuple[bytes, list[Any]]]:
        messages = channel.receive()
        if messages and source not in self._names:
            first = messages.pop(0)
            if len(first) != 1 or len(first[0]) != _NAME_BYTES:
                raise Closed
            self._names[source] = bytes(first[0])
            self._known[bytes(first[0])] = channel
        name = self._names.get(source, b"")
        return [(name, frames) for frames in messages]

    def _accept(self) -> None:
        strangers = [source for source in self._channels if source not in self._names]
        if len(strangers) == _MOST_STRANGERS:
            self.drop(self._channels[strangers[0]])  # the oldest
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:  # who knocked has gone again
            return
        except OSError:  # no descriptor is left: to be told again at once would keep this process busy
            self._stop_listening()
            return
        if self._is_crowded(connection.fileno()):
            self._stop_listening()
        channel = Channel(connection, self._bounds)
        self._channels[channel.fileno()] = channel
        self._epoll.register(channel, _IN)

    def _is_crowded(self, descriptor: float) -> bool:
        """Whether so many descriptors are in use, since the next one to be free has this number."""
        return descriptor >= self._crowded * resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def _watch(self, channel: Channel) -> None:
        """Be told when it has said something, and when it takes again what it did not."""
        self._epoll.modify(channel, (0 if self._deaf else _IN) | (_OUT if channel.unsent else 0))

    def _stop_listening(self) -> None:
        self._epoll.unregister(self._listener)
        self.listening = False


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        path.unlink(missing_ok=True)  # an earlier broker's: its lock is ours now
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise EndpointNotUsable(
            f"nobody can be listened to here: {error.strerror}; remove what is there",
            field="BELIEFD_DATA",
            value=str(path),
        ) from None
    return listener


def _lowest_free() -> float:
    """The number that the next descriptor gets."""
    try:
        free = os.dup(0)
    except OSError:
        return float("inf")
    os.close(free)
    return free
