"""Where a broker is, and how a client gets there."""

from __future__ import annotations

import errno

from beliefd.connection import Connection
from beliefd.dealer import DealerConnection
from beliefd.keys import Keys
from beliefd.stream import StreamConnection
from beliefd_proto.errors import InvalidArgument

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5757"
ENDPOINTS = "tcp://HOST:PORT, unix://PATH"
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # which says nothing of the endpoint


def open_connection(endpoint: str, keys: Keys | None, wake_fd: int) -> Connection:
    """The connection to an endpoint, which need not listen yet. A byte that can be read from `wake_fd` ends its waits.

    Raises
    ------
    InvalidArgument
        The endpoint has a form that cannot be connected to.
    """
    scheme, _, path = endpoint.partition("://")
    try:
        if scheme == "unix" and path:
            return StreamConnection(path, wake_fd)
        if scheme == "tcp":
            return DealerConnection(endpoint, keys, wake_fd)
        why = "there is no such kind"
    except (OSError, ValueError) as error:  # such as a path that is too long, or that we may not open
        if isinstance(error, OSError) and error.errno in _SHORT:
            raise
        why = str(error)
    raise InvalidArgument(f"cannot connect to this: {why}", field="endpoint", value=endpoint, allowed=ENDPOINTS)
