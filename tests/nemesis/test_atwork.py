"""A process that computes now and then is stopped while it does."""

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nemesis.atwork import stop_at_work

# Nine tenths of the time it waits.
SOMETIMES = """
import time
while True:
    until_s = time.perf_counter() + 0.002
    while time.perf_counter() < until_s:
        sum(range(100))
    time.sleep(0.018)
"""


@pytest.fixture
def process():
    with subprocess.Popen([sys.executable, "-c", SOMETIMES]) as started:
        yield started
        with contextlib.suppress(ProcessLookupError):
            os.kill(started.pid, signal.SIGCONT)
        started.kill()


def where(pid):
    return Path(f"/proc/{pid}/syscall").read_text().split()[0]


def test_it_stands_where_it_computes(process):
    try:
        where(process.pid)
    except PermissionError:
        pytest.skip("this system does not say what a process does")
    for seed in range(5):
        stop_at_work(process.pid, random.Random(seed))
        assert where(process.pid) == "-1"
        os.kill(process.pid, signal.SIGCONT)


def test_what_is_gone_is_left_alone(process):
    process.kill()
    process.wait()
    stop_at_work(process.pid, random.Random(1))
