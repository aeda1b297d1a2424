"""Pictures of a report."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benches.tables import EXPLORER, number, times
from demos.colours import BLUE, BROWN, GREY, INK, ORANGE, PALE, RED, SKY

_PROGRAMS = {
    "beliefd": ("beliefd", BLUE, "o"),
    "pymdp": ("pymdp 1.0.4, best batch", ORANGE, "s"),
    "ray": ("Ray, an actor per core", SKY, "v"),
    "threads": ("a Python thread per agent", GREY, "D"),
    "pool": ("process pool with a Manager", BROWN, "^"),
    "legacy": ("pymdp 0.0.7.1, a loop", RED, "X"),
}
_MEANS = {
    "beliefd": ("beliefd, one call per tick", BLUE, "o", "-"),
    "beliefd, a client each": ("beliefd, a client per agent", BLUE, "o", "--"),
    "threads": ("a Python thread per agent", GREY, "D", "-"),
    "pool": ("process pool with a Manager", BROWN, "^", "-"),
}


def peers_plot(report: dict[str, Any]) -> Figure:
    """A line per work: a mark for each program's rate, and how many times that of pymdp the last one is."""
    rates = rates_by_work(report)
    figure = Figure(figsize=(11, 1.9 + 0.42 * len(rates)), layout="constrained")
    axes = figure.subplots()
    leads = {entry["work"]: entry["ratio"] for entry in report["peers"].get("pymdp", []) if entry["ratio"]}
    for row, (work, found) in enumerate(rates.items()):
        axes.plot([min(found.values()), max(found.values())], [row, row], color=PALE, linewidth=6, zorder=1)
        for program, rate in found.items():
            _, colour, mark = _PROGRAMS[program]
            axes.plot(rate, row, mark, color=colour, markersize=11 if program == "beliefd" else 8, zorder=3)
        text = f"{number(found['beliefd'])}/s" + (f", {times(leads[work])}" if work in leads else "")
        axes.text(found["beliefd"] * 1.4, row, text, va="center", color=BLUE, fontweight="bold")
    axes.set_yticks(range(len(rates)), list(rates))
    axes.set_ylim(len(rates) - 0.4, -0.6)
    _logarithmic(axes, "x")
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 12)
    axes.set_xlabel("agent-steps per second (logarithmic), on the same two cores")
    axes.set_title("The same agents and observations: beliefd's rate, and how many times pymdp's that is")
    axes.tick_params(axis="y", length=0)
    seen = {program for found in rates.values() for program in found}
    marks = [
        axes.plot([], [], mark, color=colour, markersize=8, label=label)[0]
        for program, (label, colour, mark) in _PROGRAMS.items()
        if program in seen
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def rates_by_work(report: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Agent-steps per second: by work, and then by program."""
    rates: dict[str, dict[str, float]] = {}
    for peer, entries in report["peers"].items():
        for entry in entries:
            if entry["ratio"]:
                found = rates.setdefault(entry["work"], {"beliefd": entry["beliefd_agent_steps_per_s"]})
                found[peer] = entry["agent_steps_per_s"]
    return rates


def agents_plot(report: dict[str, Any]) -> Figure:
    """Throughput over the number of agents, and the memory that an agent takes."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for means, (label, colour, mark, line) in _MEANS.items():
        mazes = [row for row in report["analysis"] if row["work"] != EXPLORER and "skipped" not in row]
        rows = [row for row in mazes if row["means"] == means]
        if not rows:
            continue
        agents = [row["agents"] for row in rows]
        style: dict[str, Any] = {"color": colour, "marker": mark, "linestyle": line, "label": label, "linewidth": 2}
        left.plot(agents, [row["agent_steps_per_s"] for row in rows], **style)
        right.plot(agents, [row["memory_mb_per_agent"] for row in rows], **style)
    for axes, title, unit in (
        (left, "T-maze agents: all together", "agent-steps per second"),
        (right, "What an agent takes, everything counted", "MB per agent"),
    ):
        _logarithmic(axes, "x")
        _logarithmic(axes, "y")
        axes.set_xlabel("agents")
        axes.set_ylabel(unit)
        axes.set_title(title)
        axes.grid(color=PALE, linewidth=0.8)
        axes.set_axisbelow(True)
    left.legend(frameon=False, fontsize=9)
    right.axhline(60.0, color=INK, linewidth=0.8, linestyle=":")
    right.text(
        1.0, 66.0, "60 MB: that analysis", fontsize=9, va="bottom", ha="right", transform=right.get_yaxis_transform()
    )
    return figure


def _logarithmic(axes: Axes, axis: str) -> None:
    if axis == "x":
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")
    along = axes.xaxis if axis == "x" else axes.yaxis
    along.set_minor_locator(NullLocator())
    along.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1.0 else f"{value:g}"))
