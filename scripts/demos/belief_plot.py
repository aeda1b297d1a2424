"""What one agent believes about its place on the lake, tick by tick."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from demos.colours import INK, ORANGE, RED
from demos.noisy_lake import SENSOR_RIGHT, NoisyLakeResult
from demos.results import Results

_COLUMNS = 6
_PANELS = 2 * _COLUMNS
_ACTIONS = ("left", "down", "right", "up")


def belief_plot(results: Results) -> Figure:
    """A strip of heat maps over the lake, with the true and the seen position in each."""
    noisy = results.noisy
    agent, ticks = chosen_episode(noisy)
    figure = Figure(figsize=(11, 4.9), layout="constrained")
    panels = figure.subplots(2, _COLUMNS).ravel()
    for panel, axes in enumerate(panels):
        if panel >= ticks:
            axes.set_axis_off()
            continue
        image = _panel(axes, noisy, agent, panel)
        last = noisy.walk.cells[panel, agent] in noisy.goals
        doing = "at the goal" if last else f"goes {_ACTIONS[noisy.walk.actions[panel, agent]]}"
        axes.set_title(f"{panel + 1}: {doing}", fontsize=10, fontweight="normal")
    bar = figure.colorbar(image, ax=panels.tolist(), shrink=0.7, pad=0.01)
    bar.set_label("belief: probability of the cell")
    marks = [
        Line2D([], [], linestyle="", marker="o", markersize=11, fillstyle="none", color=ORANGE, markeredgewidth=2.4),
        Line2D([], [], linestyle="", marker="x", markersize=8, color=RED, markeredgewidth=2.0),
    ]
    names = ["where the agent is", f"what it sees, right {SENSOR_RIGHT:.0%} of the time"]
    figure.legend(marks, names, loc="outside lower left", ncols=2, frameon=False)
    figure.suptitle(
        f"One of {noisy.walk.actions.shape[1]:,} agents on slippery ice, tick by tick: it acts on what it believes",
        x=0.01,
        ha="left",
        fontweight="bold",
    )
    return figure


def chosen_episode(noisy: NoisyLakeResult) -> tuple[int, int]:
    """An agent whose first episode ends at the goal and fits the panels, and how many of them it takes.

    Of several the one with the most doubt on its way: where an agent is sure, there is little to see.
    """
    walk = noisy.walk
    ticks = walk.starts[1:].argmax(axis=0) + 1
    at_goal = np.isin(walk.cells[ticks - 1, np.arange(len(ticks))], noisy.goals)
    fits = at_goal & (ticks >= _COLUMNS + 2) & (ticks <= _PANELS)
    surest = walk.beliefs[:_PANELS].max(axis=2)
    on_the_way = np.arange(len(surest))[:, np.newaxis] < ticks
    certainty = (surest * on_the_way).sum(axis=0) / np.minimum(ticks, _PANELS)
    agent = int(np.where(fits, certainty, 2.0 - at_goal + certainty).argmin())
    return agent, min(int(ticks[agent]), _PANELS)


def _panel(axes: Axes, noisy: NoisyLakeResult, agent: int, tick: int) -> AxesImage:
    belief = noisy.walk.beliefs[tick, agent]
    size = round(len(belief) ** 0.5)
    image = axes.imshow(belief.reshape(size, size), cmap="Blues", vmin=0.0, vmax=1.0)
    for cells, sign in ((noisy.holes, "hole"), (noisy.goals, "goal")):
        for cell in cells:
            colour = "white" if belief[cell] > 0.5 else INK
            axes.text(cell % size, cell // size, sign, ha="center", va="center", fontsize=7, color=colour)
    here, seen = noisy.walk.cells[tick, agent], noisy.walk.observations[tick, agent]
    axes.plot(here % size, here // size, "o", markersize=19, fillstyle="none", color=ORANGE, markeredgewidth=2.4)
    axes.plot(seen % size, seen // size + 0.28, "x", markersize=6, color=RED, markeredgewidth=2.0)
    axes.set_xticks(np.arange(-0.5, size), [])
    axes.set_yticks(np.arange(-0.5, size), [])
    axes.tick_params(length=0)
    axes.grid(color="#BBBBBB", linewidth=0.6)
    axes.spines[:].set_visible(True)
    return image
