"""Memory that a step of many agents frees is there for the next one: none of its pages is had anew."""

import platform
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others know no such threshold"),
]
AGENTS = 1_000_000
FEW_FAULTS = 20
"""Fewer than an array with a byte of every agent has pages."""

_STEPS = f"""
import resource
import sys
import numpy as np
import beliefd
from beliefd.worlds import tmaze
AGENTS = {AGENTS}
{{opened}}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
observations = np.zeros((AGENTS, 3), np.int64)
for _ in range(5):
    agents.step(observations)
before = faults()
for _ in range(5):
    agents.step(observations)
print((faults() - before) // 5)
{{closed}}
"""


def faults(opened: str, closed: str) -> int:
    """Page faults of a step in a program that does nothing else."""
    program = _STEPS.format(opened=opened, closed=closed)
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)


def test_of_a_client(stack, name):
    opened = f"agents = beliefd.connect('{stack.endpoint}').create_population('{name}', tmaze(), agents=AGENTS)"
    assert faults(opened, "agents.drop()") < FEW_FAULTS


def test_of_engine():
    opened = "from beliefd.engine import Engine; agents = Engine(tmaze(), AGENTS)"
    assert faults(opened, "agents.close()") < FEW_FAULTS
