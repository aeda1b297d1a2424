"""A supervisord that can write nothing, not even that it cannot: it looks after its programs all the same."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

_CONF = """\
[supervisord]
logfile = %(here)s/log
pidfile = %(here)s/pid
[unix_http_server]
file = %(here)s/s
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[rpcinterface:beliefd_disk]
supervisor.rpcinterface_factory = beliefd_service.fulldisk:outlast_full_disk
[supervisorctl]
serverurl = unix://%(here)s/s
[program:sleeper]
command = sleep 600
startretries = 1000
"""


def until(condition):
    deadline_s = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "this did not come about in time"
        time.sleep(0.02)
    return found


@pytest.mark.system
def test_supervisord_starts_its_programs_again_when_nothing_can_be_written(tmp_path):
    (tmp_path / "conf").write_text(_CONF)
    command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", tmp_path / "conf"]

    def sleeper():
        ask = [sys.executable, "-m", "supervisor.supervisorctl", "-c", tmp_path / "conf", "pid", "sleeper"]
        said = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
        return int(said) if said.isdecimal() else 0

    with open(tmp_path / "console", "wb") as console:
        supervisord = subprocess.Popen(command, stdout=console, stderr=console)
    try:
        first = until(sleeper)
        # As on a full disk, every write to a file fails: with EFBIG in place of ENOSPC.
        resource.prlimit(supervisord.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        os.kill(first, signal.SIGKILL)
        assert until(lambda: sleeper() not in (0, first))
        assert supervisord.poll() is None
    finally:
        resource.prlimit(supervisord.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        supervisord.terminate()
        supervisord.wait(20)
