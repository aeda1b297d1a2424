"""A proxy in a process of its own: what its owner computes does not hold up what passes through it."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from nemesis.proxy import Proxy

_ENDS_IN_S = 1.0


class ProxyProcess:
    """A `Proxy` and its methods, elsewhere. A context manager; `port` is where it listens.

    Its methods raise ConnectionError where the process is gone.
    """

    def __init__(self, port: int) -> None:
        context = multiprocessing.get_context("spawn")  # the owner may have threads, whose locks a fork would inherit
        self._ours, theirs = context.Pipe()
        self._theirs = theirs
        self._process = context.Process(target=_serve, args=(theirs, port), name="proxy", daemon=True)
        self.port = 0

    def cut(self, after_bytes: int = 0) -> None:
        self._ask("cut", after_bytes)

    def wait_until_cut(self, patience_s: float) -> bool:
        return bool(self._ask("wait_until_cut", patience_s))

    def delay(self, delay_s: float) -> None:
        self._ask("delay", delay_s)

    def swallow(self, swallowing: bool) -> None:
        self._ask("swallow", swallowing)

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        self.port = self._ours.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ours.close()
        self._process.join(_ENDS_IN_S)
        if self._process.is_alive():  # it waits for a cut that its owner no longer waits for
            self._process.terminate()
            self._process.join()

    def _ask(self, method: str, argument: Any) -> Any:
        try:
            self._ours.send((method, argument))
            return self._ours.recv()
        except (EOFError, OSError):
            raise ConnectionError("the proxy has ended by itself") from None


def _serve(owner: Connection, port: int) -> None:
    """Do what the owner asks for until it lets go of its end, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which asks the owner too
    with Proxy(port) as proxy, contextlib.suppress(EOFError, OSError):
        owner.send(proxy.port)
        while True:
            method, argument = owner.recv()
            owner.send(getattr(proxy, method)(argument))
