"""Of the processes of a stack those that compute give way to those that all others wait for."""

import os

import pytest

pytestmark = pytest.mark.system


def test_workers_give_way_and_the_broker_does_not(stack):
    assert {os.sched_getscheduler(stack.worker_pid(f"worker_{i:02d}")) for i in range(2)} == {os.SCHED_BATCH}
    assert os.sched_getscheduler(stack.pid("broker")) == os.SCHED_OTHER
