"""What stands under supervisord for a worker: a few megabytes in the place of a process that the preloader forks.

supervisord manages only its own children, and a worker forked by the preloader is not one. So this process stays in the
worker's place: it passes on its standard streams and the signals it gets, ends as the worker ends, and the worker dies
with it. Where there is no preloader to be had it becomes the worker itself, which takes seconds and tens of megabytes
more, and says so.

Nothing but the standard library is imported, and little of that: each module is memory that every worker costs.

The talk with the preloader, over a SOCK_SEQPACKET socket, one message each:

1. `request` to it, with standard input, output, error and the reading end of the lifeline, a pipe whose writing end
   nobody but this process ever holds.
2. From it: `FORKED` with a pidfd of the worker, or the reason why not.
3. From it when the worker has ended: its wait status, 4 bytes. Not if the preloader ends first.
"""

from __future__ import annotations

# The C modules behind `signal` and `socket`, whose enums would be a megabyte of every worker.
import _signal  # type: ignore[import-not-found]
import _socket
import fcntl
import os
import select
import sys
import time

from beliefd_service.parent import end_with_supervisor

TYPE_CHECKING = False  # as `typing` has it, which would be memory
if TYPE_CHECKING:
    from typing import NoReturn

FORKED = b"\0"
STATUS_BYTES = 4
REQUEST_BYTES = 1 << 20
_PASSED_ON = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGUSR1, _signal.SIGUSR2)
_APPEAR_S = 1.0
_WARM_S = 240.0
_ANSWER_S = 2.0
_POLL_S = 0.02
_INT = 4
_EXIT_UNKNOWN = 70  # EX_SOFTWARE of sysexits.h


class Refused(Exception):
    """The preloader does not fork for us; the text says why."""


def run_folder() -> str:
    """Where sockets and locks of the stack are, as `Settings` has it."""
    return os.path.join(os.path.abspath(os.environ.get("BELIEFD_DATA") or "var"), "run")


def socket_path() -> str:
    return os.path.join(run_folder(), "preload.ipc")


def lock_path() -> str:
    """Held by the preloader from its first moment on, so that one that warms up is told from one that is gone."""
    return os.path.join(run_folder(), "preload.lock")


def request(name: str) -> bytes:
    """Who asks: the worker's name, the Python that would run it, and the settings of the stack."""
    return b"\0".join([os.fsencode(name), os.fsencode(sys.executable), settings()])


def settings() -> bytes:
    """The settings of the stack, as they are in the environment."""
    found = (key + b"=" + value for key, value in os.environb.items() if key.startswith(b"BELIEFD_"))
    return b"\0".join(sorted(found))


def main() -> None:
    name = sys.argv[1]
    end_with_supervisor(_signal.SIGKILL)
    try:
        connection, worker = _fork(name)
    except Refused as refused:
        say("beliefd_worker", "slow_start", level="warning", worker=name, reason=str(refused))
        os.execv(sys.executable, [sys.executable, "-m", "beliefd_worker", name])
    _stand(connection, worker)


def _fork(name: str) -> tuple[_socket.socket, int]:
    """Have a worker forked: the connection to the preloader, and a pidfd of the worker."""
    connection = _connect()
    # The writing end is closed by our death, whatever brings it about, and by nothing else.
    lifeline_read, lifeline = os.pipe2(os.O_CLOEXEC)
    try:
        connection.settimeout(_ANSWER_S)
        passed = b"".join(fd.to_bytes(_INT, sys.byteorder) for fd in (0, 1, 2, lifeline_read))
        connection.sendmsg([request(name)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, passed)])
        answer, received, _, _ = connection.recvmsg(4096, _socket.CMSG_SPACE(_INT), _socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        answer, received = f"the preloader does not answer: {error}".encode(), []
    os.close(lifeline_read)
    if answer != FORKED or not received:
        # A worker that is forked all the same, too late, finds its lifeline cut.
        os.close(lifeline)
        connection.close()
        raise Refused(answer.decode(errors="replace") or "the preloader ended")
    return connection, int.from_bytes(received[0][2], sys.byteorder)


def _connect() -> _socket.socket:
    """Connect to the preloader: one that warms up is waited for, one that is not there only for a moment."""
    started_s = time.monotonic()
    while True:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            connection.connect(socket_path())
        except OSError as error:
            connection.close()
            patience_s = _WARM_S if _preloader_lives() else _APPEAR_S
            if time.monotonic() - started_s > patience_s:
                raise Refused(f"there is no preloader: {error}") from None
            time.sleep(_POLL_S)
        else:
            return connection


def _preloader_lives() -> bool:
    try:
        lock = os.open(lock_path(), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _stand(connection: _socket.socket, worker: int) -> NoReturn:
    """Pass signals on until the worker has ended; then end the same way."""
    for number in _PASSED_ON:
        _signal.signal(number, lambda number, frame: _pass_on(worker, number))
    try:
        status = _wait(connection, worker)
    except OSError:  # the preloader ended in the middle of a word, or says nothing
        status = b""
    _end(int.from_bytes(status, "little") if status else None)


def _wait(connection: _socket.socket, worker: int) -> bytes:
    """Wait for the worker's end, and return its status; empty where the preloader has gone before it."""
    connection.settimeout(None)
    descriptors = [worker, connection.fileno()]
    if worker not in select.select(descriptors, [], [])[0]:
        status = connection.recv(STATUS_BYTES)
        if not status:
            select.select([worker], [], [])
        return status
    connection.settimeout(_ANSWER_S)  # the status comes a moment after the death
    return connection.recv(STATUS_BYTES)


def _pass_on(worker: int, number: int) -> None:
    try:
        _signal.pidfd_send_signal(worker, number)
    except ProcessLookupError:
        return  # `_stand` is about to see it


def _end(status: int | None) -> NoReturn:
    """End as the worker did."""
    if status is None:
        os._exit(_EXIT_UNKNOWN)
    if os.WIFSIGNALED(status):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it was not this process that failed
        number = os.WTERMSIG(status)
        if number != _signal.SIGKILL:
            _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def say(process: str, event: str, level: str = "info", **fields: object) -> None:
    """One line as the services log it: structlog is not to be had here."""
    import json
    from datetime import UTC, datetime

    line = {
        "process": process,
        **fields,
        "event": event,
        "level": level,
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    }
    print(json.dumps(line), file=sys.stderr, flush=True)
