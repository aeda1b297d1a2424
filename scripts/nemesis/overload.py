"""``scripts/overload``: ten times what a stack can do is asked of it; and a client that ignores its credits.

Two clients first ask as much as is answered: that is the peak. Then they ask ten times as often for a minute, with
deadlines; what is answered in time is the goodput. Requests are of agents that search a tree, so that the clients' own
work is small beside the workers'. The agents begin anew each time, for what a search takes depends on what they have
seen; and the peak is that of the agents of the overload, before it and after it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

import beliefd
from beliefd.worlds import tmaze
from beliefd_service.stack import CHECKOUT, Stack
from nemesis.findings import conclude, draw, end_in_order
from nemesis.loader import Demand, Outcome
from nemesis.samples import Samples
from provenance import provenance

WORKERS = 2
CLIENTS = 2
TIMES = 10
LEAST_GOODPUT = 0.9
SLOPE_MB_PER_MIN = 1.0
_SIZE = 1_200
_IN_FLIGHT = 8
"""Requests of a client at the peak: more than keeps two workers busy."""
_PEAK_GROUPS = 64
"""How many groups of a client's agents take turns at the peak."""
_TIMEOUT_S = 2.0
_PATIENCE_S = 60.0
_PEAK_S = 10.0
_WARM_UP_S = 15.0
_SAMPLE_S = 3.0
_LOOK_S = 1.0


def main(
    seconds: Annotated[float, typer.Option(min=20, help="How long the overload lasts.")] = 60.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was found to this file.")] = None,
    draw_file: Annotated[
        Path | None, typer.Option("--draw", help="Do nothing but write such a file's table to services/README.md.")
    ] = None,
) -> None:
    """Ask too much, print what came of it, and end with 1 where goodput fell or memory grew."""
    if draw_file is not None:
        draw("overload", overload_table(json.loads(draw_file.read_text())))
        return
    end_in_order()
    with (
        tempfile.TemporaryDirectory(prefix="bd-") as folder,
        Stack(Path(folder), workers=WORKERS) as stack,
    ):
        found = {**provenance(), **measured(stack, seconds)}
    typer.echo(overload_table(found))
    conclude(found, json_file)


def measured(stack: Stack, seconds: float) -> dict[str, Any]:
    model = tmaze(planner="sophisticated", policy_len=3)
    with beliefd.connect(stack.endpoint) as client:
        client.create_population("sample", model, agents=CLIENTS * _PEAK_GROUPS * _SIZE)
        client.create_population("rogue", tmaze(), agents=1)
        groups = int(TIMES * rate(stack, "sample", _PEAK_GROUPS, _SAMPLE_S) * _TIMEOUT_S / CLIENTS) + 1
        client.create_population("crowd", model, agents=CLIENTS * groups * _SIZE)
        before = rate(stack, "crowd", groups, _PEAK_S)
        flood, samples = flooded(stack, groups, TIMES * before, seconds)
        after = rate(stack, "crowd", groups, _PEAK_S)
        with_rogue, rogue = beside_rogue(stack, groups, 2 * _PEAK_S)
        again = rate(stack, "crowd", groups, _PEAK_S)
    peak = max(before, after)
    from_s = samples.disk_at_s[0] + _WARM_UP_S
    rss_slopes: dict[str, float] = {}
    own_slopes: dict[str, float] = {}
    for series in samples.series.values():
        for slopes, own in ((rss_slopes, False), (own_slopes, True)):
            slopes[series.name] = slopes.get(series.name, 0.0) + series.slope_mb_per_min(from_s, own)
    goodput = sum(outcome.served for outcome in flood) / seconds
    found = {
        "agents_per_request": _SIZE,
        "timeout_s": _TIMEOUT_S,
        "seconds": seconds,
        "peak_per_s": peak,
        "demand_per_s": sum(outcome.due for outcome in flood) / seconds,
        "goodput_per_s": goodput,
        "goodput_of_peak": goodput / peak,
        "unsent": sum(outcome.unsent for outcome in flood),
        "errors": total_errors(flood),
        "unknown": sum(outcome.unknown for outcome in flood),
        "clients_cpus": sum(outcome.cpu_s for outcome in flood) / seconds,
        "rss_slope_mb_per_min": rss_slopes,
        "own_slope_mb_per_min": own_slopes,
        "rogue": {**rogue, "others_per_s": with_rogue, "others_of_peak": with_rogue / max(after, again)},
    }
    return {**found, "violations": violations(found)}


def violations(found: dict[str, Any]) -> list[str]:
    broken = []
    if found["goodput_of_peak"] < LEAST_GOODPUT:
        broken.append(f"goodput is {found['goodput_of_peak']:.0%} of the peak")
    if strange := set(found["errors"]) - {"deadline_exceeded"}:
        broken.append(f"requests ended in {', '.join(sorted(strange))}")
    if (total := sum(found["own_slope_mb_per_min"].values())) >= SLOPE_MB_PER_MIN:
        broken.append(f"the stack's processes grow by {total:.2f} MB a minute")
    rogue = found["rogue"]
    if rogue["others_of_peak"] < LEAST_GOODPUT:
        broken.append(f"beside a rogue client the others keep {rogue['others_of_peak']:.0%}")
    if not rogue["busy"] or rogue["silent_s"] < 5:
        broken.append("the rogue client was not told that it is too much, or not cut off")
    return broken


