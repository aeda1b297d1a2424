"""The figures of a run, what was wanted of them, and the table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes
    ----------
    what, figure : str
        What was measured, and how much it is, with its unit.
    wanted : str
        The least that is wanted; empty where the figure is there for comparison.
    ok : bool or None
        Whether it was reached; None where nothing was wanted.
    """

    what: str
    figure: str
    wanted: str = ""
    ok: bool | None = None


def table(figures: Sequence[Figure]) -> Table:
    """The figures as a table for a terminal."""
    shown = Table("what", "figure", "wanted", "ok", title="What was measured", title_justify="left")
    shown.columns[1].justify = "right"
    for line in figures:
        ok = {None: "", True: "[green]yes[/green]", False: "[bold red]NO[/bold red]"}[line.ok]
        shown.add_row(line.what, line.figure, line.wanted, ok)
    return shown


def reached(figures: Sequence[Figure]) -> bool:
    """Whether no figure misses what was wanted of it."""
    return all(line.ok is not False for line in figures)


def rate(per_s: float) -> str:
    """A rate of agent-steps, to three digits."""
    return f"{per_s / 1e6:.2f} M/s" if per_s >= 1e6 else f"{float(f'{per_s:.3g}'):,.0f}/s"


def percent(fraction: float) -> str:
    return f"{fraction:.1%}"
