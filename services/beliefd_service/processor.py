"""What a process asks of the system's scheduler, where more processes have something to do than there are processors.

Of two that are equal the scheduler may let the one that computes go on for milliseconds, while the other, which would
be done in a hundredth of that, keeps everybody waiting. Neither gets more time by what is asked for here, and a
policy that an operator has chosen for a process stays, as does how nice it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct

_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}.get(platform.machine())
"""The system call sched_setattr, which the C library of Debian 12 has no function for."""
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")  # linux/sched/types.h: size, policy, flags, nice, priority, and three times
_SLICE_NS = 100_000  # the least there is


def give_way() -> None:
    """Of a process that computes: when it is woken it waits until whoever runs has ended its turn."""
    with contextlib.suppress(OSError):  # a sandbox may forbid it: all is done without it too, a little later
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def take_short_turns() -> None:
    """Of a process that others wait for: when a thread of it is woken it runs before those whose turns are longer.

    Of the threads that there are: those to come do not inherit it. From Linux 6.12 on (EEVDF, with a slice of a
    thread's own); before, the system takes no notice.
    """
    if _SET_ATTRIBUTES is None:
        return
    for thread in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(thread) == os.SCHED_OTHER:
                nice = os.getpriority(os.PRIO_PROCESS, thread)
                attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, _SLICE_NS, 0, 0)
                ctypes.CDLL(None).syscall(_SET_ATTRIBUTES, thread, attributes, 0)
