"""Writes a snapshot in the format of this version, and what its agents are, for later versions to read.

``python tests/references/keep_snapshot.py FOLDER``. A folder of an older format stays as it is: run this for a new one.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from beliefd.engine import Engine
from beliefd.engine.enginefolder import UID
from beliefd.engine.manifest import read_manifest
from beliefd.engine.snapshot import write_snapshot
from beliefd.worlds import tmaze

AGENTS = 5


def main(target: Path) -> None:
    model, rng = tmaze(), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as data:
        engine = Engine(model, AGENTS, seed=7, data=data, durability="disk")
        for tick in range(4):
            agents = np.arange(AGENTS if tick < 2 else 3)
            observations = np.stack([rng.integers(0, n, len(agents)) for n in model.num_obs], axis=1)
            engine.step(observations, agents=agents)
        read = engine.read(want=("beliefs",))
        folder = Path(data) / "populations" / UID
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        manifest, members = read_manifest(folder)
        model_folder = Path(data) / "models" / model.hash
        write_snapshot(target / "snapshot", folder, engine._open_store(), manifest, members, model_folder, "0" * 32)
        engine.close()
    expected = {
        "rows": AGENTS,
        "live": AGENTS,
        "seed": 7,
        "agents": list(range(AGENTS)),
        "ticks": read.tick.tolist(),
        "actions": read.actions.tolist(),
        "beliefs": np.concatenate(read.beliefs, axis=1).astype(float).round(7).tolist(),
    }
    (target / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
