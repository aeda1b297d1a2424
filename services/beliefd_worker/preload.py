"""``python -m beliefd_worker.preload``: what workers are forked from. Two processes:

reception
    This one. Takes the requests of stubs, refuses them where what it has loaded is stale, and passes them on.
zygote
    Its child. Has imported all that a worker needs and loaded every kernel, and does nothing but fork. Whatever a
    process writes to between two forks costs its children a copy, so it writes to next to nothing.

The lock is taken before anything is imported that takes time: stubs wait for a preloader that lives, not for one that
is gone. Its death harms no worker.
"""

from __future__ import annotations

import fcntl
import functools
import os
import signal
import socket
import sys
import time

from beliefd_service.parent import end_with_parent, end_with_supervisor
from beliefd_worker import standin
from beliefd_worker.reception import Reception

_EXIT_CANNOT_START = 78  # EX_CONFIG of sysexits.h
_PROBES_S = 1.0


def hold_lock() -> int:
    """Say that there is a preloader, until this process dies; returns the descriptor of the lock.

    Raises
    ------
    OSError
        Another one runs on this data folder, or the folder cannot be written to.
    """
    os.makedirs(standin.run_folder(), mode=0o700, exist_ok=True)
    lock = os.open(standin.lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline_s = time.monotonic() + _PROBES_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.001)  # a stub that looks whether we live holds it for a moment
        else:
            return lock


def main() -> int:
    started_s = time.time()
    os.umask(0o077)
    end_with_supervisor(signal.SIGTERM)
    try:
        lock = hold_lock()
    except BlockingIOError:
        print(f"beliefd_preload: another one runs on this data folder: {standin.lock_path()}", file=sys.stderr)
        return _EXIT_CANNOT_START
    except OSError as error:
        print(f"beliefd_preload: cannot use this data folder: {error}", file=sys.stderr)
        return _EXIT_CANNOT_START
    link, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    zygote = os.fork()
    if zygote == 0:
        link.close()
        os.close(lock)
        end_with_parent(signal.SIGKILL)
        return _be_zygote(other_end, started_s)
    other_end.close()
    return Reception(link, zygote).run()


def _be_zygote(link: socket.socket, started_s: float) -> int:
    from beliefd_worker.onethread import use_one_thread

    use_one_thread()
    from beliefd_service.lifecycle import run
    from beliefd_worker.zygote import serve

    return run("beliefd_preload", functools.partial(serve, link, started_s))


if __name__ == "__main__":
    sys.exit(main())
