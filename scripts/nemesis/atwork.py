"""Stops a process in the middle of what it does: most of the time it waits, and what is stopped there proves little."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

_TRIES = 200
_PAUSE_S = 0.002
_STOP_S = 1.0


def stop_at_work(pid: int, draw: random.Random) -> None:
    """Stop a process while it computes.

    It is stopped and looked at again and again. In the end it is stopped where it waits, if that is all it does or the
    system does not say.
    """
    for _ in range(_TRIES):
        if not _stop(pid) or _computes(pid):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        time.sleep(draw.uniform(0.0, _PAUSE_S))
    _stop(pid)


def _stop(pid: int) -> bool:
    """Stop a process, and wait until it stands; False where it is gone."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGSTOP)
        deadline_s = time.monotonic() + _STOP_S
        while time.monotonic() < deadline_s:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state in "TZX":
                return state == "T"
    return False


def _computes(pid: int) -> bool:
    """Whether a process that stands was stopped outside of any system call."""
    try:
        return Path(f"/proc/{pid}/syscall").read_text().startswith("-1 ")
    except OSError:
        return False
