"""``supervisord -c supervisord.conf`` as it stands: no BELIEFD_* set, as a daemon and in the foreground."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import beliefd
from beliefd.worlds import tmaze
from beliefd_proto.errors import BeliefdError
from beliefd_service.process import start_time
from beliefd_service.stack import make_stack

pytestmark = pytest.mark.system
ENDPOINT = "tcp://127.0.0.1:5757"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("BELIEFD_")}


def until_ready(timeout_s=240.0):
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            with beliefd.connect(ENDPOINT, timeout_s=1.0) as client:
                if client.status().ready:
                    return
        except BeliefdError:
            pass
        time.sleep(0.05)
    pytest.fail("the stack did not come up")


@pytest.mark.parametrize("options", [[], ["-n"]], ids=["daemon", "foreground"])
def test_the_stack_starts_as_the_readme_says(options):
    with tempfile.TemporaryDirectory(prefix="bd-") as folder:
        make_stack(Path(folder))
        run = {"cwd": folder, "env": ENVIRONMENT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([".venv/bin/supervisord", "-c", "supervisord.conf", *options], **run) as started:
            try:
                until_ready()
                with beliefd.connect(ENDPOINT) as client:
                    mice = client.create_population("mice", tmaze(), agents=10)
                    assert mice.step(np.zeros((10, 3), int)).tick.tolist() == [1] * 10
                assert (Path(folder) / "var" / "populations").is_dir()
                if not options:
                    assert started.wait(10) == 0
            finally:
                pid = int((Path(folder) / "var" / "run" / "supervisord.pid").read_text())
                subprocess.run([".venv/bin/supervisorctl", "-c", "supervisord.conf", "shutdown"], check=False, **run)
                wait_gone(pid)
                assert not (Path(folder) / "var" / "run" / "supervisor.sock").exists()


def wait_gone(pid, timeout_s=40.0):
    deadline_s = time.monotonic() + timeout_s
    while (
        start_time(pid) is not None and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    ):
        assert time.monotonic() < deadline_s, "supervisord did not end"
        time.sleep(0.05)
