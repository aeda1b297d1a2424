"""The pictures of a demonstration, written as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from demos.belief_plot import belief_plot
from demos.kill_plot import kill_plot
from demos.lake_plot import lake_plot
from demos.opening_plot import opening_plot
from demos.results import Results

_PLOTS: dict[str, Callable[[Results], Figure]] = {
    "demo.png": opening_plot,
    "demo-lake.png": lake_plot,
    "demo-beliefs.png": belief_plot,
    "demo-kill.png": kill_plot,
}
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}
DPI = 150


def save_plots(results: Results, folders: Sequence[Path]) -> list[Path]:
    """Draw all plots into every folder; returns the files."""
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, draw in _PLOTS.items():
            figure = draw(results)
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
                figure.savefig(folder / name, dpi=DPI)
                paths.append(folder / name)
    return paths
