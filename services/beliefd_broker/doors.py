"""Where clients come in: a ROUTER over TCP, and a Unix socket for those of the same machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import zmq

from beliefd import transport
from beliefd.channel import Bounds
from beliefd_broker.desk import CREDITS
from beliefd_broker.doorkeeper import Doorkeeper
from beliefd_broker.switchboard import Switchboard
from beliefd_proto.errors import EndpointNotUsable
from beliefd_service.settings import Settings

_CROWDED = 0.75
"""The part of all descriptors that clients of this machine may bring into use: those of TCP take the others."""
_LINGER_MS = 200
_READ_BYTES = 4096
"""Of a local client at once, but for the rest of a long message: a few hundred messages, whoever sends how many."""


def open_local(settings: Settings, gone: Callable[[bytes], None]) -> Switchboard:
    """Where clients of this machine come in; `gone` is told of those that left.

    Raises
    ------
    EndpointNotUsable
    """
    # No request that is taken is larger than what all that are open may be.
    bounds = Bounds(settings.limits.frame_bytes, settings.limits.open_bytes, read_bytes=_READ_BYTES)
    return Switchboard(settings.client_socket, bounds, _CROWDED, gone)


class Doors:
    """The ROUTER and `local`, as one: a client is known by its route, whichever way it came.

    The ROUTER has ROUTER_MANDATORY set, so that an unknown peer is an error and not a silent loss, and every send is
    non-blocking, since a blocking send to a full peer that is dying may never return.

    Raises
    ------
    EndpointNotUsable
    """

    def __init__(
        self,
        settings: Settings,
        context: zmq.Context[zmq.Socket[bytes]],
        doorkeeper: Doorkeeper | None,
        local: Switchboard,
    ) -> None:
        self._local = local
        limits = settings.limits
        self._router = context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._router.setsockopt(zmq.MAXMSGSIZE, limits.frame_bytes)
        self._router.setsockopt(zmq.SNDHWM, CREDITS)  # who honours its credits never has more to take
        self._router.setsockopt(zmq.LINGER, _LINGER_MS)
        self._router.setsockopt(zmq.IPV6, int("[" in settings.endpoint))
        if doorkeeper is not None:
            doorkeeper.protect(self._router)
        try:
            self._router.bind(settings.endpoint)
        except zmq.ZMQError as error:
            raise EndpointNotUsable(
                f"cannot listen here: {error}; stop what listens, or choose another with BELIEFD_ENDPOINT",
                field="BELIEFD_ENDPOINT",
                value=settings.endpoint,
            ) from None

    @property
    def endpoint(self) -> str:
        """The TCP endpoint in use, its port resolved."""
        return str(self._router.getsockopt_string(zmq.LAST_ENDPOINT))

    def open(self, poller: zmq.Poller) -> None:
        """Have the poller tell when somebody says something."""
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._local.fileno(), zmq.POLLIN)

    def shut(self, poller: zmq.Poller) -> None:
        """Hear nobody any more. What is sent goes out still."""
        poller.unregister(self._router)
        self._local.shut()

    def are_among(self, ready: Collection[Any]) -> bool:
        """Whether somebody says something, by what the poller found ready."""
        return self._router in ready or self._local.fileno() in ready

    def messages(self, ready: Collection[Any], most: int) -> Iterator[tuple[bytes, list[Any]]]:
        """What was said, each with its client's route; about `most` of each kind of clients."""
        if self._local.fileno() in ready:
            yield from self._local.messages(most)
        if self._router in ready:
            for _ in range(most):
                frames = transport.receive(self._router)
                if frames is None:
                    return
                yield frames[0], frames[1:]

    def send(self, route: bytes, frames: Sequence[Any]) -> bool | None:
        """Send to a client. False: it is gone. None: it takes nothing now."""
        if self._local.knows(route):
            return None if self._local.clogged(route) else self._local.send(route, frames)
        try:
            transport.send(self._router, [route, *frames])
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True
