"""Plans in files: written once, mapped read-only, and made again where they are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beliefd.engine import planfile
from beliefd.engine.planfile import load_plan
from beliefd.engine.planner import compile_model
from models import random_model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mapped_plan_is_the_compiled_one(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(np.random.default_rng(1), dtype=dtype)
    model.save(tmp_path / "model")
    compiled = compile_model(model)
    load_plan(tmp_path / "model", model.info)
    monkeypatch.setattr(planfile, "compile_model", lambda _: pytest.fail("compiled again"))
    mapped = load_plan(tmp_path / "model", model.info)
    assert (mapped.ints == compiled.ints).all()
    assert mapped.reals.dtype == dtype
    assert (mapped.reals == compiled.reals).all()
    assert not mapped.ints.flags.writeable
    assert not mapped.reals.flags.writeable
    assert (mapped.info, mapped.layout, mapped.scratch_rows) == (
        compiled.info,
        compiled.layout,
        compiled.scratch_rows,
    )


@pytest.mark.parametrize("keep_bytes", [0, 10, 40, -8])
def test_a_damaged_plan_is_written_again(tmp_path: Path, keep_bytes: int) -> None:
    model = random_model(np.random.default_rng(2))
    model.save(tmp_path / "model")
    load_plan(tmp_path / "model", model.info)
    (path,) = (tmp_path / "model").glob("plan-*")
    whole = path.read_bytes()
    path.write_bytes(whole[:keep_bytes])
    load_plan(tmp_path / "model", model.info)
    assert path.read_bytes() == whole
