"""A folder that supervisord can run a stack from, and a stack that a program starts and stops.

``python -m beliefd_service.stack FOLDER [WORKERS]`` makes the folder ready. The checkout itself is such a folder;
another one gets supervisord.conf copied and the virtual environment linked, so that several stacks run side by side.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from beliefd.client import Client, connect
from beliefd.engine.folderlock import LEASES
from beliefd.keys import Keys
from beliefd_proto.errors import BeliefdError, StartupError
from beliefd_service.access import Access
from beliefd_service.leases import held_leases

CHECKOUT = Path(__file__).resolve().parents[2]
_START_S = 240.0  # the first start on a machine compiles every kernel

# The environment leads to the checkout, wherever that is moved to: in another folder, .venv is a link to it.
_COMMAND = (
    "%(here)s/../../.venv/bin/python -I -S %(here)s/../../.venv/../services/beliefd_worker/stub.py"
    " %(program_name)s_%(process_num)02d"
)
_WORKERS = """\
; As many workers as there are CPUs, unless told otherwise. Change numprocs and run: supervisorctl update
[program:worker]
command = {command}
process_name = %(program_name)s_%(process_num)02d
numprocs = {workers}
directory = %(here)s/../..
priority = 20
autorestart = true
startsecs = 1
startretries = 1000000
stopwaitsecs = 15
redirect_stderr = true
stdout_logfile = %(here)s/../log/%(program_name)s_%(process_num)02d.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
"""


def make_stack(folder: Path, workers: int | None = None) -> None:
    """Make `folder` ready for supervisord.

    Data and logs that are there stay. ``supervisord.conf`` is copied anew. ``var/supervisor/workers.conf`` stays too,
    unless `workers` says how many they are or it was written for another checkout; then it is written anew.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for part in (".", "run", "log", "supervisor"):  # a parent that mkdir makes on the way is open to all
        (folder / "var" / part).mkdir(exist_ok=True, mode=0o700)
    if folder != CHECKOUT:
        shutil.copyfile(CHECKOUT / "supervisord.conf", folder / "supervisord.conf")
        if not (folder / ".venv").exists():
            (folder / ".venv").unlink(missing_ok=True)  # a link to a checkout that has moved
            (folder / ".venv").symlink_to(CHECKOUT / ".venv")
    path = folder / "var" / "supervisor" / "workers.conf"
    there = path.read_text() if path.exists() else ""
    if workers is None and f"command = {_COMMAND}\n" in there:
        return
    chosen = re.search(r"^numprocs = (\d+)$", there, re.MULTILINE)
    count = workers or (int(chosen[1]) if chosen else os.cpu_count() or 1)
    path.write_text(_WORKERS.replace("{workers}", str(count)).replace("{command}", _COMMAND))


