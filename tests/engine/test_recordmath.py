"""Numbers between records and rows of scratch: the same ones come and go, whole squares and rests, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from beliefd.engine.jit import inline
from beliefd.engine.plan import LANES
from beliefd.engine.recordmath import fetch_ahead, gather_rows, keep_order, scatter_rows

COUNTS = (0, 1, 7, 8, 15, 16, 17, 33)
IN_RECORD, FIRST, RECORDS, ROWS = 40, 3, 100, 36


@inline
def gathered(work, target, records, places, first, count):  # type: ignore[no-untyped-def]
    gather_rows(work, target, records, places, first, count)


@inline
def scattered(records, places, first, work, source, count):  # type: ignore[no-untyped-def]
    scatter_rows(records, places, first, work, source, count)


@inline
def written(records, row):  # type: ignore[no-untyped-def]
    fetch_ahead(records, row, 8 * records.shape[1])
    records[row, 1] = 5
    keep_order()
    records[row, 0] = 7


def _numbers(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Any bits: what is moved may be no number at all."""
    return np.frombuffer(rng.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(shape).copy()


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_what_is_gathered_is_what_stands_there_and_goes_back_there_alone(dtype: str) -> None:
    rng = np.random.default_rng(0)
    records, work = _numbers(rng, dtype, (RECORDS, IN_RECORD)), _numbers(rng, dtype, (ROWS, LANES))
    rows = rng.permutation(RECORDS)[:LANES]
    for count in COUNTS:
        expected = work.copy()
        expected[2 : 2 + count] = records[rows, FIRST : FIRST + count].T
        gathered(work, 2, records, rows * IN_RECORD, FIRST, count)
        assert work.tobytes() == expected.tobytes()
        work = _numbers(rng, dtype, (ROWS, LANES))
        changed = records.copy()
        changed[rows, FIRST : FIRST + count] = work[2 : 2 + count].T
        scattered(records, rows * IN_RECORD, FIRST, work, 2, count)
        assert records.tobytes() == changed.tobytes()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("used", [1, 5, 17, 63])
def test_where_lanes_repeat_the_first_it_is_the_first_that_stays(count: int, used: int) -> None:
    rng = np.random.default_rng(used)
    records, work = _numbers(rng, "float32", (RECORDS, IN_RECORD)), _numbers(rng, "float32", (ROWS, LANES))
    rows = rng.permutation(RECORDS)[:LANES]
    rows[used:] = rows[0]
    changed = records.copy()
    changed[rows[:used], FIRST : FIRST + count] = work[2 : 2 + count, :used].T
    scattered(records, rows * IN_RECORD, FIRST, work, 2, count)
    assert records.tobytes() == changed.tobytes()


def test_numbers_of_another_size_are_refused() -> None:
    places = np.zeros(LANES, np.int64)
    with pytest.raises(Exception, match="numbers of one size"):
        gathered(np.zeros((ROWS, LANES), np.float32), 0, np.zeros((RECORDS, IN_RECORD)), places, 0, 1)
    with pytest.raises(Exception, match="numbers of one size"):
        scattered(np.zeros((RECORDS, IN_RECORD)), places, 0, np.zeros((ROWS, LANES), np.float32), 0, 1)


@pytest.mark.parametrize("numbers", [2, 21, 100])
def test_what_is_fetched_and_kept_in_order_stays_as_it_is(numbers: int) -> None:
    records = _numbers(np.random.default_rng(0), "int64", (5, numbers))
    for row in (0, 4):
        changed = records.copy()
        changed[row, :2] = 7, 5
        written(records, row)
        assert records.tobytes() == changed.tobytes()


def test_no_compiler_may_write_the_second_before_the_first() -> None:
    written(np.zeros((1, 2), np.int64), 0)
    [code] = written.inspect_llvm().values()
    first, second = (code.rindex(f"store i64 {number}") for number in (5, 7))
    assert first < code.rindex("fence") < second
