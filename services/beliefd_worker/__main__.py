"""``python -m beliefd_worker [NAME]``: a worker of one data folder. Names are ``worker_00`` and so on."""

from __future__ import annotations

import os
import re
import sys

from beliefd_proto.errors import InvalidSetting
from beliefd_service.leases import Lease
from beliefd_service.lifecycle import StopSignal, make_folders, run
from beliefd_service.logging import Logger
from beliefd_service.settings import Settings

# One thread per worker process: the processes are what uses the cores.
for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


def main(settings: Settings, logger: Logger) -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "worker_00"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise InvalidSetting("not a name for a worker", field="NAME", value=name, allowed="letters, digits, . _ -")
    logger = logger.bind(worker=name)
    stop = StopSignal()
    make_folders(settings)
    # Loads or compiles every kernel, which takes seconds. Before the lease: a broker that starts meanwhile would wait
    # for whoever holds one, and kill it.
    from beliefd.engine import jit
    from beliefd_worker.loop import Worker

    logger.info("warming")
    jit.warm()
    # Before anything is mapped: whoever holds a lease may write, and whoever does not may not.
    with Lease(settings.leases, name):
        worker = Worker(name, settings, logger, stop)
        logger.info("ready", pid=os.getpid(), fingerprint=jit.fingerprint()[:16])
        try:
            worker.run()
        finally:
            worker.close()


if __name__ == "__main__":
    sys.exit(run("beliefd_worker", main))
