"""Bars: how often each player reaches the goal of the frozen lake."""

from __future__ import annotations

from matplotlib.figure import Figure

from demos.colours import BLUE, GREY, INK, RED, SKY
from demos.lake import WANTED_OF_OPTIMUM
from demos.noisy_lake import SENSOR_RIGHT
from demos.results import Results
from demos.table import percent

_WANTED = f"wanted: {WANTED_OF_OPTIMUM:.0%} of value iteration"


def lake_plot(results: Results) -> Figure:
    """Success per player, with 95% intervals (normal approximation)."""
    lake, noisy = results.lake, results.noisy
    noisy_episodes = noisy.walk.actions.shape[1]
    bars = [
        ("random", lake.random, lake.episodes, GREY),
        (f"beliefd, position\nseen {SENSOR_RIGHT:.0%} right", noisy.success, noisy_episodes, SKY),
        ("beliefd", lake.agents, lake.episodes, BLUE),
        ("value iteration\n(the optimum)", lake.optimum, lake.episodes, GREY),
    ]
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    axes = figure.subplots()
    for x, (_, success, episodes, colour) in enumerate(bars):
        margin = 1.96 * (success * (1.0 - success) / episodes) ** 0.5
        axes.bar(x, success, color=colour, width=0.62, yerr=margin, capsize=4, ecolor=INK)
        axes.text(x, success + margin + 0.015, percent(success), ha="center", va="bottom", fontweight="bold")
    wanted = WANTED_OF_OPTIMUM * lake.optimum
    axes.plot([1.55, 3.45], [wanted, wanted], color=RED, linestyle="--", linewidth=1.4, label=_WANTED)
    axes.legend(loc="upper left", frameon=False)
    axes.set_xticks(range(len(bars)), [name for name, *_ in bars])
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0.0, 1.0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("episodes that end at the goal")
    axes.set_title("FrozenLake-v1, 4x4, slippery")
    counted = f"{lake.episodes:,} episodes each, {noisy_episodes:,} through noise; the whiskers are 95% intervals"
    axes.set_xlabel(counted, color=GREY, fontsize=9, labelpad=10)
    return figure
