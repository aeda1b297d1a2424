"""What is asked of the system's scheduler holds, and changes nothing else; where it may not be asked nothing breaks."""

import errno
import os
import subprocess
import sys

import pytest

from beliefd_service import processor
from scheduling import KERNEL, READABLE, attributes

NICE = min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19)


def after(call, *start):
    """The attributes of a process that is nicer than this one, started by `start`, that has called a function."""
    code = f"from beliefd_service import processor; processor.{call}(); print('done', flush=True); input()"
    child = subprocess.Popen(
        ["nice", "-n3", *start, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "done\n"
        return attributes(child.pid)
    finally:
        child.communicate("\n")


def test_who_computes_gives_way():
    assert after("give_way")[:2] == (os.SCHED_BATCH, NICE)


@pytest.mark.skipif(not READABLE, reason="the number of the system call is not known here")
def test_who_is_waited_for_takes_short_turns():
    policy, nice, slice_ns = after("take_short_turns")
    assert (policy, nice) == (os.SCHED_OTHER, NICE)
    if KERNEL >= (6, 12):
        assert slice_ns == 100_000


@pytest.mark.parametrize("call", ["give_way", "take_short_turns"])
def test_what_an_operator_chose_stays(call):
    assert after(call, "chrt", "--idle", "0")[0] == os.SCHED_IDLE


def test_a_sandbox_that_forbids_it_does_no_harm(monkeypatch):
    def forbidden(*_):
        raise PermissionError(errno.EPERM, "forbidden")

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    processor.give_way()
    with monkeypatch.context() as blind:
        blind.setattr(os, "sched_getscheduler", forbidden)
        processor.give_way()
        processor.take_short_turns()
    monkeypatch.setattr(processor, "_SET_ATTRIBUTES", None)
    processor.take_short_turns()
