"""``scripts/soak``: a stack under steady load for long, with its memory, descriptors and disk watched."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from nemesis.findings import conclude, draw, end_in_order
from nemesis.herds import HERDS
from nemesis.samples import Samples
from nemesis.scene import Scene
from provenance import provenance

SLOPE_MB_PER_MIN = 1.0
WARM_UP = 0.2
"""The part of a run that nothing is asked of."""
DISK_MIB = 64
"""What the data folder may grow by after it: logs until they are rotated, and the gateway's record of events."""
_SAMPLE_S = 5.0
_KEEPING = {"BELIEFD_CHECKPOINT_S": "30", "BELIEFD_JOURNAL": "2", "BELIEFD_HISTORY": "8"}
"""So little that all of it is written and thrown away again many times."""


def main(
    hours: Annotated[float, typer.Option(min=0.005, help="How long.")] = 1.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was found to this file.")] = None,
    draw_file: Annotated[
        Path | None, typer.Option("--draw", help="Do nothing but write such a file's table to services/README.md.")
    ] = None,
) -> None:
    """Serve steady load, print what it took, and end with 1 where something grows or an answer is wrong."""
    if draw_file is not None:
        draw("soak", soak_table(json.loads(draw_file.read_text())))
        return
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="bd-") as folder, Scene(Path(folder), _KEEPING) as scene:
        found = {**provenance(), **soak(scene, hours * 3600)}
    typer.echo(soak_table(found))
    conclude(found, json_file)


def soak(scene: Scene, seconds: float) -> dict[str, Any]:
    scene.recover()
    pid = scene.stack.supervisord_pid
    assert pid is not None
    samples = Samples(pid, scene.stack.data)
    began_s = time.monotonic()
    while (now_s := time.monotonic()) < began_s + seconds:
        samples.take()
        scene.advance()
        print(f"scripts/soak: {now_s - began_s:.0f} s, {samples.disk_bytes[-1] >> 20} MiB", file=sys.stderr, flush=True)
        time.sleep(max(_SAMPLE_S - (time.monotonic() - now_s), 0.0))
    samples.take()
    scene.end_herds()
    scene.compare()
    return report(scene, samples, began_s + WARM_UP * seconds)


def report(scene: Scene, samples: Samples, from_s: float) -> dict[str, Any]:
    verdicts = [scene.checkers[herd.name].verdict for herd in HERDS]
    violations = [*scene.violations, *(violation for verdict in verdicts for violation in verdict.violations)]
    processes = []
    for series in samples.series.values():
        low, high = series.fds_between(from_s)
        slope = series.slope_mb_per_min(from_s)
        processes.append(
            {
                "name": series.name,
                "rss_mb": series.rss_kb[-1] / 1024,
                "rss_slope_mb_per_min": slope,
                "fds": [low, high],
                "samples": len(series.at_s),
            }
        )
        if slope >= SLOPE_MB_PER_MIN:
            violations.append(f"{series.name} grows by {slope:.2f} MB a minute")
    total = sum(series.slope_mb_per_min(from_s) for series in samples.series.values())
    if total >= SLOPE_MB_PER_MIN:
        violations.append(f"all processes together grow by {total:.2f} MB a minute")
    violations += grown_fds(samples, from_s)
    later = [size for at_s, size in zip(samples.disk_at_s, samples.disk_bytes, strict=True) if at_s >= from_s]
    if max(later) - later[0] > DISK_MIB * 2**20:
        violations.append(f"the data folder grew from {later[0] >> 20} to {max(later) >> 20} MiB")
    return {
        "seconds": samples.disk_at_s[-1] - samples.disk_at_s[0],
        "steps": sum(verdict.steps for verdict in verdicts),
        "agent_steps": sum(verdict.agent_steps for verdict in verdicts),
        "errors": {herd.name: dict(verdict.errors) for herd, verdict in zip(HERDS, verdicts, strict=True)},
        "rss_slope_mb_per_min": total,
        "disk_mib": {"after_warm_up": later[0] / 2**20, "most": max(later) / 2**20, "end": later[-1] / 2**20},
        "processes": processes,
        "violations": violations,
    }


def grown_fds(samples: Samples, from_s: float) -> list[str]:
    """Processes with more descriptors in the last quarter than ever in the first of what is looked at.

    Files of a checkpoint and connections come and go, so the most of each quarter is compared.
    """
    until_s = samples.disk_at_s[-1]
    quarter_s = (until_s - from_s) / 4
    grown = []
    for series in samples.series.values():
        pairs = list(zip(series.at_s, series.fds, strict=True))
        first = [fds for at_s, fds in pairs if from_s <= at_s < from_s + quarter_s]
        last = [fds for at_s, fds in pairs if at_s >= until_s - quarter_s]
        if first and last and max(last) > max(first):
            grown.append(f"{series.name} has up to {max(last)} descriptors, at first up to {max(first)}")
    return grown


def soak_table(found: dict[str, Any]) -> str:
    lines = ["| process | resident | slope | descriptors |", "|---" * 4 + "|"]
    for process in found["processes"]:
        low, high = process["fds"]
        lines.append(
            f"| {process['name']} | {process['rss_mb']:.0f} MB | {process['rss_slope_mb_per_min']:+.2f} MB/min "
            f"| {low} to {high} |"
        )
    disk = found["disk_mib"]
    lines.append(
        f"\n{found['seconds']:.0f} s, {found['steps']:,} steps, {found['agent_steps']:,} agent-steps. Data folder: "
        f"{disk['after_warm_up']:.0f} MiB after warm-up, {disk['most']:.0f} at most, {disk['end']:.0f} in the end."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
