"""Nothing is compiled while serving, and a damaged cache costs time only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.runtime import _nrt_python

import beliefd
from beliefd.engine import Engine, jit
from beliefd.engine.kernels import publish
from models import random_model, tmaze, turned_over

WANTS = [(), ("vfe",), ("beliefs", "q_pi"), ("neg_efe", "vfe", "beliefs", "q_pi")]


def test_serving_any_model_adds_no_signature(tmp_path: Path) -> None:
    jit.warm()
    before = jit.compiled_signatures()
    assert before["advance"] == 2
    for trial in range(24):
        rng = np.random.default_rng(trial)
        model = random_model(rng, dtype=["float32", "float64"][trial % 2], sharp=trial % 3 == 0)
        data = tmp_path / str(trial) if trial % 4 == 0 else None
        n = int(rng.choice([1, 2, 70]))
        with Engine(model, n, data=data) as engine:
            for want in WANTS:
                observations = [
                    rng.dirichlet(np.ones(size), n) if rng.random() < 0.4 else rng.integers(-1, size, n)
                    for size in model.num_obs
                ]
                reset = rng.random(n) < 0.5 if rng.random() < 0.5 else None
                executed = np.zeros((n, len(model.B)), dtype=int) if rng.random() < 0.5 else None
                engine.step(observations, reset=reset, executed_actions=executed, want=want)
                engine.read(want=want)
    assert jit.compiled_signatures() == before


ALLOCATING = {
    "refined": turned_over(0),
    "refined, over a window": turned_over(0, inference_algo="vmp", inference_horizon=3, num_iter=8),
    "sophisticated": tmaze(planner="sophisticated", policy_len=2),
    "sophisticated, all modalities together": tmaze(planner="sophisticated", policy_len=2, profile="spm"),
    "mcts": tmaze(planner="mcts", policy_len=2, num_simulations=8),
}


@pytest.mark.parametrize("name", ALLOCATING)
def test_what_a_kernel_allocates_is_free_again(name: str, request: pytest.FixtureRequest) -> None:
    memory: Any = _nrt_python
    memory.memsys_enable_stats()
    request.addfinalizer(memory.memsys_disable_stats)
    model = ALLOCATING[name]

    def held() -> int:
        return int(memory.memsys_get_stats_alloc() - memory.memsys_get_stats_free())

    with Engine(model, 3) as engine:
        allocated, before = memory.memsys_get_stats_alloc(), held()
        for _ in range(5):
            engine.step(np.zeros((3, len(model.num_obs)), np.int64))
        assert memory.memsys_get_stats_alloc() > allocated
        assert held() == before


def test_a_wrong_type_is_an_error_and_no_compilation() -> None:
    jit.warm()
    numbers = np.zeros(1)
    with pytest.raises(TypeError):
        publish(numbers, numbers, numbers, numbers, 1)


SERVE_ONE = """
from beliefd.engine import Engine, jit
from models import tmaze
print(jit.__file__)
print(Engine(tmaze(), 1).step([[0, 0, 0]]).actions.tolist())
"""


def _serve_one(cache: Path, *first: Path) -> str:
    """Run an engine in a new process, with the cache there and the sources in `first`; returns what it says."""
    paths = os.pathsep.join(map(str, [*first, Path(__file__).parents[1]]))
    environment = os.environ | {"BELIEFD_CACHE": str(cache), "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", SERVE_ONE], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _stamps(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")}


@pytest.mark.parametrize(("kind", "left"), [("nbi", 0.5), ("nbi", 0.01), ("nbc", 0.5)])
def test_only_what_is_cut_off_is_compiled_again(kind: str, left: float, tmp_path: Path) -> None:
    jit.prepare("float32")
    copied = tmp_path / jit.fingerprint()
    shutil.copytree(jit.cache_folder(), copied)
    # What a crash while writing leaves.
    cut = next(copied.glob(f"kernels.publish-*.{kind}"))
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * left)])
    lock_of_another = copied / "float64.lock"
    lock_of_another.touch()
    before = _stamps(tmp_path)
    _serve_one(tmp_path)
    assert lock_of_another.exists()
    after = _stamps(tmp_path)
    changed = {name.partition("-")[0] for name in before if before[name] != after.get(name)}
    assert changed == {"kernels.publish"}


def test_a_copy_of_the_sources_is_served_by_what_was_compiled_for_another(tmp_path: Path) -> None:
    jit.prepare("float32")
    shutil.copytree(jit.cache_folder(), tmp_path / jit.fingerprint())
    before = _stamps(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(Path(beliefd.__file__).parent, copy / "beliefd")
    said = _serve_one(tmp_path, copy)
    assert str(copy) in said
    assert _stamps(tmp_path) == before


def _leave_to_another_user(folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(folder, 12345, -1)


def _replace_by_a_link(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("meddle", "trusted"),
    [
        (lambda _: None, True),
        (lambda folder: folder.chmod(0o770), False),
        (lambda folder: folder.chmod(0o707), False),
        (_leave_to_another_user, False),
        (_replace_by_a_link, False),
    ],
    ids=["untouched", "group", "world", "owner", "link"],
)
def test_a_folder_that_others_can_write_holds_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meddle: Callable[[Path], None], trusted: bool
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BELIEFD_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = jit.cache_folder.__wrapped__()
    assert folder == tmp_path / f"beliefd-{os.getuid()}" / jit.fingerprint()
    meddle(folder.parent)
    assert (jit.cache_folder.__wrapped__() == folder) is trusted


def test_the_broker_can_read_layouts_without_numba() -> None:
    modules = ", ".join(f"beliefd.engine.{name}" for name in ("layout", "store", "manifest", "folderlock"))
    code = f"import sys, {modules}; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
