"""One thread per worker process: the processes are what uses the cores."""

from __future__ import annotations

import os


def use_one_thread() -> None:
    """Keep the libraries from starting threads. To be called before NumPy and numba are imported."""
    for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
