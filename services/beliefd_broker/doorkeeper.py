"""Lets in over TCP whoever has a CurveZMQ key on the list, and nobody else: the ZAP handler (ZeroMQ RFC 27)."""

from __future__ import annotations

from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator

from beliefd_service.access import Access

_DOMAIN = "beliefd"


class Doorkeeper:
    """Answers libzmq's question whether a key may connect, on a thread of its own: nothing here may fork any more.

    The thread reads `_allowed` while the broker's replaces it: the set itself never changes.
    """

    def __init__(self, context: zmq.Context[Any], access: Access) -> None:
        self._allowed = access.public_keys
        self._secret_key = access.server.secret_key.encode()
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(_DOMAIN, credentials_provider=self)

    def protect(self, socket: zmq.Socket[bytes]) -> None:
        """Have every endpoint that `socket` is bound to from now on want a key; those before stay as they are."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._secret_key)
        socket.setsockopt_string(zmq.ZAP_DOMAIN, _DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # a handler that is gone lets nobody in

    def renew(self, access: Access) -> None:
        self._allowed = access.public_keys

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether this key may connect; pyzmq calls it."""
        return key in self._allowed

    def stop(self) -> None:
        self._authenticator.stop()
