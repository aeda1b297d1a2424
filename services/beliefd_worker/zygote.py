"""The process that workers are forked from: it has loaded everything, and does as little as it can.

One thread: a fork copies neither threads nor what they hold. What it writes to between two forks,
its last child keeps a copy of for itself, so it uses the C module behind `socket`, and neither logs nor decides.
"""

from __future__ import annotations

import _socket
import gc
import importlib
import os
import select
import socket
import sys

from beliefd_proto.errors import StartupError
from beliefd_service.lifecycle import make_folders
from beliefd_service.logging import Logger
from beliefd_service.settings import Settings
from beliefd_worker import standin
from beliefd_worker.forked import Request, become
from beliefd_worker.loadedfiles import loaded_files
from beliefd_worker.reception import WARM
from beliefd_worker.rehearsal import rehearse

_NAME_BYTES = 4096
_FDS = 5
_INT = 4


def serve(link: socket.socket, started_s: float, settings: Settings, logger: Logger) -> None:
    """Warm up and fork for the reception at the other end of `link`, until it is gone."""
    with open("/proc/self/comm", "wb", buffering=0) as comm:
        comm.write(b"beliefd-zygote")
    make_folders(settings)
    for module in ("loop", "jobs", "life"):
        importlib.import_module(f"beliefd_worker.{module}")
    files = loaded_files(started_s)
    logger.info("warming")
    from beliefd.engine import jit

    jit.warm()
    rehearse(settings)
    if len(os.listdir("/proc/self/task")) > 1:
        raise StartupError("a library started threads, and a fork would break them", field="threads")
    logger.info("warm", pid=os.getpid(), fingerprint=jit.fingerprint()[:16])
    memory = os.memfd_create("files")
    os.write(memory, files)
    socket.send_fds(link, [WARM], [memory])
    os.close(memory)
    gc.freeze()  # a collection in a child that touches these objects would copy the pages they are on
    request = Zygote(_socket.socket(fileno=link.detach())).serve()
    if request is not None:
        become(request, settings, logger)


class Zygote:
    """Forks, and tells each stub how its worker ended: `_stubs` has the connection and the pid for every pidfd."""

    def __init__(self, link: _socket.socket) -> None:
        self._link = link
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)
        self._stubs: dict[int, tuple[_socket.socket, int]] = {}

    def serve(self) -> Request | None:
        """Serve until the reception is gone: None. In a forked child: what it shall become."""
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._link.fileno():
                    self._reap(fd)
                    continue
                name, passed, _, _ = self._link.recvmsg(
                    _NAME_BYTES, _socket.CMSG_SPACE(_FDS * _INT), _socket.MSG_CMSG_CLOEXEC
                )
                if not name:
                    return None
                request = self._fork(name, passed[0][2])
                if request is not None:
                    return request

    def _fork(self, name: bytes, passed: bytes) -> Request | None:
        """Fork; in the child, which holds nothing of this server any more, the request."""
        connection, *fds = (int.from_bytes(passed[i : i + _INT], sys.byteorder) for i in range(0, _FDS * _INT, _INT))
        stub = _socket.socket(fileno=connection)
        try:
            pid = os.fork()
        except OSError as error:
            pid = -1
            _tell(stub, f"cannot fork: {error}".encode())
        if pid == 0:
            self._let_go(stub)
            return Request(os.fsdecode(name), fds)
        for fd in fds:
            os.close(fd)
        if pid > 0:
            pidfd = os.pidfd_open(pid)
            self._stubs[pidfd] = stub, pid
            self._poll.register(pidfd, select.POLLIN)
            _tell(stub, standin.FORKED, pidfd)
        return None

    def _reap(self, pidfd: int) -> None:
        """A worker has ended: tell its stub how."""
        self._poll.unregister(pidfd)
        os.close(pidfd)
        stub, pid = self._stubs.pop(pidfd)
        _, status = os.waitpid(pid, 0)
        _tell(stub, status.to_bytes(standin.STATUS_BYTES, "little"))
        stub.close()

    def _let_go(self, stub: _socket.socket) -> None:
        """In a child: close what is the zygote's. An open connection of a sibling would hide its end of file."""
        stub.close()
        self._link.close()
        for pidfd, (other, _) in self._stubs.items():
            other.close()
            os.close(pidfd)


def _tell(stub: _socket.socket, message: bytes, *fds: int) -> None:
    """Send, if the stub is still there: one that is gone has cut its worker's lifeline, which ends it."""
    passed = b"".join(fd.to_bytes(_INT, sys.byteorder) for fd in fds)
    try:
        stub.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, passed)] if fds else [], _socket.MSG_DONTWAIT)
    except OSError:
        return
