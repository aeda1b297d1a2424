"""What the machine does to code that has not run for a moment: the same functions again and again, and after a pause.

In the pause the process computes in registers alone, so that it needs the caches for next to nothing itself.
"""

from __future__ import annotations

import hashlib
import statistics
from typing import Any

import numpy as np

from beliefd.call import step_call
from beliefd.observations import canonical, wire_dtype
from beliefd.wire import observation_arrays
from beliefd.worlds import tmaze
from beliefd_proto import Command, encode
from beliefd_proto import messages as m
from benches.timing import timed

_PAUSE_S = 0.8e-3
_BLOCK = 50


def coldness(times: int) -> dict[str, Any]:
    """Medians of what it takes to prepare the message of an agent's step, again and again and after pauses."""
    rounds = _rounds(_PAUSE_S)
    _pause(rounds)
    again_s: list[float] = []
    paused_s: list[float] = []
    for _ in range(times // _BLOCK):
        again_s += [timed(_prepare) for _ in range(_BLOCK)][1:]  # the first comes after a pause
        for _ in range(_BLOCK):
            _pause(rounds)
            paused_s.append(timed(_prepare))
    again, paused = statistics.median(again_s), statistics.median(paused_s)
    return {
        "prepare_us": {"again_and_again": 1e6 * again, "after_a_pause": 1e6 * paused},
        "pause_ms": 1e3 * statistics.median([timed(lambda: _pause(rounds)) for _ in range(_BLOCK)]),
        "raw": {"again_s": again_s, "paused_s": paused_s},
    }


_INFO = tmaze().info
_DTYPE = wire_dtype(_INFO)
_SEEN = np.zeros((1, _INFO.num_modalities), np.int64)
_TICKS = np.ones(1, np.int64)


def _prepare() -> None:
    arrays = observation_arrays(canonical(_SEEN, _INFO, 1, _DTYPE, copy=True))
    chunk = step_call("a" * 16, _INFO, m.Limits(), slice(0, 1), _TICKS, arrays, 0).chunks[0]
    encode(Command.STEP, chunk.header, chunk.arrays, deadline_ms=1000)


def _pause(rounds: int) -> None:
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", rounds)


def _rounds(span_s: float) -> int:
    """How many rounds take that long."""
    few = 256
    return round(few * span_s / min(timed(lambda: _pause(few)) for _ in range(50)))
