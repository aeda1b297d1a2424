"""The HTTP server as a part of this process: its socket, its signals and its log are ours."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from beliefd_proto.errors import EndpointNotUsable
from beliefd_service.logging import Logger

PING_EVERY_S = 10.0
_MESSAGE_BYTES = 4096
_GRACE_S = 1


class Server(uvicorn.Server):
    """uvicorn, but SIGTERM stays with the process, which has more to end than this server."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http="h11",
                ws="websockets-sansio",
                # Compression costs ten times the frame itself, and frames are small.
                ws_per_message_deflate=False,
                ws_ping_interval=PING_EVERY_S,
                ws_ping_timeout=PING_EVERY_S,
                ws_max_size=_MESSAGE_BYTES,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port`; port 0 stands for any that is free.

    Raises
    ------
    EndpointNotUsable
        Somebody listens there already, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise EndpointNotUsable(
            f"cannot listen here: {error.strerror}; stop what listens, or choose another with BELIEFD_HTTP",
            field="BELIEFD_HTTP",
            value=f"{host}:{port}",
        ) from None


def address_of(listening: socket.socket) -> str:
    """The address that it really listens on, as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Forward(logging.Handler):
    """Hands what libraries log to the log of this process."""

    def __init__(self, logger: Logger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        self._logger.log(
            record.levelno, "library", library=record.name, said=record.getMessage(), exc_info=record.exc_info
        )


def forward_library_logs(logger: Logger) -> None:
    """Send warnings and errors of all libraries through `logger`; what they have to say below that is dropped."""
    root = logging.getLogger()
    root.handlers = [_Forward(logger)]
    root.setLevel(logging.WARNING)
