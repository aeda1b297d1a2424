"""Identity of a process, so that a number that the kernel has given to another process is never taken for the first."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import NamedTuple

import msgspec


class ProcessIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A process: its number, when it started (clock ticks since boot), and in which boot of the machine."""

    pid: int
    start_time: int
    boot_id: str

    @classmethod
    def own(cls) -> ProcessIdentity:
        pid = os.getpid()
        started = start_time(pid)
        assert started is not None
        return cls(pid, started, boot_id())


@functools.cache
def boot_id() -> str:
    """The identity of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(b")")[2].split()[19])


def open_process(identity: ProcessIdentity) -> int | None:
    """A pidfd of the process, or None where it has ended.

    The start time is compared after the pidfd is open: from then on the number cannot pass to another process unseen.
    """
    if identity.boot_id != boot_id():
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if start_time(identity.pid) != identity.start_time:
        os.close(pidfd)
        return None
    return pidfd


def kill_process(pidfd: int) -> None:
    """Send SIGKILL. The process is gone only when its pidfd polls readable."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return


class Usage(NamedTuple):
    """What a process has used: CPU time in seconds, resident memory in bytes, and how much of that maps no file."""

    cpu_s: float
    rss_bytes: int
    private_bytes: int


def usage() -> Usage:
    """What this process has used so far."""
    times = os.times()
    with open("/proc/self/statm", "rb") as statm:
        _, resident, shared, *_ = map(int, statm.read().split())
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    return Usage(times.user + times.system, resident * page_bytes, (resident - shared) * page_bytes)
