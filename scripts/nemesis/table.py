"""The table of a run."""

from __future__ import annotations

from typing import Any


def chaos_table(found: dict[str, Any]) -> str:
    """A row per kind of fault: how often, and the longest time in which a client got no answer."""
    lines = ["| fault | times | no answer for: median | longest | allowed |", "|---|---|---|---|---|"]
    for name, kind in found["kinds"].items():
        allowed = f"{kind['allowed_s']:g} s" + (" after its end" if kind["and_its_own_time"] else "")
        lines.append(
            f"| {name} | {kind['count']} | {kind['silence_median_s']:.2f} s | {kind['silence_max_s']:.2f} s "
            f"| {allowed} |"
        )
    return "\n".join(lines) + "\n"


def herds_table(found: dict[str, Any]) -> str:
    lines = ["| client | lives | steps | agent-steps | latest, against its deadline | errors |", "|---" * 6 + "|"]
    for name, herd in found["herds"].items():
        errors = ", ".join(f"{count} {code}" for code, count in herd["errors"].items()) or "none"
        lines.append(
            f"| {name} | {herd['lives']} | {herd['steps']:,} | {herd['agent_steps']:,} | {herd['latest_s']:+.3f} s "
            f"| {errors} |"
        )
    return "\n".join(lines) + "\n"
