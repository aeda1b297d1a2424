"""Keeps processors awake while clients wait, through Linux's PM QoS (Documentation/power/pm_qos_interface.rst).

A step passes some eight threads that sleep in between, and an idle processor sleeps deeper than they do, above all a
virtual one, which is lent to others meanwhile: to wake it takes tens of microseconds, and what it runs next takes more
time than before. While somebody holds /dev/cpu_dma_latency open, and has written there that no latency will do, idle
processors go on looking for work. The system forgets that when the descriptor is closed, however its process dies.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

DEVICE = Path("/dev/cpu_dma_latency")
_NO_LATENCY = struct.pack("=i", 0)
_ANY_LATENCY = struct.pack("=i", 2_000_000_000)  # the system's own default, in microseconds


class Vigil:
    """Awake from `keep` until `hold_s` after the last one; never where `hold_s` is 0 or `device` cannot be written.

    Of the latter `refused` is told, once, with the reason.
    """

    def __init__(self, hold_s: float, refused: Callable[[str], None], device: Path = DEVICE) -> None:
        self._hold_s = hold_s
        self._refused = refused
        self._kept_s = float("-inf")
        self._device = -1
        self.awake = False
        if hold_s:
            try:
                # Once: to open it for each vigil would take a descriptor where there may be none left.
                self._device = os.open(device, os.O_WRONLY)
            except OSError as error:
                refused(str(error))

    def keep(self, now_s: float) -> None:
        """Somebody waits."""
        self._kept_s = now_s
        if not self.awake and self._device >= 0:
            self.awake = True
            self._write(_NO_LATENCY)

    def look(self, now_s: float) -> None:
        """Let processors sleep where nobody has waited for long enough."""
        if self.awake and now_s - self._kept_s >= self._hold_s:
            self.awake = False
            self._write(_ANY_LATENCY)

    def close(self) -> None:
        if self._device >= 0:
            os.close(self._device)
            self._device, self.awake = -1, False

    def _write(self, latency: bytes) -> None:
        try:
            os.write(self._device, latency)
        except OSError as error:
            self.close()
            self._refused(str(error))
