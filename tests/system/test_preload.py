"""Workers forked by the preloader: whoever is killed, stopped or stale, in any order."""

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import beliefd
from beliefd.worlds import tmaze
from beliefd_service.process import start_time
from beliefd_service.stack import CHECKOUT, Stack

pytestmark = pytest.mark.system
WORKERS = ("worker_00", "worker_01")
STUB = CHECKOUT / "services" / "beliefd_worker" / "stub.py"
PARTS = ("stub", "preload", "supervisord")


def until(condition, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.002)


def ended(pid):
    """Whether the process is gone, or a zombie that nobody has buried yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def forked_by(pid):
    """The preloader whose zygote forked this worker."""
    return parent(parent(pid))


def descriptors(pid):
    return {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}


def events(stack, process):
    lines = (stack.data / "log" / f"{process}.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def step(stack):
    with beliefd.connect(stack.endpoint) as client:
        mice = client.create_population("mice", tmaze(), agents=1000, exist_ok=True)
        mice.step(np.zeros((1000, 3), int), timeout_s=30)


@pytest.fixture
def forked(own_stack):
    """A stack whose two workers have been forked."""
    assert {forked_by(own_stack.worker_pid(name)) for name in WORKERS} == {own_stack.pid("preload")}
    return own_stack


def test_workers_are_forked_and_their_stubs_are_what_supervisord_has(forked):
    supervisord = parent(forked.pid("broker"))
    for name in WORKERS:
        assert parent(forked.pid(f"worker:{name}")) == supervisord
        assert Path(f"/proc/{forked.worker_pid(name)}/comm").read_text().strip() == name
    step(forked)


def test_a_worker_holds_nothing_of_the_preloader_or_of_its_siblings(forked):
    sockets = [descriptors(forked.worker_pid(name)) for name in WORKERS]
    stubs = [descriptors(forked.pid(f"worker:{name}")) for name in WORKERS]
    zygote = parent(forked.worker_pid("worker_00"))
    shared = sockets[0] & (sockets[1] | descriptors(forked.pid("preload")) | descriptors(zygote))
    assert not {target for target in shared if target.startswith(("socket:", "pipe:"))}
    assert not {target for target in sockets[0] & stubs[1] if target.startswith(("socket:", "pipe:"))}


@pytest.mark.parametrize("state", ["idle", "stopped"])
def test_a_stub_that_dies_takes_its_worker_with_it(forked, state):
    worker = forked.worker_pid("worker_00")
    if state == "stopped":
        os.kill(worker, signal.SIGSTOP)
    forked.kill("worker:worker_00")
    until(lambda: ended(worker), 1.0)
    forked.wait_ready(2)
    step(forked)


@pytest.mark.parametrize(("number", "said"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV")])
def test_a_worker_that_dies_takes_its_stub_with_it_in_the_same_way(forked, number, said):
    stub = forked.pid("worker:worker_00")
    forked.kill_worker("worker_00", number)
    until(lambda: ended(stub))
    forked.wait_ready(2)
    assert f"worker_00 (terminated by {said}" in (forked.data / "log" / "supervisord.log").read_text()


def test_sigterm_goes_through_and_the_end_is_an_orderly_one(forked):
    worker = forked.worker_pid("worker_00")
    assert "stopped" in forked.ctl("stop", "worker:worker_00")
    assert ended(worker)
    assert [event["event"] for event in events(forked, "worker_00")][-2:] == ["leaving", "ended"]
    assert "stopped: worker_00 (exit status 0)" in (forked.data / "log" / "supervisord.log").read_text()


def test_the_preloader_dies_alone_and_its_successor_serves(forked):
    before = {name: forked.worker_pid(name) for name in WORKERS}
    first = forked.kill("preload")
    until(lambda: forked.pid("preload") not in (None, first))
    step(forked)
    assert {name: forked.worker_pid(name) for name in WORKERS} == before
    # A stub of the old preloader learns of the death of its worker all the same.
    stub = forked.pid("worker:worker_00")
    forked.kill_worker("worker_00")
    until(lambda: ended(stub))
    forked.wait_ready(2)
    assert forked_by(forked.worker_pid("worker_00")) == forked.pid("preload")
    step(forked)


def test_the_zygote_dies_and_the_preloader_is_started_again(forked):
    before = {name: forked.worker_pid(name) for name in WORKERS}
    first, zygote = forked.pid("preload"), parent(before["worker_00"])
    os.kill(zygote, signal.SIGKILL)
    until(lambda: forked.pid("preload") not in (None, first))
    step(forked)
    assert {name: forked.worker_pid(name) for name in WORKERS} == before
    forked.ctl("restart", "worker:worker_00")
    forked.wait_ready(2)
    assert forked_by(forked.worker_pid("worker_00")) == forked.pid("preload")


def test_without_a_preloader_a_worker_starts_by_itself_and_says_so(forked):
    forked.ctl("stop", "preload")
    forked.ctl("restart", "worker:worker_00")
    forked.wait_ready(2)
    assert forked.worker_pid("worker_00") == forked.pid("worker:worker_00")
    (said,) = [event for event in events(forked, "worker_00") if event["event"] == "slow_start"]
    assert said["worker"] == "worker_00"
    assert "no preloader" in said["reason"]
    step(forked)


def test_a_stopped_preloader_holds_nobody_up(forked):
    preload = forked.kill("preload", signal.SIGSTOP)
    forked.ctl("restart", "worker:worker_00")
    forked.wait_ready(2)
    assert forked.worker_pid("worker_00") == forked.pid("worker:worker_00")
    worker = forked.worker_pid("worker_00")
    # Awake again it forks for a stub that waits no more: that worker must not live.
    os.kill(preload, signal.SIGCONT)
    forked.ctl("restart", "worker:worker_01")
    forked.wait_ready(2)
    assert forked.worker_pid("worker_00") == worker
    assert [forked_by(forked.worker_pid(name)) == preload for name in WORKERS] == [False, True]


def test_changed_code_makes_the_preloader_stale_until_it_is_restarted():
    """A file that only this test's Python loads stands for all files that a preloader has loaded."""
    with tempfile.TemporaryDirectory(prefix="bd-") as folder:
        loaded = Path(folder) / "sitecustomize.py"
        loaded.write_text("")
        with Stack(Path(folder) / "s", workers=1, environment={"PYTHONPATH": folder}) as stack:
            assert forked_by(stack.worker_pid("worker_00")) == stack.pid("preload")
            loaded.write_text("new = True\n")
            stack.ctl("restart", "worker:worker_00")
            stack.wait_ready(1)
            assert stack.worker_pid("worker_00") == stack.pid("worker:worker_00")
            (said,) = [event for event in events(stack, "worker_00") if event["event"] == "slow_start"]
            assert str(loaded) in said["reason"]
            stack.ctl("restart", "preload", "worker:*")
            stack.wait_ready(1)
            assert forked_by(stack.worker_pid("worker_00")) == stack.pid("preload")


