"""A report drawn: pictures into docs, tables into the README. Nothing in them is written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benches.plots import agents_plot, peers_plot
from benches.readme import rewritten
from benches.tables import analysis_table, durability_table, origin_table, peers_table, served_table, workers_table
from demos.plots import DPI, STYLE

CHECKOUT = Path(__file__).resolve().parents[2]


def draw(report: dict[str, Any], checkout: Path = CHECKOUT) -> list[Path]:
    """Draw what the report has; returns the files that were written."""
    plots: dict[str, Callable[[dict[str, Any]], Figure]] = {}
    if any(entry["ratio"] for entries in report["peers"].values() for entry in entries):
        plots["bench-peers.png"] = peers_plot
    if report.get("analysis"):
        plots["bench-agents.png"] = agents_plot
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, make in plots.items():
            path = checkout / "docs" / name
            make(report).savefig(path, dpi=DPI)
            paths.append(path)
    readme = checkout / "README.md"
    parts = {
        "peers": peers_table(report),
        "served": served_table(report),
        "workers": workers_table(report),
        "durability": durability_table(report),
        "analysis": analysis_table(report),
        "origin": origin_table(report),
    }
    readme.write_text(rewritten(readme.read_text(), parts))
    return [*paths, readme]
