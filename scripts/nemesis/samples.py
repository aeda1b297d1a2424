"""What the processes of a stack and its folder take, sampled, and how fast that grows."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from beliefd_service.process import start_time
from benches.processes import tree

_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass
class Series:
    """One process's life: resident kB, those of them that are its own, and open descriptors at `at_s`.

    The others are pages of files that it maps. The agents of a population are in a file: their pages count for every
    worker that has touched them since its start, up to the size of the file, and the kernel may take them back.
    """

    name: str
    at_s: list[float] = field(default_factory=list)
    rss_kb: list[int] = field(default_factory=list)
    own_kb: list[int] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)

    def slope_mb_per_min(self, from_s: float, own: bool = False) -> float:
        """Of the line through all samples from then on, by least squares; 0 where they are few."""
        taken_kb = self.own_kb if own else self.rss_kb
        at_s, kb = (np.array(values)[np.array(self.at_s) >= from_s] for values in (self.at_s, taken_kb))
        return 0.0 if len(at_s) < 3 else float(np.polyfit(at_s, kb, 1)[0]) * 60 / 1024

    def fds_between(self, from_s: float) -> tuple[int, int]:
        later = [fds for at_s, fds in zip(self.at_s, self.fds, strict=True) if at_s >= from_s]
        return (min(later), max(later)) if later else (0, 0)


class Samples:
    """Series of every process below supervisord, itself among them, and of the folder's size."""

    def __init__(self, supervisord: int, folder: Path) -> None:
        self._supervisord = supervisord
        self._folder = folder
        self.series: dict[tuple[int, int], Series] = {}
        self.disk_at_s: list[float] = []
        self.disk_bytes: list[int] = []

    def take(self) -> None:
        now_s = time.monotonic()
        for pid in tree(self._supervisord):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                _, resident, mapped = map(int, Path(f"/proc/{pid}/statm").read_text().split()[:3])
                fds = len(os.listdir(f"/proc/{pid}/fd"))
                started = start_time(pid) or 0
                series = self.series.setdefault((pid, started), Series(process_name(pid)))
                series.at_s.append(now_s)
                series.rss_kb.append(resident * _PAGE_KB)
                series.own_kb.append((resident - mapped) * _PAGE_KB)
                series.fds.append(fds)
        self.disk_at_s.append(now_s)
        self.disk_bytes.append(size_bytes(self._folder))


def process_name(pid: int) -> str:
    """What a process of a stack is, from its command line: ``"beliefd_broker"``, ``"stub worker_00"``."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    for word in words:
        if word.endswith("stub.py"):
            return f"stub {words[words.index(word) + 1]}"
        if word.endswith("supervisord"):
            return "supervisord"
    if "-m" in words:
        return " ".join(words[words.index("-m") + 1 :]).strip()
    return " ".join(words).strip()


def size_bytes(folder: Path) -> int:
    """What the files below a folder take on disk."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_blocks * 512
    return total
