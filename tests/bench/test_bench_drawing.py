from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benches.drawing import draw
from benches.plots import rates_by_work
from benches.tables import (
    analysis_table,
    durability_table,
    number,
    origin_table,
    peers_table,
    served_table,
    table,
    times,
    workers_table,
)

PARTS = ("peers", "served", "workers", "durability", "analysis", "origin")


def entry(work: str, ratio: float | None, theirs: float = 100.0) -> dict[str, Any]:
    if ratio is None:
        return {"work": work, "ratio": None, "skipped": "too many agents"}
    return {
        "work": work,
        "ratio": ratio,
        "agent_steps_per_s": theirs,
        "beliefd_agent_steps_per_s": theirs * ratio,
        "best_batch": 10,
        "check": {"decisions": 1_000, "excluded": 2, "differing": 0, "passed": True},
        "raw": {},
    }


def row(means: str, agents: int, rate: float, **fields: Any) -> dict[str, Any]:
    given = {"efficiency": 0.5, "cpu": 0.5, "memory_mb_per_agent": 2.0, "communication_us": 5.0, "cold_s": 0.1}
    return {"work": "tmaze-10000", "means": means, "agents": agents, "agent_steps_per_s": rate, **given, **fields}


def report() -> dict[str, Any]:
    return {
        "peers": {
            "pymdp": [entry("tmaze-10000", 15.0, 200_000.0), entry("cue-100", 40.0)],
            "pool": [entry("tmaze-10000", 1000.0, 3_000.0), entry("cue-100", None)],
        },
        "works": {"tmaze-10000": {"agent_steps_per_s": 3e6, "served_over_engine": 0.7}},
        "one-agent": {
            "p50_ms": 0.2,
            "p99_ms": 0.4,
            "p99.9_ms": 0.9,
            "kept_awake": True,
            "bare_double_hop": {"p50_ms": 0.15, "p99_ms": 0.2, "p99.9_ms": 0.5},
            "processor_us": {"client": 50.2, "broker": 70.0, "workers": 40.0},
            "prepare_us": {"again_and_again": 12.0, "after_a_pause": 50.0},
            "pause_ms": 0.8,
        },
        "analysis": [
            row("threads", 1, 20_000.0),
            row("threads", 50, 16_000.0, efficiency=0.8),
            row("pool", 50, 3_200.0, communication_us=300.0, memory_mb_per_agent=1.6),
            row("beliefd", 50, 60_000.0),
            row("beliefd", 10_000, 3_200_000.0, communication_us=0.2),
            row("threads", 50, 1_600.0, work="explorer-50"),
            row("pool", 50, 320.0, work="explorer-50"),
            row("beliefd, a client each", 50, 6_400.0, cold_s=None, work="explorer-50"),
            {"work": "tmaze-10000", "means": "pool", "agents": 10_000, "skipped": "failed"},
        ],
    }


def test_peers_stand_beside_each_other_and_what_was_skipped_has_a_dash() -> None:
    lines = peers_table(report()).splitlines()
    assert lines[2] == "| `tmaze-10000` | 3 M | 200,000 (**15x**) | 3,000 (**1,000x**) |"
    assert lines[3].endswith("| 100 (**40x**) | - |")
    assert (
        lines[5] == "Decisions compared with theirs in the same run: 3,000. Nearly tied, and left out: 6. Different: 0."
    )


def test_the_one_agent_has_a_row_with_processors_kept_awake_and_one_with_processors_asleep() -> None:
    one = report()["one-agent"]
    asleep = {
        **one,
        "p50_ms": 0.52,
        "kept_awake": False,
        "bare_double_hop": {"p50_ms": 0.29, "p99_ms": 0.6, "p99.9_ms": 1.1},
    }
    lines = served_table({**report(), "one-agent-asleep": asleep}).splitlines()
    rows = [line for line in lines if "a bare double hop of ZeroMQ" in line]
    assert rows == [
        "| one agent, one client, processors kept awake | p50 0.20 ms, p99 0.40 ms, p99.9 0.90 ms "
        "| a bare double hop of ZeroMQ: 0.15, 0.20, 0.50 ms |",
        "| one agent, one client, processors that sleep | p50 0.52 ms, p99 0.40 ms, p99.9 0.90 ms "
        "| a bare double hop of ZeroMQ: 0.29, 0.60, 1.10 ms |",
    ]
    assert sum("processor time of such a call" in line for line in lines) == 1


def test_the_one_agent_beside_a_flood_has_a_row() -> None:
    fair = {"agents": 10**6, "p50_ms": 4.0, "p99_ms": 10.26, "p99.9_ms": 14.0, "flood_agent_steps_per_s": 8.8e6}
    text = served_table({**report(), "fairness": fair})
    assert (
        "| one agent, while another client steps 1,000,000 without end | p50 4.0 ms, p99 10.3 ms, p99.9 14.0 ms |"
        in text
    )
    assert "8.8 M agent-steps/s" in text


