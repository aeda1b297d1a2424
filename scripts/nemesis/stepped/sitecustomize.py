"""Loaded by every Python that starts with this folder in PYTHONPATH: the time of day is that of a clock that steps.

NEMESIS_CLOCK names a file of eight bytes, a double: seconds to add. What measures time spans, the monotonic clock, is
the system's: nothing steps that one.
"""

import mmap
import os
import struct
import time

_path = os.environ.get("NEMESIS_CLOCK")
if _path:
    _OFFSET_S = struct.Struct("<d")
    with open(_path, "rb") as _file:
        _map = mmap.mmap(_file.fileno(), _OFFSET_S.size, access=mmap.ACCESS_READ)
    _time, _time_ns = time.time, time.time_ns

    def _stepped() -> float:
        return _time() + float(_OFFSET_S.unpack(_map[:])[0])

    def _stepped_ns() -> int:
        return _time_ns() + int(_OFFSET_S.unpack(_map[:])[0] * 1e9)

    time.time, time.time_ns = _stepped, _stepped_ns
