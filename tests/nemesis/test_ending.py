"""A run that is stopped stops what it started."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from benches.processes import tree

CHECKOUT = Path(__file__).resolve().parents[2]
PATHS = [str(CHECKOUT / part) for part in ("scripts", "services", "common", "proto")]


def until(condition, what):
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.system
@pytest.mark.parametrize("module", ["nemesis", "nemesis.soak", "nemesis.overload"])
def test_sigterm_leaves_nothing_behind(module):
    # A short path: sockets are to have room in it.
    with tempfile.TemporaryDirectory(prefix="bd-") as folder, open(Path(folder) / "said", "w+b") as said:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(PATHS), "TMPDIR": folder}
        command = [sys.executable, "-m", module]
        with subprocess.Popen(command, env=environment, stdout=said, stderr=said, cwd=CHECKOUT) as run:
            until(lambda: len(tree(run.pid)) > 6, "no stack came up")  # supervisord, and nearly all of its programs
            family = tree(run.pid)
            run.send_signal(signal.SIGTERM)
            assert run.wait(60) == 128 + signal.SIGTERM, Path(said.name).read_text()
        until(lambda: not any(map(runs, family)), "something goes on")
        assert os.listdir(folder) == ["said"]