@pytest.mark.parametrize("order", list(itertools.permutations(PARTS)), ids="-".join)
def test_no_orphan_whoever_is_killed_in_whatever_order(order):
    with tempfile.TemporaryDirectory(prefix="bd-") as folder, Stack(Path(folder), workers=2) as stack:
        step(stack)
        os.kill(stack.worker_pid("worker_01"), signal.SIGSTOP)
        pids = {
            "stub": stack.pid("worker:worker_00"),
            "preload": stack.pid("preload"),
            "supervisord": parent(stack.pid("broker")),
        }
        workers = [stack.worker_pid(name) for name in WORKERS]
        others = [stack.pid("broker"), stack.pid("gateway"), stack.pid("worker:worker_01")]
        for part in order:
            if start_time(pids[part]) is not None:
                os.kill(pids[part], signal.SIGKILL)
        stack.kill_supervisord()
        until(lambda: all(ended(worker) for worker in workers), 1.0)
        # What supervisord had started in the meantime ends with it too.
        until(lambda: all(ended(pid) for pid in others))
        until(lambda: not running_in(folder))


def running_in(folder):
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                environment = (process / "environ").read_bytes()
                if f"BELIEFD_DATA={folder}/var".encode() in environment and not ended(process.name):
                    found.append(process.name)
            except OSError:
                continue
    return found


def test_a_stub_by_hand_without_any_stack_becomes_the_worker():
    with tempfile.TemporaryDirectory(prefix="bd-") as folder:
        command = [sys.executable, "-I", "-S", str(STUB), "worker_00"]
        environment = {**os.environ, "BELIEFD_DATA": f"{folder}/var"}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            said = [json.loads(process.stderr.readline()) for _ in range(3)]
            process.terminate()
            assert process.wait(30) == 0
    assert [event["event"] for event in said] == ["slow_start", "warming", "ready"]
    assert said[2]["pid"] == process.pid
