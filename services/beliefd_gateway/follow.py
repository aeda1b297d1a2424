"""The thread that follows the event ring for what is live, whatever the database does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from beliefd_gateway.reading import Cursor, Entry, read_entries
from beliefd_service.logging import Logger

POLL_S = 0.1
_READ_ENTRIES = 5000


class Follower(threading.Thread):
    """Calls `found(entries, cursor)` for what is new in the ring, from the oldest record that it holds."""

    def __init__(self, path: Path, found: Callable[[list[Entry], Cursor], None], logger: Logger) -> None:
        super().__init__(name="gateway-ring")
        self._path = path
        self._found = found
        self._logger = logger
        self._stopping = threading.Event()

    def run(self) -> None:
        cursor = Cursor()
        trouble = ""
        while not self._stopping.wait(POLL_S):
            try:
                entries, cursor = read_entries(self._path, cursor, _READ_ENTRIES)
            except (OSError, ValueError) as error:
                if trouble != str(error):
                    self._logger.error("ring_not_readable", reason=str(error))
                trouble = str(error)
                continue
            trouble = ""
            if entries:
                self._found(entries, cursor)

    def stop(self) -> None:
        self._stopping.set()
