"""A process is its number, its start and its boot: a number that was given anew is another process."""

import os
import select
import signal
import subprocess
import sys

import msgspec
import pytest

from beliefd_service import process
from beliefd_service.process import ProcessIdentity, kill_process, open_process, start_time, usage


@pytest.fixture
def child():
    running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield running
    running.kill()
    running.wait()


def identity(running):
    return ProcessIdentity(running.pid, start_time(running.pid), process.boot_id())


def test_own_identity_is_this_process():
    own = ProcessIdentity.own()
    assert own.pid == os.getpid()
    assert own.start_time == start_time(own.pid)
    pidfd = open_process(own)
    os.close(pidfd)


def test_a_pidfd_is_readable_when_the_process_is_gone_and_not_before(child):
    pidfd = open_process(identity(child))
    assert select.select([pidfd], [], [], 0)[0] == []
    kill_process(pidfd)
    assert select.select([pidfd], [], [], 30)[0] == [pidfd]
    assert child.wait() == -signal.SIGKILL
    kill_process(pidfd)
    os.close(pidfd)
    assert start_time(child.pid) is None


@pytest.mark.parametrize("change", [{"start_time": 1}, {"boot_id": "another"}])
def test_a_number_given_anew_is_not_the_process(child, change):
    before = len(os.listdir("/proc/self/fd"))
    assert open_process(msgspec.structs.replace(identity(child), **change)) is None
    assert len(os.listdir("/proc/self/fd")) == before
    assert child.poll() is None


def test_who_ended_is_none(child):
    known = identity(child)
    child.kill()
    child.wait()
    assert open_process(known) is None


def test_a_name_with_brackets_and_spaces_does_not_shift_the_start_time(child, monkeypatch, tmp_path):
    real = process.Path(f"/proc/{child.pid}/stat").read_text()
    name = real[real.index("(") : real.rindex(")") + 1]
    (tmp_path / "stat").write_text(real.replace(name, "(a) b) 1 2)"))
    expected = start_time(child.pid)
    monkeypatch.setattr(process, "Path", lambda _: tmp_path / "stat")
    assert start_time(child.pid) == expected


def test_usage_is_of_this_process():
    cpu_s, rss_bytes, private_bytes = usage()
    assert 2**20 < private_bytes < rss_bytes
    assert 0 < cpu_s < 10_000
    assert 2**20 < rss_bytes < 2**36
