"""The preloader: imports all that a worker needs, loads every kernel, and forks a worker for each stub that asks.

A forked worker is ready in tens of milliseconds and shares with its siblings what was loaded here. This process has one
thread and no zmq context, since a fork copies neither threads nor what they hold.

Its death harms no worker. Files that change after it has loaded them make it stale: it says so to every stub that asks,
which then starts by itself, until ``supervisorctl restart preload``.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from beliefd_proto.errors import StartupError
from beliefd_service.lifecycle import StopSignal, make_folders
from beliefd_service.logging import Logger
from beliefd_service.settings import Settings
from beliefd_worker import forked, standin
from beliefd_worker.loadedfiles import LoadedFiles
from beliefd_worker.rehearsal import rehearse

_FDS = 4


def preload(started_s: float, settings: Settings, logger: Logger) -> None:
    """Warm up and fork until a signal asks to stop. In a forked child this does not return."""
    stop = StopSignal()
    make_folders(settings)
    for module in ("loop", "jobs", "life"):
        importlib.import_module(f"beliefd_worker.{module}")
    files = LoadedFiles(started_s)
    logger.info("warming")
    from beliefd.engine import jit

    jit.warm()
    rehearse(settings)
    gc.freeze()  # a collection in a child that touches these objects would copy the pages they are on
    if len(os.listdir("/proc/self/task")) > 1:
        raise StartupError("a library started threads, and a fork would break them", field="threads")
    server = ForkServer(files, logger, stop)
    logger.info("listening", socket=standin.socket_path(), pid=os.getpid(), fingerprint=jit.fingerprint()[:16])
    request = server.serve()
    if request is not None:
        forked.become(request, settings, logger)


@dataclass(frozen=True)
class _Worker:
    name: str
    pid: int
    stub: socket.socket


class ForkServer:
    """Listens for stubs, and tells each how its worker ended."""

    def __init__(self, files: LoadedFiles, logger: Logger, stop: StopSignal) -> None:
        self._files = files
        self._logger = logger
        self._stop = stop
        self._poll = select.poll()
        self._stubs: dict[int, socket.socket] = {}
        self._workers: dict[int, _Worker] = {}
        path = Path(standin.socket_path())
        path.unlink(missing_ok=True)  # of a preloader that was killed; the lock says that there is no other
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(128)
        self._listener.setblocking(False)
        for fd in (self._listener.fileno(), stop.fd):
            self._poll.register(fd, select.POLLIN)

    def serve(self) -> forked.Request | None:
        """Serve until a signal asks to stop: None. In a forked child: what it shall become."""
        while not self._stop.requested:
            for fd, _ in self._poll.poll():
                if fd == self._listener.fileno():
                    self._accept()
                elif fd in self._workers:
                    self._reap(fd)
                elif fd in self._stubs:
                    request = self._hear(fd)
                    if request is not None:
                        return request
        self._listener.close()
        Path(standin.socket_path()).unlink(missing_ok=True)
        return None

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it hung up meanwhile
        uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid != os.getuid():
            connection.close()
            return
        connection.setblocking(False)
        self._stubs[connection.fileno()] = connection
        self._poll.register(connection, select.POLLIN)

    def _hear(self, fd: int) -> forked.Request | None:
        """Take a stub's request. A request is returned in the forked child alone."""
        self._poll.unregister(fd)
        connection = self._stubs.pop(fd)
        try:
            message, fds, _, _ = socket.recv_fds(connection, standin.REQUEST_BYTES, _FDS)
        except OSError:
            message, fds = b"", []
        if len(fds) == _FDS and message:
            try:
                request = forked.Request.decode(message, fds)
                refusal = self._refusal(request)
            except ValueError as error:
                request, refusal = None, f"the preloader does not understand: {error}"
            if request is not None and refusal is None:
                if self._fork(connection, request):
                    return request
            elif refusal is not None:
                self._logger.warning("refused", reason=refusal)
                self._answer(connection, refusal.encode())
        for received in fds:
            os.close(received)
        return None

    def _refusal(self, request: forked.Request) -> str | None:
        changed = self._files.changed()
        if changed is not None:
            return f"the preloader is stale: {changed} has changed; supervisorctl restart preload worker:*"
        if not request.same_installation():
            return f"the preloader runs in another installation than {request.executable}"
        if not request.same_settings():
            return "the preloader has other settings; supervisorctl restart preload"
        return None

    def _fork(self, connection: socket.socket, request: forked.Request) -> bool:
        """Fork; True in the child, which holds nothing of this server any more."""
        try:
            pid = os.fork()
        except OSError as error:
            self._answer(connection, f"cannot fork: {error}".encode())
            return False
        if pid == 0:
            self._let_go(connection)
            return True
        pidfd = os.pidfd_open(pid)
        with contextlib.suppress(OSError):  # a stub that is gone has cut the worker's lifeline, which ends it
            socket.send_fds(connection, [standin.FORKED], [pidfd])
        self._workers[pidfd] = _Worker(request.name, pid, connection)
        self._poll.register(pidfd, select.POLLIN)
        return False

    def _answer(self, connection: socket.socket, answer: bytes) -> None:
        with contextlib.suppress(OSError):
            connection.send(answer)
        connection.close()

    def _reap(self, pidfd: int) -> None:
        """A worker has ended: tell its stub how."""
        self._poll.unregister(pidfd)
        os.close(pidfd)
        worker = self._workers.pop(pidfd)
        _, status = os.waitpid(worker.pid, 0)
        self._answer(worker.stub, status.to_bytes(standin.STATUS_BYTES, "little"))
        self._logger.info("worker_ended", worker=worker.name, pid=worker.pid, status=status)

    def _let_go(self, connection: socket.socket) -> None:
        """In a child: close what is the preloader's. An open connection of a sibling would hide its end of file."""
        connection.close()
        self._listener.close()
        for other in self._stubs.values():
            other.close()
        for pidfd, worker in self._workers.items():
            worker.stub.close()
            os.close(pidfd)
