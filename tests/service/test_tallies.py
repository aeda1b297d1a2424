"""Counts that several processes share."""

import multiprocessing
import time

import numpy as np
import pytest

from beliefd.engine import jit
from beliefd_proto.errors import FolderNotUsable
from beliefd_service.tallies import TALLIES, Tallies

_EACH = 500_000
_PATIENCE_S = 60.0


def test_all_who_open_them_count_by_the_same_and_a_reset_is_of_one_alone(tmp_path):
    one, two = Tallies(tmp_path / "tallies.bin", create=True), Tallies(tmp_path / "tallies.bin")
    for number in (0, 1, TALLIES - 1):
        one.of(number)[0] += number + 1
    assert [two.of(number).item() for number in (0, 1, TALLIES - 1)] == [1, 2, TALLIES]
    two.reset(1)
    assert [one.of(number).item() for number in (0, 1, TALLIES - 1)] == [1, 0, TALLIES]


def test_a_broker_that_comes_back_does_not_take_the_counts_from_under_workers(tmp_path):
    Tallies(tmp_path / "tallies.bin", create=True)
    worker = Tallies(tmp_path / "tallies.bin")
    worker.of(3)[0] = 7
    assert Tallies(tmp_path / "tallies.bin", create=True).of(3).item() == 7


def test_a_worker_makes_no_counts_of_its_own(tmp_path):
    with pytest.raises(FolderNotUsable):
        Tallies(tmp_path / "tallies.bin")


def test_no_two_processes_that_count_at_once_get_the_same(tmp_path):
    path = tmp_path / "tallies.bin"
    Tallies(path, create=True)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        got = pool.starmap(_count, [(path, 1), (path, 2)], chunksize=1)
    assert (np.sort(np.concatenate(got)) == np.arange(2 * _EACH)).all()


def _count(path, process):
    """What a process gets that begins when the other does: each says in a count of its own that it is ready."""
    from beliefd.engine.recordmath import take_some

    @jit.kernel("int64[:]", "int64[:]")
    def count(tally, numbers):
        for i in range(len(numbers)):
            numbers[i] = take_some(tally, 1)

    tallies, numbers = Tallies(path), np.empty(_EACH, np.int64)
    count(np.zeros(1, np.int64), numbers)  # it is compiled at its first call
    tallies.of(process)[0] = 1
    deadline_s = time.monotonic() + _PATIENCE_S
    while not tallies.of(3 - process)[0]:
        assert time.monotonic() < deadline_s, "the other process does not come"
    count(tallies.of(0), numbers)
    return numbers
