"""Programs in processes of their own do what the oracle does, through the protocol that the measurements speak."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from beliefd.engine import Engine, plan
from beliefd.engine.planner import compile_model
from beliefd.model import Model
from beliefd.worlds import cue_chaining, tmaze
from benches import __main__ as bench
from benches.__main__ import updated
from benches.driver import Driver, DriverFailed
from benches.drivers.given import Given, save_given
from benches.history import History, drawn_history
from benches.roof import dense_grid, operations
from benches.served import Walk
from benches.works import MAZE_MOVES, WORKS
from naive import NaiveAgent

AGENTS = 5


def write(folder: Path, model: Model, history: History) -> Path:
    path = folder / "given.npz"
    save_given(path, model, history.observations, history.actions)
    return path


@pytest.mark.system
@pytest.mark.parametrize("module", ["threads", "pool"])
def test_it_chooses_what_the_oracle_chooses(module: str, tmp_path: Path) -> None:
    model = WORKS["tmaze-1000"].make()
    history = drawn_history(model, AGENTS, MAZE_MOVES, ticks=3)
    with Driver(module, Path(sys.executable)) as driver:
        assert driver.prepare(write(tmp_path, model, history), AGENTS)["make_s"] > 0.0
        assert len(driver.steps(2)["step_s"]) >= 1
        actions, margins = driver.check(tmp_path / "choices.npz")
    assert margins.min() > 1e-5
    for number in range(AGENTS):
        oracle = NaiveAgent(model)
        for tick in range(3):
            forced = history.actions[tick, number]
            step = oracle.step(history.observations[tick, number].tolist(), force=forced)
            assert tuple(actions[tick, number]) == step.action


@pytest.mark.system
def test_what_goes_wrong_there_is_said_here(tmp_path: Path) -> None:
    with Driver("threads", Path(sys.executable)) as driver, pytest.raises(DriverFailed, match="FileNotFoundError"):
        driver.prepare(tmp_path / "nothing.npz", 1)
    with Driver("no_such_module", Path(sys.executable)) as driver, pytest.raises(DriverFailed, match="ended"):
        driver.prepare(tmp_path / "nothing.npz", 1)


def test_a_work_passes_through_its_file_unchanged(tmp_path: Path) -> None:
    model = cue_chaining(policy_len=1, gamma=2.0)
    history = drawn_history(model, 3, ticks=2)
    given = Given.load(write(tmp_path, model, history))
    for name, array in model.tensors().items():
        kept = getattr(given, name) if hasattr(given, name) else getattr(given, name[0])[int(name[1:])]
        np.testing.assert_array_equal(kept, array)
    assert given.A_dependencies == [list(row) for row in model.A_dependencies]
    assert (given.gamma, given.num_iter, given.policy_len) == (2.0, 16, 1)
    np.testing.assert_array_equal(given.observations, history.observations)


def test_a_history_is_one_that_the_model_allows() -> None:
    model = tmaze()
    history = drawn_history(model, 500, MAZE_MOVES)
    assert set(np.unique(history.actions[:, :, 0])) == set(MAZE_MOVES)
    location = history.observations[:, :, 0]
    assert (location[0] == 0).all()
    np.testing.assert_array_equal(location[1:], history.actions[:-1, :, 0])
    assert (history.observations[:, :, 1] == 0).all()
    right = history.observations[location == MAZE_MOVES[1]][:, 2]
    assert 0.3 < right.mean() < 0.7


@pytest.mark.slow
def test_a_forced_walk_begins_anew_with_its_first_tick() -> None:
    model = WORKS["grid5-1000"].make()
    history = drawn_history(model, AGENTS, ticks=3)
    with Engine(model, agents=AGENTS) as engine:
        walk = Walk(engine, history, forced=True)
        first = walk.choices()
        walk.step()
        np.testing.assert_array_equal(walk.choices(), first)
    for number in range(AGENTS):
        oracle = NaiveAgent(model)
        for tick in range(3):
            step = oracle.step(history.observations[tick, number].tolist(), force=history.actions[tick, number])
            assert tuple(first[tick, number]) in step.ties


def test_multiply_adds_are_counted_over_what_is_predicted() -> None:
    model = dense_grid(5)
    assert (model.A[0] > 0.0).all()
    names = operations(compile_model(model).ints)
    # Three steps on a grid of five cells lead to 44 beliefs beside those of now, and each is valued.
    assert (names.count(plan.MOVE), names.count(plan.VALUE)) == (44, 45)


def test_an_updated_report_keeps_what_was_not_measured_again() -> None:
    old = {
        "works": {"tmaze-1000": 1, "grid5-1000": 1},
        "flight": 2,
        "peers": {"pymdp": [{"work": "tmaze-1000", "ratio": 1}, {"work": "grid5-1000", "ratio": 1}]},
        "peer_versions": {"pymdp": "1"},
        "machine": "A",
        "runs": [{"commit": "a"}],
    }
    new = {
        "works": {"tmaze-1000": 3},
        "peers": {"pymdp": [{"work": "tmaze-1000", "ratio": 3}], "ray": []},
        "peer_versions": {"ray": "2"},
        "machine": "B",
        "runs": [{"machine": "B", "commit": "b"}],
    }
    assert updated(old, new) == {
        "works": {"tmaze-1000": 3, "grid5-1000": 1},
        "flight": 2,
        "peers": {"pymdp": [{"work": "tmaze-1000", "ratio": 3}, {"work": "grid5-1000", "ratio": 1}], "ray": []},
        "peer_versions": {"pymdp": "1", "ray": "2"},
        "machine": "B",
        "runs": [{"machine": "A", "commit": "a"}, {"machine": "B", "commit": "b"}],
    }


def test_what_was_measured_is_in_the_file_when_a_later_section_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(bench, "Stack", lambda *_, **__: nullcontext(SimpleNamespace(local_endpoint="")))
    monkeypatch.setattr(bench.beliefd, "connect", nullcontext)
    monkeypatch.setattr(bench, "own_sections", lambda *_: {"flight": lambda: 2, "roof": lambda: 3, "profile": fails})
    file = tmp_path / "bench.json"
    old = {"flight": 1, "sizes": 1, "peers": {"pymdp": []}, "peer_versions": {"pymdp": "1"}, "machine": "A", "runs": []}
    file.write_text(json.dumps(old))
    with pytest.raises(RuntimeError, match="no such luck"):
        bench.main(sections="flight,roof,profile", json_file=file, update=True)
    found = json.loads(file.read_text())
    assert {name: found[name] for name in ("flight", "roof", "sizes", "peers")} == {
        "flight": 2,
        "roof": 3,
        "sizes": 1,
        "peers": {"pymdp": []},
    }
    assert [run["sections"] for run in found["runs"]] == [["flight", "roof"]]
    assert [run["machine"] for run in found["runs"]] == [found["machine"]]
