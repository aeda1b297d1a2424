"""The table of the engine's README, from a report of ``scripts/conformance``."""

from __future__ import annotations

from typing import Any

COLUMNS = {
    "float64": "oracle, float64",
    "float32": "oracle, float32",
    "pymdp-1.0.4": "pymdp 1.0.4",
    "pymdp-0.0.7.1": "pymdp 0.0.7.1",
}
"""Keys of an entry, and what stands above their column."""


def conformance_table(report: dict[str, Any]) -> str:
    """Largest differences, absolute up to 1 and relative above, each with how many models it is the largest of."""
    lines = [f"| | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for feature, entry in report["features"].items():
        lines.append(f"| {feature} | {' | '.join(cell(entry.get(column)) for column in COLUMNS)} |")
    return "\n".join(lines) + "\n"


def cell(found: dict[str, Any] | None) -> str:
    if not found:
        return "-"
    return f"{max(found['gaps'].values()):.0e} ({found['models'] - found['excluded']})"
