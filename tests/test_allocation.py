"""Memory of large arrays is kept for those that come next."""

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource
import numpy as np
from beliefd.allocation import keep_freed_memory
{first}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
rows = [np.ones(10**6) for _ in range(3)]
before = faults()
for _ in range(10):
    rows = None
    rows = [np.ones(10**6) for _ in range(3)]
print((faults() - before) // 10)
"""
PAGES = 3 * 8 * 10**6 // 4096


def faults(first):
    """Page faults of a program that makes three arrays of 8 MB again and again, each time."""
    printed = subprocess.run([sys.executable, "-c", _FAULTS.format(first=first)], capture_output=True, check=True)
    return int(printed.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others know no such threshold")
def test_what_is_freed_is_had_again_without_faults():
    assert faults("keep_freed_memory()") < PAGES // 100
