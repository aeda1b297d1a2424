"""The opening picture: how many agent-steps a second, and what the agents do."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from demos.colours import BLUE, BROWN, GREY, INK, ORANGE, PALE
from demos.maze import CUE_VALIDITY, MazeResult
from demos.results import Results
from demos.table import percent, rate

_HALF = 0.3
"""Half the width of a corridor of the drawn maze, and _BAR the height of a bar for all trials."""
_BAR = 2.2


def opening_plot(results: Results) -> Figure:
    """Throughput on the left, the T-maze on the right."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
    _throughput(left, results)
    _maze(right, results.maze)
    return figure


def _throughput(axes: Axes, results: Results) -> None:
    maze, threads = results.maze, results.threads
    names = [
        f"beliefd, {results.workers} worker{'s' if results.workers > 1 else ''}\n{maze.agents:,} agents",
        f"{threads.threads} Python threads\n{threads.threads} agents in NumPy",
        "1 Python thread\n1 agent in NumPy",
    ]
    rates = [maze.agent_steps_per_s, threads.all_per_s, threads.one_per_s]
    bars = axes.barh(names, rates, color=[BLUE, GREY, GREY], height=0.62)
    axes.bar_label(bars, [rate(r) for r in rates], padding=5, fontweight="bold", color=INK)
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 10, max(rates) * 9)
    axes.set_xlabel("agent-steps per second (logarithmic)")
    axes.set_title("The same agents, as threads and served")
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    times = maze.agent_steps_per_s / threads.all_per_s
    axes.text(
        0.98,
        0.5,
        f"{times:,.0f} times the threads",
        transform=axes.transAxes,
        ha="right",
        va="center",
        color=BLUE,
        fontsize=12,
        fontweight="bold",
    )


def _maze(axes: Axes, maze: MazeResult) -> None:
    """The maze as corridors, the two moves as arrows, and where all trials ended as bars over the arms."""
    axes.add_patch(Rectangle((-_HALF, -1.3), 2 * _HALF, 2.0, color=PALE, linewidth=0))
    axes.add_patch(Rectangle((-2.0, 0.7), 4.0, 2 * _HALF, color=PALE, linewidth=0))
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.8, "mutation_scale": 14, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=(0.0, -0.92), xytext=(0.0, -0.05), arrowprops=arrow)
    for side in (1, -1):
        bend = {**arrow, "connectionstyle": "angle,angleA=90,angleB=0,rad=5"}
        axes.annotate("", xy=(side * 1.35, 1.0), xytext=(side * 0.17, -0.95), arrowprops=bend)
        axes.text(side * 1.675, 0.62, "right arm" if side > 0 else "left arm", ha="center", va="top")
        _outcomes(axes, side, maze)
    axes.plot(0.0, 0.0, "o", color=INK, markersize=8)
    axes.text(0.0, -1.12, "cue", ha="center", va="center", fontweight="bold")
    axes.text(-_HALF - 0.1, 0.0, "start", ha="right", va="center")
    axes.text(-_HALF - 0.1, -1.12, f"right in {CUE_VALIDITY:.0%} of trials", ha="right", va="center")
    axes.text(_HALF + 0.1, -0.5, f"1. {percent(maze.cue_first)} look at the cue", ha="left", va="center")
    axes.text(_HALF + 0.1, 0.12, "2. then they enter\n    an arm for good", ha="left", va="center")
    axes.set_xlim(-2.25, 2.25)
    axes.set_ylim(-1.35, 2.75)
    axes.set_axis_off()
    axes.set_title(f"In the T-maze, {percent(maze.rewarded)} get the reward")


def _outcomes(axes: Axes, side: int, maze: MazeResult) -> None:
    """The bar over one arm: trials that ended there with the reward, and with the punishment."""
    rewarded, punished = maze.arms[0 if side > 0 else 1] / maze.arms.sum()
    bottom, x = 1.4, 1.675 * side
    top = bottom + rewarded * _BAR
    axes.bar(x, rewarded * _BAR, bottom=bottom, width=0.65, color=BLUE)
    axes.bar(x, punished * _BAR, bottom=top, width=0.65, color=ORANGE)
    inward, align = x - 0.42 * side, "right" if side > 0 else "left"
    axes.text(inward, (bottom + top) / 2, f"{percent(rewarded)}\nrewarded", ha=align, va="center", color=BLUE)
    axes.text(inward, top, f"{percent(punished)} punished", ha=align, va="bottom", color=BROWN)
