"""The time of day that the stack's processes see, stepped back and forth."""

from __future__ import annotations

import struct
from pathlib import Path

_OFFSET_S = struct.Struct("<d")


class Clock:
    """A file of seconds to add, which `nemesis/stepped/sitecustomize.py` reads in every process of the stack."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.step(0.0)
        hook = Path(__file__).parent / "stepped"
        self.environment = {"NEMESIS_CLOCK": str(path), "PYTHONPATH": str(hook)}

    def step(self, offset_s: float) -> None:
        """From now on the time of day is that of the system plus `offset_s`."""
        with open(self._path, "r+b" if self._path.exists() else "wb", buffering=0) as file:
            file.write(_OFFSET_S.pack(offset_s))