class Stack:
    """A stack of its own under supervisord, in `folder`, on ports of its own. A context manager: started, then stopped.

    Parameters
    ----------
    folder : Path
    workers : int, optional
        As many as CPUs by default.
    environment : mapping, optional
        BELIEFD_* variables beside those that this class sets: data folder, endpoint and HTTP address.
    """

    def __init__(self, folder: Path, workers: int | None = None, environment: Mapping[str, str] | None = None) -> None:
        make_stack(folder, workers)
        self.folder = folder.resolve()
        self.workers = workers or os.cpu_count() or 1
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("BELIEFD_")}
        own = {"BELIEFD_DATA": str(self.folder / "var"), "BELIEFD_ENDPOINT": self.endpoint, "BELIEFD_HTTP": self.http}
        self.environment = {**clean, **own, **(environment or {})}
        self._supervisord: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "var"

    @property
    def local_endpoint(self) -> str:
        """Where clients connect that may open the data folder: a Unix socket, quicker than TCP."""
        return f"unix://{self.data / 'run' / 'beliefd.sock'}"

    @property
    def supervisord_pid(self) -> int | None:
        """The process id of supervisord; None where it was not started."""
        return None if self._supervisord is None else self._supervisord.pid

    @property
    def running(self) -> bool:
        """Whether supervisord was started and has not ended."""
        return self._supervisord is not None and self._supervisord.poll() is None

    @property
    def keys(self) -> Keys | None:
        """The keys of the stack's own processes; None for a stack without."""
        folder = self.environment.get("BELIEFD_KEYS")
        return Access.read(Path(folder)).server.local_keys if folder else None

    def start(self) -> None:
        """Start supervisord and wait until every worker is ready.

        Raises
        ------
        StartupError
            With the ends of the logs.
        """
        command = [str(self.folder / ".venv/bin/supervisord"), "-n", "-c", str(self.folder / "supervisord.conf")]
        with open(self.data / "log" / "supervisord.console.log", "wb") as console:
            self._supervisord = subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdout=console, stderr=subprocess.STDOUT
            )
        self.wait_ready(self.workers)

    def wait_ready(self, workers: int, timeout_s: float = _START_S) -> None:
        """Wait until `workers` workers take work."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if self._supervisord is not None and (code := self._supervisord.poll()) is not None:
                raise StartupError(f"supervisord ended with code {code}:\n{self.log_tails()}", field=str(self.folder))
            try:
                with connect(self.endpoint, timeout_s=1.0, keys=self.keys) as client:
                    if _ready_workers(client) >= workers:
                        return
            except BeliefdError:
                pass
            time.sleep(0.05)
        raise StartupError(f"the stack did not come up in {timeout_s:g} s:\n{self.log_tails()}", field=str(self.folder))

    def ctl(self, *arguments: str) -> str:
        """Run supervisorctl and return what it printed."""
        command = [
            str(self.folder / ".venv/bin/supervisorctl"),
            "-c",
            str(self.folder / "supervisord.conf"),
            *arguments,
        ]
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def pid(self, program: str) -> int | None:
        """The process id of a program, such as ``"worker:worker_01"``; None where it does not run."""
        printed = self.ctl("pid", program).strip()
        return int(printed) if printed.isdecimal() and printed != "0" else None

    def kill(self, program: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a program, which is waited for where it does not run; returns the pid it had."""
        deadline_s = time.monotonic() + _START_S
        while (pid := self.pid(program)) is None:
            if time.monotonic() > deadline_s:
                raise StartupError(f"{program} does not run:\n{self.log_tails()}", field=program)
            time.sleep(0.02)
        os.kill(pid, number)
        return pid

    def worker_pid(self, name: str) -> int | None:
        """The process id of the worker itself, not that of its stub; None where it does not run."""
        return next((lease.pid for held, lease in held_leases(self.data / LEASES) if held == name and lease), None)

    def kill_worker(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a worker itself, which is waited for where it does not run; returns the pid it had."""
        deadline_s = time.monotonic() + _START_S
        while (pid := self.worker_pid(name)) is None:
            if time.monotonic() > deadline_s:
                raise StartupError(f"{name} does not run:\n{self.log_tails()}", field=name)
            time.sleep(0.02)
        os.kill(pid, number)
        return pid

    def stop(self) -> None:
        """Stop supervisord and with it everything that it started."""
        if self._supervisord is None:
            return
        self._supervisord.terminate()
        try:
            self._supervisord.wait(30)
        except subprocess.TimeoutExpired:
            self._supervisord.kill()
            self._supervisord.wait()
        self._supervisord = None

    def kill_supervisord(self) -> None:
        """SIGKILL for supervisord itself, which takes everything that it started along."""
        if self._supervisord is not None:
            self._supervisord.kill()
            self._supervisord.wait()
            self._supervisord = None

    def log_tails(self, lines: int = 8) -> str:
        """The last lines of every log."""
        tails = []
        for path in sorted((self.data / "log").glob("*.log")):
            tails += [f"== {path.name}", *path.read_text(errors="replace").splitlines()[-lines:]]
        return "\n".join(tails)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A TCP port of the loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ready_workers(client: Client) -> int:
    return sum(worker.state in ("ready", "busy") for worker in client.status().workers)


if __name__ == "__main__":
    make_stack(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
