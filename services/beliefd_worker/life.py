"""A worker's life, however it came to be: started by itself or forked by the preloader."""

from __future__ import annotations

import os
import re

from beliefd.engine import jit
from beliefd_proto.errors import InvalidSetting
from beliefd_service.leases import Lease
from beliefd_service.lifecycle import StopSignal, make_folders
from beliefd_service.logging import Logger
from beliefd_service.settings import Settings
from beliefd_worker.loop import Worker

_PREDECESSOR_S = 1.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def start(name: str, settings: Settings, logger: Logger) -> None:
    """Be the worker `name` from nothing: load or compile every kernel, which takes seconds, and `live`."""
    make_folders(settings)
    # Before the lease: a broker that starts meanwhile would wait for whoever holds one, and kill it.
    logger.info("warming")
    jit.warm()
    live(name, settings, logger)


def live(name: str, settings: Settings, logger: Logger) -> None:
    """Be the worker `name`, all being loaded, until a signal asks to stop."""
    if not _NAME.fullmatch(name):
        raise InvalidSetting("not a name for a worker", field="NAME", value=name, allowed="letters, digits, . _ -")
    stop = StopSignal()
    # Before anything is mapped: whoever holds a lease may write, and whoever does not may not. A predecessor that was
    # killed this moment may still have it.
    with Lease(settings.leases, name, patience_s=_PREDECESSOR_S):
        worker = Worker(name, settings, logger, stop)
        logger.info("ready", pid=os.getpid(), fingerprint=jit.fingerprint()[:16])
        try:
            worker.run()
        finally:
            worker.close()