def test_what_grows_has_a_row_each() -> None:
    one, many = (
        {"agents": n, "engine_ns": ns, "served_ns": 90.0, "record_bytes": 168} for n, ns in ((10, 120.0), (1000, 100.0))
    )
    grown = {
        "scaling": [{"work": "grid5-10000", "populations": 4, "two_over_one": 1.74, "engine_two_over_one": 1.86}],
        "sizes": {
            "spread": 0.2,
            "agents": 1010,
            "bytes_per_agent": {"files": 169.6, "processes": 12.4},
            "sizes": [one, many],
        },
        "flight": {
            "grid5-10000-4": {
                "populations": 4,
                "agent_steps_per_s": 3e6,
                "served_over_engine": 0.8,
                "workers_busy": 0.9,
            }
        },
    }
    lines = served_table({"peers": {}, **grown}).splitlines()[2:]
    assert lines == [
        "| `grid5-10000`, 4 populations in flight | 3 M agent-steps/s "
        "| 80% of the kernels in-process, which have one call after the other; workers 90% busy |",
        "| `grid5-10000`: two workers against one | 1.7x | `Engine`: two threads against one: 1.9x |",
        "| an agent-step of 1,000 T-mazes | 100 ns on one core, 90 ns served | within 20% from 10 agents on |",
        "| an agent of 1,010 | 170 bytes in files, 12 in processes | 168 in its record |",
    ]


def test_what_was_not_measured_has_no_row() -> None:
    text = served_table(report())
    assert "70% of the kernels" in text
    assert "p50 0.20 ms" in text
    assert "| 160 us | client 50, broker 70, workers 40 |" in text
    assert "clients" not in text
    assert served_table({"peers": {}}) == peers_table({"peers": {}}) == ""
    assert "10,000 | 3.2 M" in analysis_table(report())
    assert len(analysis_table(report()).splitlines()) == 2 + 8


def test_workers_stand_beside_each_other_by_how_they_started() -> None:
    cost = {
        "memory": {"workers": 16, "private_kb_per_worker": 7168, "pss_kb_per_worker": 12288, "pss_kb_in_all": 262144},
        "restarts": {
            "ready_beyond_supervisord_ms": 25.2,
            "longest_beyond_supervisord_ms": 31.8,
            "first_step_ms": 7.31,
            "later_steps_ms": 4.08,
        },
    }
    lines = workers_table({"worker_cost": {"forked": cost, "alone": cost}}).splitlines()
    row = "| forked by the preloader | 7.0 MB | 12.0 MB | 16: 256 MB | 25 ms (32) | 7.3 ms, then 4.1 ms |"
    assert lines[2] == row
    assert workers_table({}) == ""


def test_the_claims_of_the_analysis_stand_beside_what_was_measured() -> None:
    text = origin_table(report())
    assert "| 50 agents as threads | 28.4% of the rate of one | 80% of it |" in text
    assert "4.0x the rate of threads, 20x that of the pool" in text
    assert "200x the rate of 50 threads" in text
    assert "28.4%" not in origin_table({"peers": {}})


def test_rates_are_sorted_by_work_and_program() -> None:
    assert rates_by_work(report())["cue-100"] == {"beliefd": 4_000.0, "pymdp": 100.0}


def test_drawing_writes_plots_and_every_part_of_the_readme(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "README.md"
    readme.write_text("".join(f"<!-- bench: {part} -->\noutdated\n<!-- /bench -->\n" for part in PARTS))
    paths = draw(report(), tmp_path)
    assert [path.name for path in paths] == ["bench-peers.png", "bench-agents.png", "README.md"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths[:2])
    assert "outdated" not in readme.read_text()
    assert "**15x**" in readme.read_text()


def test_the_readme_has_every_part() -> None:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    assert all(text.count(f"<!-- bench: {part} -->\n") == 1 for part in PARTS)


@pytest.mark.parametrize(
    ("x", "text"), [(2_345_678.0, "2.35 M"), (45_678.0, "45,700"), (99.54, "99.5"), (0.4567, "0.457"), (1e6, "1 M")]
)
def test_numbers_have_three_digits(x: float, text: str) -> None:
    assert number(x) == text


def test_ratios_have_two_digits() -> None:
    assert [times(r) for r in (1.94, 9.96, 13.61, 128.4)] == ["1.9x", "10.0x", "14x", "130x"]
    assert table(["a"], []) == ""


def test_the_price_of_lasting_is_told_beside_what_it_is_the_price_of() -> None:
    one = {"process": {"p50_ms": 0.5, "p99_ms": 1.0}, "disk": {"p50_ms": 0.8, "p99_ms": 0.9}}
    works = {
        "tmaze-10000": {
            "process_agent_steps_per_s": 6e6,
            "disk_agent_steps_per_s": 3e6,
            "disk_over_process": 0.51,
        }
    }
    keeping = {"work": "tmaze-10000", "checkpoint_s": 0.021, "replayed_steps": 3_000_000, "replay_s": 1.5}
    found = {"works": works, "one_agent": one, "keeping": keeping}
    rows = durability_table({"durability": found}).splitlines()[2:]
    assert rows[0] == "| `tmaze-10000`, one call after the other | 6 M agent-steps/s | 3 M agent-steps/s | 51% |"
    assert "+0.30 ms, -0.10 ms" in rows[1]
    assert "21 ms" in rows[2]
    assert "2 M agent-steps/s" in rows[3]
    assert durability_table({}) == ""
