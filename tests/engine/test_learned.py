"""What agents learned survives whatever a step that never ended left in their records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from beliefd import counts
from beliefd.engine import Engine
from beliefd.engine.batch import LoadedPopulation, StepInputs
from beliefd.engine.layout import COUNT_COPIES
from beliefd.engine.learning import LEAST_COUNT
from beliefd.engine.planner import compile_model
from beliefd.engine.scratch import Scratch
from beliefd.engine.store import Store
from beliefd.model import Model
from beliefd.observations import canonical
from beliefd_proto.commands import Want
from models import random_model, with_counts

AGENTS = 70
ALL = Want.BELIEFS | Want.Q_PI | Want.NEG_EFE | Want.VFE | Want.UTILITY | Want.INFO_GAIN | Want.NOVELTY


def _learners(seed: int) -> tuple[np.random.Generator, Model]:
    rng = np.random.default_rng(seed)
    algo = ("fpi", "mmp", "fpi", "ovf")[seed % 4]
    model = random_model(
        rng,
        dtype=("float64", "float32")[seed // 2 % 2],
        sharp=seed % 3 == 0,
        coupled=False if algo == "ovf" else None,
        inference_algo=algo,
        inference_horizon=2,
    )
    forgetting = {"fr_pA": 0.9, "fr_pB": 0.9} if seed % 3 == 1 else {}
    return rng, with_counts(rng, model, learn_C=True, use_param_info_gain=seed > 3, **forgetting)


def _population(model: Model) -> LoadedPopulation:
    compiled = compile_model(model)
    return LoadedPopulation(Scratch(compiled), Store.in_memory(compiled.layout, AGENTS), 7)


def _call(model: Model, tick: int, rng: np.random.Generator) -> StepInputs:
    entries = [
        rng.dirichlet(np.ones(size), AGENTS) if rng.random() < 0.3 else rng.integers(-1, size, AGENTS)
        for size in model.num_obs
    ]
    return StepInputs(
        rows=np.arange(AGENTS),
        ticks=np.full(AGENTS, tick),
        request_ids=np.full((AGENTS, 2), tick, dtype=np.uint64),
        observations=canonical(entries, model.info, AGENTS),
        reset=(rng.random(AGENTS) < 0.2).astype(np.uint8),
        want=ALL,
    )


def _state(agents: LoadedPopulation) -> dict[str, bytes]:
    rows = np.arange(AGENTS)
    found = agents.read(rows, ALL)
    names = ("vfe", "beliefs", "q_pi", "neg_efe", "utility", "info_gain", "novelty")
    told = {name: getattr(found, name).tobytes() for name in names}
    return told | {name: array.tobytes() for name, array in agents.learned(rows).items()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_a_step_that_never_ended_leaves_no_trace(seed: int) -> None:
    """A worker that died in the middle has written any part of what a step writes, for any of its agents."""
    rng, model = _learners(seed)
    undisturbed, agents = _population(model), _population(model)
    for tick in range(1, 9):
        inputs = _call(model, tick, rng)
        expected = undisturbed.step(inputs)
        before, told = agents.store.bytes.copy(), _state(agents)
        agents.begin(replace(_call(model, tick, rng), request_ids=np.zeros((AGENTS, 2), dtype=np.uint64)))
        torn = rng.random(before.shape) < 0.5
        agents.store.bytes[torn] = before[torn]
        # What marks a copy is in memory before anything of it is written (`keep_order`), and is written at once.
        layout = agents.compiled.layout
        mark = (layout.counts + tick % COUNT_COPIES * layout.counts_bytes) // 8
        agents.store.int64[:, mark] = rng.choice([-tick, tick], AGENTS)
        assert _state(agents) == told
        if tick % 3 == 0:
            # Else every copy would be made in full.
            agents.store.bytes[:] = before
        again = agents.step(inputs)
        for name in ("actions", "vfe", "beliefs", "q_pi", "neg_efe", "utility", "info_gain"):
            assert getattr(again, name).tobytes() == getattr(expected, name).tobytes(), name
        assert _state(agents) == _state(undisturbed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"inference_algo": "mmp", "inference_horizon": 2}, {"profile": "spm"}])
def test_what_was_forgotten_for_long_can_be_learned_again(dtype: str, options: dict[str, Any]) -> None:
    """What an agent neither does nor sees fades without end, and stays a distribution."""
    A, B = np.array([[0.9, 0.1], [0.1, 0.9]]), np.full((2, 2, 2), 0.5)
    B[:, :, 1] = [[0.8, 0.2], [0.2, 0.8]]
    learns = {f"learn_{letter}": True for letter in "ABCDE"} | {f"fr_p{letter}": 1e-3 for letter in "ABCDE"}
    given = {"pA": [A], "pB": [B], "pC": [[1.0, 1.0]], "pD": [[0.5, 0.5]], "pE": [0.5, 0.5]}
    model = Model([A], [B], dtype=dtype, use_param_info_gain=True, **given, **learns, **options)
    engine = Engine(model, 1)
    for tick in range(40):
        told = None if tick == 0 else [[0]]
        step = engine.step([0], reset=[tick % 4 == 0], executed_actions=told, want=("beliefs", "q_pi", "neg_efe"))
        assert step.beliefs is not None
        assert step.q_pi is not None
        for output in (*step.beliefs, step.q_pi, step.neg_efe):
            assert np.isfinite(output).all(), tick
    faded = engine.parameters()["pB"][0][0, :, :, 1]
    np.testing.assert_allclose(faded, LEAST_COUNT, rtol=1e-5)
    for _ in range(4):
        engine.step([0], executed_actions=[[1]])
    assert engine.parameters()["pB"][0][0, 0, 0, 1] > 0.1


def test_a_model_may_start_from_the_least_that_forgetting_leaves() -> None:
    assert counts.LEAST_COUNT == LEAST_COUNT


def test_an_agent_that_learns_nothing_stores_no_counts() -> None:
    rng = np.random.default_rng(3)
    model = random_model(rng, inference_algo="fpi")
    counted = with_counts(rng, model, learn_A=False, learn_B=False, learn_D=False, learn_E=False)
    assert compile_model(counted).layout.record_bytes == compile_model(model).layout.record_bytes
    assert _population(counted).learned(np.arange(AGENTS)) == {}
