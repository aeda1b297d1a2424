"""The broker is weighed also while no descriptor is left."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from beliefd_broker.scales import Scales


def test_without_a_descriptor_it_is_weighed_and_nobody_is_cut() -> None:
    scales = Scales("tcp://127.0.0.1:5757", Path("nowhere.ipc"), 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        assert not scales.light()
        assert not scales.look(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
