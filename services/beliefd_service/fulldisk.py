"""Has supervisord outlast a full disk: it loads this into itself, see ``supervisord.conf``.

What supervisord cannot write to a log it reports to its standard error. Where that is a file on the same disk, the
report fails too, and the failure ends supervisord, with it all that it started.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, TextIO

from beliefd_service.wakeup import Nothing


class Unfailing:
    """A text stream that lets go of what it cannot write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def outlast_full_disk(supervisord: Any) -> Nothing:
    """An ``rpcinterface_factory``, as in `beliefd_service.wakeup`."""
    if not isinstance(sys.stderr, Unfailing):
        sys.stderr = Unfailing(sys.stderr)
    return Nothing()
