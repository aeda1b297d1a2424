"""A quota lets through what it says, and no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beliefd_service.quota import BURST_S, Bucket


@given(st.floats(0.1, 1e4), st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 100.0)), max_size=200))
def test_never_more_than_a_burst_and_what_time_brought(per_s, uses):
    bucket, now_s, used, largest = Bucket(per_s, 0.0), 0.0, 0.0, 0.0
    for after_s, amount in uses:
        now_s += after_s
        if bucket.take(amount, now_s) == 0.0:
            used += amount
            largest = max(largest, amount)
        assert used <= per_s * (BURST_S + now_s) * (1 + 1e-9) + largest


@given(st.floats(0.1, 1e4), st.floats(0.0, 1e5))
def test_whoever_waits_as_told_is_served(per_s, amount):
    bucket = Bucket(per_s, 0.0)
    assert bucket.take(per_s * BURST_S + amount, 0.0) == 0.0
    wait_s = bucket.take(1.0, 0.0)
    assert bucket.take(1.0, wait_s + 1e-3 + wait_s * 1e-9) == 0.0


def test_a_request_larger_than_the_bucket_is_served_once():
    bucket = Bucket(10.0, 0.0)
    assert bucket.take(1000.0, 0.0) == 0.0
    assert bucket.take(1.0, 1.0) == pytest.approx((1000 - 10 * BURST_S - 10) / 10)
    assert bucket.take(1.0, 99.0) == 0.0
