"""What a process takes for itself is told apart from the pages of files that it maps."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from nemesis.samples import Samples, Series

MB = 2**20


def test_pages_of_a_mapped_file_are_resident_and_not_a_process_own(tmp_path: Path) -> None:
    (tmp_path / "agents").write_bytes(bytes(32 * MB))
    samples = Samples(os.getpid(), tmp_path)
    samples.take()
    with (tmp_path / "agents").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        touched = sum(mapped[:: mmap.PAGESIZE])
        samples.take()
    own = bytearray(32 * MB)
    samples.take()
    (series,) = [series for (pid, _), series in samples.series.items() if pid == os.getpid()]
    rss_kb, own_kb = np.diff(series.rss_kb), np.diff(series.own_kb)
    assert rss_kb[0] > 30 * 1024
    assert own_kb[0] < 10 * 1024
    assert own_kb[1] > 30 * 1024
    assert (len(own), touched) == (32 * MB, 0)


def test_slopes_of_both_are_of_the_samples_after_the_warm_up() -> None:
    series = Series("worker", at_s=[0, 60, 120, 180], rss_kb=[0, 1024, 3072, 5120], own_kb=[9000, 1024, 1024, 1024])
    assert series.slope_mb_per_min(60) == pytest.approx(2)
    assert series.slope_mb_per_min(60, own=True) == pytest.approx(0, abs=1e-9)
