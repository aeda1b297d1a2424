"""A worker that a step of one population kills, as a fault in a kernel would: ``python poisoned_worker.py NAME``."""

import functools
import os
import signal
import sys

from beliefd.engine.manifest import read_name
from beliefd_proto import Command
from beliefd_service.lifecycle import run
from beliefd_worker import life, loop

POISONED = "poisoned"


def execute(work, arrays, shelf, real=loop.execute):
    if work.kind is Command.STEP and read_name(shelf.folder(work.population)) == POISONED:
        os.kill(os.getpid(), signal.SIGSEGV)
    return real(work, arrays, shelf)


if __name__ == "__main__":
    loop.execute = execute
    sys.exit(run("beliefd_worker", functools.partial(life.start, sys.argv[1]), worker=sys.argv[1]))
