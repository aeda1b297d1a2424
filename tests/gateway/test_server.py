from __future__ import annotations

import logging
import socket
import subprocess
import sys
from typing import Any

import pytest
import structlog

from beliefd_gateway.server import address_of, forward_library_logs, listen
from beliefd_proto.errors import EndpointNotUsable


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "http://127.0.0.1:"), ("localhost", "http://127.0.0.1:")])
def test_port_zero_stands_for_any_free_one(host: str, shown: str) -> None:
    with listen(host, 0) as listening:
        address = address_of(listening)
        assert address.startswith(shown)
        assert int(address.rpartition(":")[2]) > 0


def test_a_port_in_use_is_named() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(EndpointNotUsable, match=f"BELIEFD_HTTP.*127.0.0.1:{port}"):
            listen("127.0.0.1", port)


def test_a_port_just_left_can_be_taken_again_at_once() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = listening.accept()
        accepted.close()
        client.close()
    listen("127.0.0.1", port).close()


def test_libraries_are_heard_when_they_warn_and_not_below() -> None:
    logged: list[dict[str, Any]] = []

    def keep(_: object, level: str, event: dict[str, Any]) -> str:
        logged.append({"level": level, **event})
        raise structlog.DropEvent

    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        forward_library_logs(structlog.wrap_logger(structlog.ReturnLogger(), processors=[keep]))
        logging.getLogger("some.library").info("chatter")
        logging.getLogger("some.library").warning("trouble with %s", "this")
    finally:
        root.handlers = handlers
        root.setLevel(level)
    assert [(line["level"], line["library"], line["said"]) for line in logged] == [
        ("warning", "some.library", "trouble with this")
    ]


@pytest.mark.slow
def test_the_gateway_loads_no_compiler() -> None:
    code = "import sys, beliefd_gateway.__main__; sys.exit('numba' in sys.modules or 'llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
