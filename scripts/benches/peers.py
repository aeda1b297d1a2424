"""Other programs that do the same work: who they are, and in what environment they run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benches.driver import Driver
from benches.environments import python_of

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Peer:
    """A program to compare with.

    Attributes
    ----------
    module : str
        Of `benches.drivers`.
    environment : str
        The name of its environment; empty for that of beliefd itself.
    batches : tuple of int
        How many agents it may step in one go, beside as many as the work has; empty where that is always all.
    most_agents : int
        More than these it cannot hold.
    sample : int
        Its agents do not depend on how many there are: so many of them show its rate. 0 where all are needed.
    margin : float
        What it chooses has to be what beliefd chooses where the best policy leads by more than this: rounding, or
        another rule to end the sweeps, may decide the others.
    variables : mapping
        Of the environment of its process.
    """

    module: str
    environment: str = ""
    batches: tuple[int, ...] = ()
    most_agents: int = 1_000_000
    sample: int = 0
    margin: float = 1e-5
    variables: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> Driver:
        python = python_of(self.environment) if self.environment else Path(sys.executable)
        return Driver(self.module, python, self.variables)


PEERS: dict[str, Peer] = {
    "pymdp": Peer("pymdp_batch", "pymdp-1.0.4", batches=(1, 10, 100, 1_000), variables={"JAX_PLATFORMS": "cpu"}),
    # Its sweeps end at a change of 1e-3, so its beliefs are a little different.
    "legacy": Peer("legacy_loop", "pymdp-0.0.7.1", sample=4, margin=1e-4, variables=_ONE_THREAD),
    "threads": Peer("threads", most_agents=10_000, variables=_ONE_THREAD),
    "pool": Peer("pool", most_agents=10_000, variables=_ONE_THREAD),
    "ray": Peer("ray_actors", "ray-2.60", variables=_ONE_THREAD),
}
