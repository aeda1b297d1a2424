"""Inference and learning over a window of steps, against the slow oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_oracle import TOLERANCE, _compare

from beliefd.engine import Engine, keptplan
from beliefd.engine.planner import compile_model
from beliefd.model import Model
from beliefd.step import Step
from models import random_model, tmaze, with_counts

TICKS = 7
WANT = ("beliefs", "q_pi", "neg_efe", "vfe")
ALGORITHMS = ("mmp", "vmp", "exact", "ovf")


def _learner(rng: np.random.Generator, algo: str, dtype: str, sharp: bool = False, **options: Any) -> Model:
    horizon = int(rng.integers(1, 5))
    coupled = None if algo in ("mmp", "vmp") else False
    own = "ovf" if algo == "exact" else algo
    while True:
        model = random_model(
            rng, dtype=dtype, sharp=sharp, coupled=coupled, inference_algo=own, inference_horizon=horizon
        )
        if algo != "exact" or len(model.B) == 1:
            return with_counts(rng, model, inference_algo=algo, learn_E=False, **options)


def _bits(step: Step) -> list[bytes]:
    assert step.beliefs is not None
    return [a.tobytes() for a in (step.actions, *step.beliefs, step.q_pi, step.neg_efe, step.vfe) if a is not None]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_message_passing(seed: int) -> None:
    rng = np.random.default_rng(5000 + seed)
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    model = random_model(
        rng,
        dtype=dtype,
        sharp=sharp,
        coupled=True if seed % 5 == 0 else None,
        inference_algo=("mmp", "vmp")[seed // 4 % 2],
        inference_horizon=int(rng.integers(1, 5)),
    )
    _compare(model, seed, TOLERANCE[dtype], TICKS)


@pytest.mark.parametrize("seed", range(24))
def test_transitions_kept_in_rows_give_the_bits_of_those_that_are_not(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5500 + seed)
    model = random_model(
        rng,
        dtype=("float64", "float32")[seed % 2],
        sharp=seed // 2 % 2 == 1,
        coupled=None if seed % 3 == 0 else False,
        inference_algo=("mmp", "vmp")[seed // 4 % 2],
        inference_horizon=4,
    )
    kept, rows = Engine(model, agents=3), compile_model(model).scratch_rows
    monkeypatch.setattr(keptplan, "_MOST_ROWS", -1)
    masked = Engine(model, agents=3)
    assert compile_model(model).scratch_rows < rows
    for tick in range(TICKS):
        observations = np.stack([rng.integers(0, n, 3) for n in model.num_obs], axis=1)
        reset = rng.random(3) < 0.2
        executed = np.stack([rng.integers(0, n, 3) for n in model.num_controls], axis=1) if tick else None
        steps = [e.step(observations, reset=reset, executed_actions=executed, want=WANT) for e in (kept, masked)]
        assert _bits(steps[0]) == _bits(steps[1])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_learning_from_the_window(seed: int) -> None:
    rng = np.random.default_rng(6000 + seed)
    dtype, sharp = ("float64", "float32")[seed % 2], seed // 2 % 2 == 1
    learned = {f"learn_{letter}": bool(rng.random() < 0.7) for letter in "ABD"}
    kept = {f"fr_p{letter}": float(rng.choice([1.0, 0.9])) for letter in "ABD"}
    zeros = bool(rng.random() < 0.5)
    model = _learner(rng, ALGORITHMS[seed // 4 % 4], dtype, sharp, **learned, **kept, keep_zeros=zeros)
    # A count that is next to nothing has, in float32, the rounding of logarithms of large size.
    _compare(model, seed, TOLERANCE[dtype], TICKS, atol=1e-30 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_neighbours_change_no_bit(algo: str) -> None:
    rng = np.random.default_rng(7)
    agents = 130
    model = _learner(rng, algo, "float32")
    together, apart = Engine(model, agents, seed=1), Engine(model, agents, seed=1)
    for _ in range(6):
        observations = np.stack([rng.integers(-1, n, agents) for n in model.num_obs], axis=1)
        # Agents start over at different times, so windows of all lengths meet in a tile.
        reset = rng.random(agents) < 0.3
        found = together.step(observations, reset=reset, want=WANT)
        order = rng.permutation(agents)
        for some in np.split(order, [1, 30, 95]):
            alone = apart.step(observations[some], agents=some, reset=reset[some], want=WANT)
            assert _bits(alone) == _bits(_rows(found, some))
    for name, arrays in together.parameters().items():
        for mine, other in zip(arrays, apart.parameters()[name], strict=True):
            np.testing.assert_array_equal(mine, other)


def _rows(step: Step, rows: np.ndarray) -> Step:
    assert step.beliefs is not None
    names = ("actions", "tick", "q_pi", "neg_efe", "vfe")
    chosen = {name: getattr(step, name)[rows] for name in names}
    return Step(control_fac_idx=step.control_fac_idx, beliefs=[q[rows] for q in step.beliefs], **chosen)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_agents_that_are_stopped_go_on(algo: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    model = _learner(rng, algo, "float32")
    steady = Engine(model, 70, seed=2)
    for _ in range(6):
        observations = np.stack([rng.integers(-1, n, 70) for n in model.num_obs], axis=1)
        reset = rng.random(70) < 0.1
        with Engine(model, 70, seed=2, data=tmp_path) as engine:
            found = engine.step(observations, reset=reset, want=WANT)
        assert _bits(found) == _bits(steady.step(observations, reset=reset, want=WANT))


def test_the_record_of_agents_without_a_window_has_none() -> None:
    plain, window = (Engine(tmaze(inference_algo=algo, inference_horizon=8), 1) for algo in ("fpi", "mmp"))
    layouts = [engine._parts[0].compiled.layout for engine in (plain, window)]
    assert layouts[0].window is None
    assert layouts[1].window is not None
    assert layouts[1].window.steps == 8
    assert layouts[1].record_bytes == layouts[0].record_bytes + 9 * layouts[1].window.entry_bytes
