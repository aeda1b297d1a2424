"""``python -m beliefd_broker``: the broker of one data folder."""

from __future__ import annotations

import signal
import sys

from beliefd.engine.folderlock import FolderLock
from beliefd_broker.loop import Broker
from beliefd_service.lifecycle import StopSignal, make_folders, raise_descriptor_limit, run
from beliefd_service.logging import Logger
from beliefd_service.parent import end_with_supervisor
from beliefd_service.settings import Settings


def main(settings: Settings, logger: Logger) -> None:
    stop = StopSignal()
    end_with_supervisor(signal.SIGTERM)
    make_folders(settings)
    raise_descriptor_limit()
    # Before anything else: two brokers on one data folder would give the same agent to two workers.
    with FolderLock(settings.data):
        broker = Broker(settings, logger, stop)
        try:
            broker.run()
        finally:
            broker.close()


if __name__ == "__main__":
    sys.exit(run("beliefd_broker", main))
