from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from demos.belief_plot import chosen_episode
from demos.lake import LakeResult
from demos.maze import MazeResult, Recording
from demos.noisy_lake import NoisyLakeResult, Walk
from demos.plots import save_plots
from demos.results import Results
from demos.screen import Screen
from demos.table import Figure, rate, reached, table
from demos.threads import ThreadsResult

TICKS, AGENTS = 30, 4


def noisy_result(same: int = TICKS * AGENTS) -> NoisyLakeResult:
    """Agent 1 reaches the goal at its tenth tick and agent 2 does so with more doubt; the others fall into a hole."""
    cells = np.zeros((TICKS, AGENTS), np.int64)
    starts = np.zeros((TICKS, AGENTS), np.bool_)
    cells[9], starts[0], starts[10] = [5, 15, 15, 5], True, True
    beliefs = np.full((TICKS, AGENTS, 16), 0.1 / 15, np.float32)
    beliefs[:, :, 0] = [0.3, 0.9, 0.5, 0.3]
    actions = np.zeros((TICKS, AGENTS), np.int32)
    walk = Walk(cells, cells, starts, actions, beliefs, np.full(TICKS, 0.01))
    return NoisyLakeResult(walk, np.array([15]), np.array([5, 7, 11, 12]), 0.5, 15, 4711, same, TICKS * AGENTS)


def results(rewarded: float = 0.95, per_s: float = 1e6, agents: float = 0.5, same: int = TICKS * AGENTS) -> Results:
    recording = Recording(np.zeros((3, 1, 3), np.int32), np.array([True, False, False]), np.zeros((3, 1), np.int32))
    return Results(
        workers=2,
        maze=MazeResult(100, 10, 1.0, rewarded, np.array([[470, 30], [480, 20]]), per_s, recording),
        threads=ThreadsResult(50, 10_000.0, 9_000.0, 3, 3),
        lake=LakeResult(10, 20, agents, 0.74, 0.01),
        noisy=noisy_result(same),
    )


def test_a_run_passes_where_every_figure_is_reached() -> None:
    assert reached(results().figures())


@pytest.mark.parametrize(
    "missed",
    [
        results(rewarded=0.8999),
        results(per_s=199_000.0),
        results(agents=0.4),
        results(same=TICKS * AGENTS - 1),
    ],
)
def test_one_missed_figure_fails_the_run(missed: Results) -> None:
    assert not reached(missed.figures())
    assert sum(figure.ok is False for figure in missed.figures()) == 1


def test_the_table_names_what_was_missed() -> None:
    text = io.StringIO()
    Console(file=text, width=100).print(table([Figure("a", "1", ">= 2", False), Figure("b", "3")]))
    row_a, row_b = (line for line in text.getvalue().splitlines() if " a " in line or " b " in line)
    assert "NO" in row_a
    assert "NO" not in row_b


def test_without_a_terminal_progress_is_plain_lines() -> None:
    text = io.StringIO()
    screen = Screen(Console(file=text))
    with screen.track("working", 3) as advance:
        advance(3)
    first, last = text.getvalue().splitlines()
    assert first == "working ..."
    assert last.startswith("working: ")
    assert "\x1b" not in text.getvalue()


def test_on_a_terminal_progress_counts_to_the_end() -> None:
    text = io.StringIO()
    with Screen(Console(file=text, force_terminal=True, width=100)).track("working", 30) as advance:
        advance(10)
        advance(20)
    assert "30/30" in text.getvalue()


def test_rates_have_three_digits() -> None:
    assert [rate(r) for r in (1_234.6, 127_417.0, 1_084_000.0)] == ["1,230/s", "127,000/s", "1.08 M/s"]


def test_the_shown_episode_ends_at_the_goal_and_has_the_most_doubt() -> None:
    assert chosen_episode(noisy_result()) == (2, 10)


@pytest.mark.slow
def test_all_plots_are_written_into_every_folder(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "b", tmp_path / "c"]
    paths = save_plots(results(), folders)
    assert len(paths) == 8
    assert {path.parent for path in paths} == set(folders)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
