"""What processes take: memory and processor time, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

from beliefd_service.stack import Stack

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The processes that `pid` started and that still run."""
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


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


def cpu_s(pids: list[int]) -> float:
    """Processor time that these processes took so far, in seconds."""
    return sum(sum(map(int, _stat(pid)[11:13])) for pid in pids) / _TICKS_PER_S


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
