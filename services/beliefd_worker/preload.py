"""``python -m beliefd_worker.preload``: the warm parent of the workers, see `forkserver`.

The lock is taken before anything is imported that takes time: stubs wait for a preloader that lives, not for one that
is gone.
"""

from __future__ import annotations

import fcntl
import functools
import os
import signal
import sys
import time

from beliefd_service.parent import end_with_supervisor
from beliefd_worker import standin

_EXIT_CANNOT_START = 78  # EX_CONFIG of sysexits.h


def hold_lock() -> None:
    """Say that there is a preloader, until this process dies.

    Raises
    ------
    OSError
        Another one runs on this data folder, or the folder cannot be written to.
    """
    os.makedirs(standin.run_folder(), mode=0o700, exist_ok=True)
    lock = os.open(standin.lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def main() -> int:
    started_s = time.time()
    end_with_supervisor(signal.SIGTERM)
    try:
        hold_lock()
    except BlockingIOError:
        print(f"beliefd_preload: another one runs on this data folder: {standin.lock_path()}", file=sys.stderr)
        return _EXIT_CANNOT_START
    except OSError as error:
        print(f"beliefd_preload: cannot use this data folder: {error}", file=sys.stderr)
        return _EXIT_CANNOT_START

    from beliefd_worker.onethread import use_one_thread

    use_one_thread()
    from beliefd_service.lifecycle import run
    from beliefd_worker.forkserver import preload

    return run("beliefd_preload", functools.partial(preload, started_s))


if __name__ == "__main__":
    sys.exit(main())
