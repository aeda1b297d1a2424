"""How long every step took while a worker was killed."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from demos.colours import BLUE, INK, RED
from demos.noisy_lake import VICTIM
from demos.results import Results


def kill_plot(results: Results) -> Figure:
    """One dot per step, and a line where the worker died."""
    noisy = results.noisy
    step_ms = 1e3 * noisy.walk.step_s
    ticks = np.arange(1, len(step_ms) + 1)
    figure = Figure(figsize=(7.6, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(ticks, step_ms, ".", color=BLUE, markersize=7)
    axes.axvline(noisy.killed_tick + 1, color=RED, linewidth=1.2, linestyle="--")
    top_ms = 1.4 * float(step_ms.max())
    axes.text(
        noisy.killed_tick + 2,
        0.98 * top_ms,
        f"kill -9 {VICTIM}\nlongest step from here on: {1e3 * noisy.longest_s:.0f} ms",
        color=RED,
        va="top",
    )
    median_ms = float(np.median(step_ms))
    axes.axhline(median_ms, color=INK, linewidth=0.8, linestyle=":")
    axes.text(len(ticks) + 2, median_ms, f"median\n{median_ms:.0f} ms", va="center", fontsize=9)
    axes.set_xlim(0, 1.1 * len(ticks))
    axes.set_ylim(0.0, top_ms)
    axes.set_xlabel("step")
    axes.set_ylabel("time of the call, ms")
    same = noisy.same_actions == noisy.same_beliefs == noisy.agent_steps
    outcome = "no error, no bit different" if same else "and the results differ"
    axes.set_title(f"A worker dies under {noisy.walk.actions.shape[1]:,} agents: {outcome}")
    return figure
