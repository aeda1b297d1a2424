"""What a process that the preloader forked has to do before it is a worker like any other.

The less it does, the less memory it has of its own: whatever it touches is copied. So it keeps what the preloader has
made already, settings and logger included.
"""

from __future__ import annotations

import fcntl
import functools
import os
import select
import signal
import sys
from dataclasses import dataclass
from typing import NoReturn

from beliefd_service.lifecycle import guarded
from beliefd_service.logging import Logger
from beliefd_service.settings import Settings
from beliefd_worker.life import live

_COMM_BYTES = 15  # TASK_COMM_LEN less its closing zero


@dataclass(frozen=True)
class Request:
    """A worker to become.

    `fds` are its standard input, output and error, and the reading end of its stub's lifeline.
    """

    name: str
    fds: list[int]


def become(request: Request, settings: Settings, logger: Logger) -> NoReturn:
    """Be the worker of this request, and end."""
    lifeline = request.fds[3]
    for target, fd in enumerate(request.fds[:3]):
        os.dup2(fd, target)
    # Nothing else may stay open: a sibling's connection would hide its stub's end of file, and the preloader's lock
    # would outlive the preloader.
    os.closerange(3, lifeline)
    os.closerange(lifeline + 1, os.sysconf("SC_OPEN_MAX"))
    _tie_to(lifeline)
    os.setsid()
    with open("/proc/self/comm", "wb", buffering=0) as comm:
        comm.write(os.fsencode(request.name)[:_COMM_BYTES])
    logger = logger.bind(process="beliefd_worker", worker=request.name)
    code = guarded(functools.partial(live, request.name), settings, logger)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # what the preloader registered to be done at its exit is not ours


def _tie_to(lifeline: int) -> None:
    """Have the kernel kill this process when the other end of the pipe closes, also while it is busy or stopped."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline, 0)
    if poll.poll(0):
        os._exit(0)  # it had closed before
