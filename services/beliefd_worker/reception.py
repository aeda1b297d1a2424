"""Takes the requests of stubs, and has the zygote fork for those that fit what it has loaded."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
from types import FrameType

from beliefd_worker import standin
from beliefd_worker.loadedfiles import changed

WARM = b"warm"
"""What the zygote says when it can fork, with a descriptor of the list of its files."""
_REQUEST_FDS = 4
_FILES_BYTES = 1 << 24


class Reception:
    """Knows which stubs wait for an answer; the zygote knows those that have a worker.

    Parameters
    ----------
    link : socket
        To the zygote.
    zygote : int
        Its pid.
    """

    def __init__(self, link: socket.socket, zygote: int) -> None:
        self._link = link
        self._zygote = zygote
        self._files = b""
        self._listener: socket.socket | None = None
        self._stubs: dict[int, socket.socket] = {}
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)

    def run(self) -> int:
        """Serve until a signal asks to stop, or the zygote ends; returns the exit code of this process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        try:
            while True:
                for fd, _ in self._poll.poll():
                    if fd == self._link.fileno():
                        if not self._hear_zygote():
                            return os.waitstatus_to_exitcode(os.waitpid(self._zygote, 0)[1])
                    elif self._listener is not None and fd == self._listener.fileno():
                        self._accept(self._listener)
                    else:
                        self._hear(fd)
        except SystemExit:
            standin.say("beliefd_preload", "ended")
            return 0
        finally:
            if self._listener is not None:
                os.unlink(standin.socket_path())

    def _hear_zygote(self) -> bool:
        """Begin to listen when the zygote is warm; False when it has ended."""
        message, fds, _, _ = socket.recv_fds(self._link, len(WARM), 1)
        if message == WARM:
            self._files = os.pread(fds[0], _FILES_BYTES, 0)
            os.close(fds[0])
            path = standin.socket_path()
            if os.path.exists(path):
                os.unlink(path)  # of a preloader that was killed; the lock says that there is no other
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._listener.bind(path)
            self._listener.listen(128)
            self._listener.setblocking(False)
            self._poll.register(self._listener, select.POLLIN)
            standin.say("beliefd_preload", "listening", socket=path, pid=os.getpid(), zygote=self._zygote)
        return bool(message)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # it hung up meanwhile
        uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid != os.getuid():
            connection.close()
            return
        connection.setblocking(False)
        self._stubs[connection.fileno()] = connection
        self._poll.register(connection, select.POLLIN)

    def _hear(self, fd: int) -> None:
        """Take a stub's request, and pass it on with its descriptors, its own connection first."""
        self._poll.unregister(fd)
        with self._stubs.pop(fd) as connection:
            try:
                message, fds, _, _ = socket.recv_fds(connection, standin.REQUEST_BYTES, _REQUEST_FDS)
                refusal = self._refusal(message) if len(fds) == _REQUEST_FDS else "not a request"
                if refusal:
                    standin.say("beliefd_preload", "refused", level="warning", reason=refusal)
                    connection.send(refusal.encode())
                else:
                    socket.send_fds(self._link, [message.partition(b"\0")[0]], [fd, *fds])
            except OSError as error:
                # The stub hung up, or the zygote did, which the link will tell.
                standin.say("beliefd_preload", "not_passed_on", level="warning", reason=str(error))
                return
            for received in fds:
                os.close(received)

    def _refusal(self, message: bytes) -> str | None:
        """Why no worker can be forked for this request; None where one can."""
        _, _, facts = message.partition(b"\0")
        executable, _, settings = facts.partition(b"\0")
        file = changed(self._files)
        if file is not None:
            return f"the preloader is stale: {file} has changed; supervisorctl restart preload worker:*"
        if _folder(os.fsdecode(executable)) != _folder(sys.executable):
            return f"the preloader runs in another installation than {os.fsdecode(executable)}"
        if settings != standin.settings():
            return "the preloader has other settings; supervisorctl restart preload"
        return None


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit


def _folder(executable: str) -> str:
    return os.path.realpath(os.path.dirname(executable))
