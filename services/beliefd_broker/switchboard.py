"""The connections of workers to the broker."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import zmq

from beliefd_proto.errors import EndpointNotUsable
from beliefd_service.channel import Channel, Closed

_IN, _OUT = int(zmq.POLLIN), int(zmq.POLLOUT)
_BACKLOG = 1024
_INCARNATION_BYTES = 16
_MOST_STRANGERS = 64
_FIRST_BYTES = 32  # a number of frames, a length, an incarnation


class Switchboard:
    """Listens at `path`. A worker says its incarnation first, and is known by it from then on.

    Of those who have not said it only the last who came are kept: they could use up all descriptors.

    All sockets stand in `poller`: what it finds ready goes to `messages`.

    Raises
    ------
    EndpointNotUsable
    """

    def __init__(self, path: Path, poller: zmq.Poller) -> None:
        self._listener = _listener(path)
        self._poller = poller
        self._listening = False
        self._channels: dict[int, Channel] = {}
        self._incarnations: dict[int, bytes] = {}
        self._known: dict[bytes, Channel] = {}
        self.listen()

    def listen(self) -> None:
        """Let workers in, again where that had to stop for want of a descriptor."""
        if not self._listening:
            self._listening = True
            self._poller.register(self._listener.fileno(), _IN)

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._listener.close()

    def messages(self, ready: Iterable[Any]) -> Iterator[tuple[bytes, list[Any]]]:
        """What workers said, each with its incarnation. Of what is `ready` not all need be ours."""
        for source in ready:
            channel = self._channels.get(source)
            if channel is not None:
                try:
                    for frames in self._heard(source, channel):
                        yield self._incarnations[source], frames
                except Closed:
                    self._drop(source)
            elif source == self._listener.fileno():
                self._accept()

    def send(self, incarnation: bytes, frames: Sequence[Any]) -> None:
        """Send to a worker. One that cannot be reached is dying: its pidfd tells, and its work is run again."""
        channel = self._known.get(incarnation)
        if channel is None:
            return
        try:
            channel.send(frames)
        except Closed:
            self._drop(channel.fileno())
            return
        if channel.unsent:
            self._poller.modify(channel.fileno(), _IN | _OUT)

    def _heard(self, source: int, channel: Channel) -> list[list[Any]]:
        if channel.unsent and channel.flush():
            self._poller.modify(source, _IN)
        messages = channel.receive()
        if messages and source not in self._incarnations:
            first = messages.pop(0)
            if len(first) != 1 or len(first[0]) != _INCARNATION_BYTES:
                raise Closed
            self._incarnations[source] = bytes(first[0])
            self._known[bytes(first[0])] = channel
        return messages

    def _accept(self) -> None:
        strangers = [source for source in self._channels if source not in self._incarnations]
        if len(strangers) == _MOST_STRANGERS:
            self._drop(strangers[0])  # the oldest
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:  # who knocked has gone again
            return
        except OSError:  # no descriptor is left: to be told again at once would keep this process busy
            self._poller.unregister(self._listener.fileno())
            self._listening = False
            return
        channel = Channel(connection, _FIRST_BYTES)
        self._channels[channel.fileno()] = channel
        self._poller.register(channel.fileno(), _IN)

    def _drop(self, source: int) -> None:
        channel = self._channels.pop(source)
        incarnation = self._incarnations.pop(source, None)
        if incarnation is not None and self._known.get(incarnation) is channel:
            del self._known[incarnation]
        self._poller.unregister(source)
        channel.close()


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        path.unlink(missing_ok=True)  # an earlier broker's: its lock is ours now
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise EndpointNotUsable(
            f"workers cannot be listened to here: {error.strerror}; remove what is there",
            field="BELIEFD_DATA",
            value=str(path),
        ) from None
    return listener
