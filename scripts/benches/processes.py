"""What processes take: memory and processor time, from /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from beliefd_service.stack import Stack

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The processes that `pid` started and that still run."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def tree(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    return [pid, *(below for child in children(pid) for below in tree(child))]


def parent(pid: int) -> int:
    return int(_stat(pid)[1])


def stack_tree(stack: Stack) -> list[int]:
    """Every process of a stack, supervisord among them."""
    broker = stack.pid("broker")
    assert broker is not None, "the broker does not run"
    return tree(parent(broker))


def cpu_s(pids: Iterable[int]) -> dict[int, float]:
    """Processor time that each of these processes took so far, in seconds; not of those that have ended."""
    times_s = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            times_s[pid] = sum(map(int, _stat(pid)[11:13])) / _TICKS_PER_S
    return times_s


def cpu_used_s(before_s: dict[int, float]) -> float:
    """What the processes of `before_s` took since `cpu_s` gave it; nothing for those that ended in between."""
    return sum(now_s - before_s[pid] for pid, now_s in cpu_s(before_s).items())


def thread_s(pid: int) -> dict[tuple[int, str], float]:
    """Processor time that each thread of a process took so far, in seconds, by its number and its name."""
    times_s = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            ran_ns = int((task / "schedstat").read_text().split()[0])
            times_s[int(task.name), (task / "comm").read_text().strip()] = ran_ns / 1e9
    return times_s


def total_kb(measure: Callable[[int], int], pids: Iterable[int]) -> int:
    """`private_kb` or `pss_kb` of these processes together; nothing for those that have ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += measure(pid)
    return total


def private_kb(pid: int) -> int:
    """Anonymous memory that no other process shares: pages of files, the store's among them, do not count."""
    total = private = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Private_Dirty":
            private = int(value.split()[0])
        elif name == "Anonymous":
            total += min(private, int(value.split()[0]))
    return total


def pss_kb(pid: int) -> int:
    """Proportional share: a page that n processes share counts as 1/n of it for each."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat behind the name, from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
