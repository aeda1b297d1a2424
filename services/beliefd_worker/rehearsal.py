"""A first batch of everything, in a folder of its own, before the preloader forks.

What Python, numba and msgspec do when a thing is done for the first time (imports, tables of types, caches) is done
here, once. Otherwise each worker would do it in its first batch, slowly, and into memory of its own.
"""

from __future__ import annotations

import dataclasses
import shutil

import msgspec
import numpy as np

from beliefd.model import Model
from beliefd.worlds import tmaze
from beliefd_proto import Arrays, Command, Want, decode, encode
from beliefd_proto import messages as m
from beliefd_service.leases import Lease
from beliefd_service.lifecycle import make_folders
from beliefd_service.process import usage
from beliefd_service.settings import Settings
from beliefd_worker.execution import execute
from beliefd_worker.shelf import Shelf

_AGENTS = 100
_EVERYTHING = (Want.BELIEFS | Want.Q_PI | Want.NEG_EFE | Want.VFE).value


def rehearse(settings: Settings) -> None:
    """Make a population of each dtype, step it, read it and drop it, as a worker would.

    Raises
    ------
    DiskFull, FolderNotUsable
    """
    usage()
    stage = settings.run / "rehearsal"
    shutil.rmtree(stage, ignore_errors=True)  # of a preloader that was killed
    try:
        for dtype in ("float32", "float64"):
            _perform(dataclasses.replace(settings, data=stage), tmaze(dtype=dtype))
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _perform(settings: Settings, model: Model) -> None:
    make_folders(settings)
    Lease(settings.leases, "rehearsal").release()
    shelf = Shelf(settings)
    create = m.Create(
        id=bytes(16),
        deadline_ms=0,
        name="rehearsal",
        spec=msgspec.msgpack.encode(model.spec()),
        hash=model.hash,
        agents=_AGENTS,
        seed=0,
    )
    uid = m.population_uid(create.id)
    _run(_work(Command.CREATE, request=msgspec.msgpack.encode(create)), model.tensors(), shelf)
    observations = np.zeros((_AGENTS, len(model.num_obs)), np.int8)
    for tick in range(1, 9):
        for want in (0, _EVERYTHING):
            work = _work(Command.STEP, uid, first=0, tick=tick, want=want, id=bytes([tick] * 16))
            _run(work, {"observations": observations}, shelf)
    _run(_work(Command.READ, uid, first=0, want=_EVERYTHING), {}, shelf)
    _run(_work(Command.DROP, uid), {}, shelf)
    shelf.close()


def _work(kind: Command, population: str = "", id: bytes = bytes(16), **fields: object) -> m.Work:
    return msgspec.convert(
        {"epoch": 1, "batch": 1, "kind": kind, "population": population, "rows": _AGENTS, **fields}
        | {"parts": ((id, _AGENTS),)},
        m.Work,
    )


def _run(work: m.Work, arrays: Arrays, shelf: Shelf) -> None:
    """The way of a message through a worker, but for the socket."""
    message = decode(encode(Command.WORK, work, arrays))
    assert isinstance(message.header, m.Work)
    outcome = execute(message.header, message.arrays, shelf)
    result = m.Result(
        epoch=1,
        batch=1,
        elapsed_ns=outcome.elapsed_ns,
        info=outcome.info,
        spec=outcome.spec,
        telemetry=outcome.telemetry,
    )
    decode(encode(Command.RESULT, result, outcome.arrays))
