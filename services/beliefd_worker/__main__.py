"""``python -m beliefd_worker [NAME]``: a worker that loads everything by itself. Names are ``worker_00`` and so on.

supervisord starts `stub` instead, which comes here when there is no preloader to fork from.
"""

from __future__ import annotations

import functools
import sys

from beliefd_worker.onethread import use_one_thread

if __name__ == "__main__":
    use_one_thread()
    from beliefd_service.lifecycle import run
    from beliefd_worker.life import start

    name = sys.argv[1] if len(sys.argv) > 1 else "worker_00"
    sys.exit(run("beliefd_worker", functools.partial(start, name), worker=name))