def rate(stack: Stack, population: str, groups: int, seconds: float) -> float:
    """Requests per second that are answered when a few are in flight, of a population with so many groups a client."""
    loaders = started(demand(stack, population, n, groups, 0, _PATIENCE_S, seconds) for n in range(CLIENTS))
    return sum(ended(loader).served for loader in loaders) / seconds


def demand(
    stack: Stack, population: str, n: int, groups: int, per_s: float, timeout_s: float, seconds: float
) -> Demand:
    """What client `n` asks for: so much a second of all its groups, or the peak of some of them where that is 0."""
    return Demand(
        endpoint=stack.endpoint,
        population=population,
        first=n * groups * _SIZE,
        groups=groups if per_s else min(groups, _PEAK_GROUPS),
        size=_SIZE,
        in_flight=_IN_FLIGHT,
        rate=per_s,
        timeout_s=timeout_s,
        seconds=seconds,
    )


def flooded(stack: Stack, groups: int, per_s: float, seconds: float) -> tuple[list[Outcome], Samples]:
    """The overload, once every group has made a first step."""
    samples = Samples(parent_of_all(stack), stack.data)
    loaders = started(demand(stack, "crowd", n, groups, per_s / CLIENTS, _TIMEOUT_S, seconds) for n in range(CLIENTS))
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        samples.take()
        time.sleep(_LOOK_S)
    return [ended(loader) for loader in loaders], samples


def beside_rogue(stack: Stack, groups: int, seconds: float) -> tuple[float, dict[str, Any]]:
    """What the others get while a rogue client is at it, and what it was told."""
    rogue = subprocess.Popen(
        [sys.executable, "-m", "nemesis.rogue", stack.endpoint, "rogue", str(seconds)], stdout=subprocess.PIPE
    )
    others_per_s = rate(stack, "crowd", groups, seconds)
    told, _ = rogue.communicate()
    return others_per_s, json.loads(told)


def started(demands: Iterable[Demand]) -> list[subprocess.Popen[bytes]]:
    """Loaders that were all told to go at once, each ready for it."""
    loaders = []
    for demand in demands:
        loader = subprocess.Popen(
            [sys.executable, "-m", "nemesis.loader"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT
        )
        tell(loader, msgspec.json.encode(demand))
        loaders.append(loader)
    for loader in loaders:
        assert loader.stdout is not None
        loader.stdout.readline()
    for loader in loaders:
        tell(loader, b"go")
    return loaders


def tell(loader: subprocess.Popen[bytes], line: bytes) -> None:
    assert loader.stdin is not None
    loader.stdin.write(line + b"\n")
    loader.stdin.flush()


def ended(loader: subprocess.Popen[bytes]) -> Outcome:
    told, _ = loader.communicate()
    return msgspec.json.decode(told, type=Outcome)


def parent_of_all(stack: Stack) -> int:
    pid = stack.supervisord_pid
    assert pid is not None
    return pid


def total_errors(outcomes: list[Outcome]) -> dict[str, int]:
    codes = sorted({code for outcome in outcomes for code in outcome.errors})
    return {code: sum(outcome.errors.get(code, 0) for outcome in outcomes) for code in codes}


def overload_table(found: dict[str, Any]) -> str:
    rogue = found["rogue"]
    errors = ", ".join(f"{count:,} {code}" for code, count in found["errors"].items()) or "none"
    return "\n".join(
        [
            "| | |",
            "|---|---|",
            f"| peak | {found['peak_per_s']:.1f} requests/s of {found['agents_per_request']} agents |",
            f"| demand, for {found['seconds']:.0f} s, with {found['timeout_s']:g} s to answer "
            f"| {found['demand_per_s']:.0f} requests/s |",
            f"| answered in time | {found['goodput_per_s']:.1f} requests/s, {found['goodput_of_peak']:.0%} of the peak "
            "|",
            f"| the others | {errors}; {found['unsent']:,} found all their agents in flight; "
            f"of {found['unknown']:,} it was open whether they were made |",
            f"| processor time of the clients | {found['clients_cpus']:.2f} of {WORKERS} CPUs |",
            f"| memory of all processes | {sum(found['own_slope_mb_per_min'].values()):+.2f} MB/min; "
            f"{sum(found['rss_slope_mb_per_min'].values()):+.2f} with the pages of the agents' files that workers "
            "touched for the first time |",
            f"| a client that ignores its credits | {rogue['sent']:,} requests, told {rogue['busy']:,} times that it "
            f"is too much, then not heard for {rogue['silent_s']:.1f} s |",
            f"| the others meanwhile | {rogue['others_of_peak']:.0%} of their rate |\n",
        ]
    )


if __name__ == "__main__":
    typer.run(main)
