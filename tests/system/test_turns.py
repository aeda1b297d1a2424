"""Of the processes of a stack those that compute give way to those that all others wait for."""

import os

import pytest

from scheduling import KERNEL, READABLE, attributes

pytestmark = pytest.mark.system


def test_workers_give_way_and_the_broker_does_not(stack):
    assert {os.sched_getscheduler(stack.worker_pid(f"worker_{i:02d}")) for i in range(2)} == {os.SCHED_BATCH}
    assert os.sched_getscheduler(stack.pid("broker")) == os.SCHED_OTHER


@pytest.mark.skipif(not READABLE or KERNEL < (6, 12), reason="the system has no slices, or they cannot be read here")
def test_all_threads_of_the_broker_have_short_turns(stack):
    broker = stack.pid("broker")
    slices = {attributes(int(thread))[2] for thread in os.listdir(f"/proc/{broker}/task")}
    assert slices == {100_000}
