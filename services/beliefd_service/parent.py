"""A process that is of no use without the one that started it ends with it. Needs the standard library alone."""

from __future__ import annotations

import _ctypes
import os
import select
import stat
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_supervisor(number: int) -> None:
    """Have the kernel send this process the signal `number` when supervisord, which started it, dies.

    Without supervisord nothing is done: who starts a process by hand may leave. `exec` keeps it, `fork` does not.
    """
    if "SUPERVISOR_ENABLED" not in os.environ:
        return
    end_with_parent(number)
    # It may have died before that. Its end of the pipe that is our standard input went with it.
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        poll = select.poll()
        poll.register(0, 0)
        if poll.poll(0):
            sys.exit("supervisord is gone")


def end_with_parent(number: int) -> None:
    """Have the kernel send this process the signal `number` when its parent dies."""
    # `ctypes` itself would be half a megabyte of every worker's stub.
    prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
    _ctypes.call_function(prctl, (_PR_SET_PDEATHSIG, number, 0, 0, 0))
