"""All rows at once against entry by entry: few of them, blocks, and what is left over after the blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beliefd.indices import MISSING, all_known

COUNTS = (4, 2, 300)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64])
@pytest.mark.parametrize("some_missing", [False, True])
@given(rows=st.integers(0, 5_000), seed=st.integers(0, 2**32), data=st.data())
def test_one_wrong_entry_is_found_wherever_it_stands(dtype, some_missing, rows, seed, data):
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    lowest, highest = max(MISSING, least) if some_missing else 0, [min(count - 1, most) for count in COUNTS]
    rng = np.random.default_rng(seed)
    good = rng.integers(lowest, np.array(highest) + 1, (rows, len(COUNTS))).astype(dtype)
    assert all_known(good, COUNTS)
    if rows:
        columns = [0, 1, 2] if least else [0, 1]  # there may be no wrong one in the last, where there are no signs
        row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.sampled_from(columns))
        wrong = [number for number in (COUNTS[column], most) if COUNTS[column] <= number <= most]
        good[row, column] = data.draw(st.sampled_from([*wrong, *([-2, least, least // 2] if least else [])]))
        assert not all_known(good, COUNTS)


@pytest.mark.parametrize("dtype", ["<i8", ">i8"])
@pytest.mark.parametrize("lowest", [0, MISSING])
@given(rows=st.integers(0, 5_000), seed=st.integers(0, 2**32), data=st.data())
def test_what_a_narrower_type_cuts_off_is_found_beside_it(dtype, lowest, rows, seed, data):
    rng = np.random.default_rng(seed)
    good = rng.integers(lowest, np.array(COUNTS), (rows, len(COUNTS))).astype(dtype)
    assert all_known(good, COUNTS, good.astype(np.int16))
    if rows:
        row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.sampled_from([0, 1, 2]))
        # Its lower bits are those of an index that is known.
        cut = data.draw(st.sampled_from([2**16, -(2**16), 2**32 + 1, -(2**48), 2**56]))
        good[row, column] = data.draw(st.sampled_from([cut, COUNTS[column], -2]))
        assert not all_known(good, COUNTS, good.astype(np.int16))


@pytest.mark.parametrize("agents", [20, 2000])
def test_the_order_of_bytes_is_minded(agents):
    rows = np.zeros((agents, len(COUNTS)), ">i8")
    rows[3, 1] = 2**56  # 1 to who reads it the other way round
    assert not all_known(rows, COUNTS, rows.astype(np.int16))
