"""``python -I -S stub.py worker_00``: what supervisord starts as a worker, see `standin`.

This file has next to nothing in it because Python compiles the file that it is started with each time anew, and that
takes half a megabyte.
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0] + "/..")

from beliefd_worker.standin import main

main()
