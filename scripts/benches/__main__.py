"""``scripts/bench``: beliefd measured, alone and beside other programs, with every raw number.

What is compared is done in turns within one run, so that ratios do not depend on what else the machine does.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import beliefd
from beliefd.client import Client
from beliefd_service.stack import Stack
from benches.analysis import analysis
from benches.clients import one_agent_clients
from benches.comparison import compare
from benches.drawing import draw
from benches.durability import durability
from benches.environments import versions_of
from benches.fairness import fairness
from benches.lockstep import lockstep
from benches.peers import PEERS
from benches.profile import profile
from benches.roof import roof
from benches.roundtrip import asleep, round_trips
from benches.saturation import saturation
from benches.scaling import size_scaling, workers_scaling
from benches.timing import rounded, without_raw
from benches.transports import transports
from benches.workers import measure_workers
from benches.works import GRID, GRID_CROWD, WORKS
from provenance import provenance

WORKERS = 2
FLIGHTS = ((WORKS["tmaze-10000"], 2), (WORKS["tmaze-100000"], 2), (GRID, 4))
SCALINGS = ((GRID, 4), (GRID_CROWD, 2))
"""Works, and how many populations of each are in flight."""
CLIENTS = ((50, 1), (150, 1), (150, 150), (1_000, 1))
"""How many clients with an agent each, in how many populations."""
KEPT = ("tmaze-1000", "tmaze-10000", "tmaze-100000")
"""Works that are measured in both durabilities."""
TRANSPORTED = ("explorer-50", "tmaze-10000", "tmaze-100000")
"""Works of small, middling and large messages, over the Unix socket and over TCP."""
ROOFS = (5, 10)
"""Sides of grids whose sensor is dense."""
SECTIONS = (
    "works",
    "flight",
    "one-agent",
    "one-agent-asleep",
    "clients",
    "transports",
    "fairness",
    "scaling",
    "sizes",
    "roof",
    "profile",
    "analysis",
    "workers",
    "durability",
)

_OF_A_RUN = ("machine", "commit")
"""What is said of each run: a file may have figures of several."""
SLOW = ("one-agent-asleep", "workers")
"""Sections that a quick run leaves out unless they are asked for: they start workers of their own."""


def main(
    quick: Annotated[bool, typer.Option(help="Fewer repetitions: under a minute once all is set up.")] = False,
    peers: Annotated[str, typer.Option(help=f"Whom to compare with: any of {','.join(PEERS)}.")] = "",
    works: Annotated[str, typer.Option(help=f"Any of {','.join(WORKS)}. Default: all.")] = "",
    sections: Annotated[str, typer.Option(help=f"Any of {','.join(SECTIONS)}. Default: all.")] = "",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures to this file, after every section.")
    ] = None,
    update: Annotated[
        bool, typer.Option(help="Keep what that file has of sections and peers that are not measured now.")
    ] = False,
    draw_file: Annotated[
        Path | None, typer.Option("--draw", help="Measure nothing: draw this file's figures into docs and the README.")
    ] = None,
) -> None:
    """Measure, and print the figures as JSON without the raw numbers."""
    if draw_file is not None:
        draw(json.loads(draw_file.read_text()))
        return
    old = json.loads(json_file.read_text()) if update and json_file is not None and json_file.exists() else None

    def whole(report: dict[str, Any]) -> dict[str, Any]:
        return report if old is None else updated(old, report)

    def keep(report: dict[str, Any]) -> None:
        if json_file is not None:
            json_file.write_text(json.dumps(rounded(whole(report)), separators=(",", ":")) + "\n")

    report = measured(
        chosen(works, list(WORKS), "--works") or list(WORKS),
        chosen(peers, list(PEERS), "--peers"),
        chosen(sections, list(SECTIONS), "--sections") or [name for name in SECTIONS if not (quick and name in SLOW)],
        quick,
        keep,
    )
    typer.echo(json.dumps(without_raw(report), indent=2))
    if failed := failed_checks(whole(report)):
        typer.echo(f"actions differ from a peer's: {json.dumps(failed)}", err=True)
        raise typer.Exit(1)


def measured(
    works: list[str], peers: list[str], sections: list[str], quick: bool, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The whole report. Its keys `works`, `flight` and so on are those of `sections`.

    `keep` is given the report after every section and peer, with what has been measured by then: the next may fail.
    """
    report: dict[str, Any] = {**provenance(), "workers": WORKERS, "peers": {}, "peer_versions": {}}
    run: dict[str, Any] = {name: report[name] for name in _OF_A_RUN}
    run |= {"quick": quick, "works": works, "sections": [], "peers": []}
    report["runs"] = [run]

    def done(kind: str, name: str) -> None:
        run[kind].append(name)
        keep(report)

    with (
        tempfile.TemporaryDirectory(prefix="bd-") as folder,
        Stack(Path(folder), workers=WORKERS) as stack,
        beliefd.connect(stack.local_endpoint) as client,
    ):
        for name, measure in own_sections(client, stack, works, quick).items():
            if name in sections:
                report[name] = said(name, measure)
                done("sections", name)
        for name in peers:
            report["peers"][name] = said(f"peer {name}", partial(compare, client, name, works, quick))
            if environment := PEERS[name].environment:
                report["peer_versions"][name] = versions_of(environment)
            done("peers", name)
    if "workers" in sections:
        report["worker_cost"] = said("workers", partial(measure_workers, quick))
        done("sections", "workers")
    return report


def own_sections(client: Client, stack: Stack, works: list[str], quick: bool) -> dict[str, Callable[[], Any]]:
    """What is measured of beliefd itself, by name."""
    short_s, long_s = (0.5, 1.0) if quick else (3.0, 10.0)
    sizes = [1_000, 10_000, 100_000] if quick else [1_000, 10_000, 100_000, 1_000_000]
    return {
        "works": lambda: {name: lockstep(client, WORKS[name], WORKERS, short_s, not quick) for name in works},
        "flight": lambda: {
            f"{work.name}-{populations}": saturation(client, work, WORKERS, populations, long_s)
            for work, populations in FLIGHTS
        },
        "one-agent": lambda: round_trips(client, stack, 500 if quick else 20_000),
        "one-agent-asleep": lambda: asleep(500 if quick else 10_000),
        "clients": lambda: [
            one_agent_clients(client, stack, clients, short_s, populations)
            for clients, populations in (CLIENTS[:2] if quick else CLIENTS)
        ],
        "transports": lambda: transports(stack, [WORKS[name] for name in TRANSPORTED], short_s),
        "fairness": lambda: fairness(client, stack, 1_000_000, 2.0 if quick else 20.0),
        "scaling": lambda: workers_scaling(client, SCALINGS[:1] if quick else SCALINGS, long_s),
        "sizes": lambda: size_scaling(client, stack, sizes, short_s),
        "roof": lambda: {f"grid{size}-dense": roof(size, short_s) for size in ROOFS},
        "profile": lambda: profile(short_s),
        "analysis": lambda: analysis(client, stack, quick),
        "durability": lambda: durability(client, [WORKS[name] for name in KEPT], 500 if quick else 10_000, short_s),
    }


def updated(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """An earlier report with what was measured anew, work by work. `runs` says what was measured when."""
    peers = dict(old["peers"])
    for peer, entries in new["peers"].items():
        by_work = {entry["work"]: entry for entry in [*peers.get(peer, []), *entries]}
        peers[peer] = sorted(by_work.values(), key=lambda entry: list(WORKS).index(entry["work"]))
    # Who wrote a run down without its machine had one for all that the file has.
    runs = [{"machine": old["machine"], **run} for run in old["runs"]]
    merged = {**old, **new, "peers": peers, "runs": [*runs, *new["runs"]]}
    merged["peer_versions"] = {**old["peer_versions"], **new["peer_versions"]}
    if "works" in old and "works" in new:
        works = {**old["works"], **new["works"]}
        merged["works"] = {name: works[name] for name in WORKS if name in works}
    return merged


def failed_checks(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries whose actions differ from a peer's, or too few of which could be compared."""
    entries = [{"peer": peer, **entry} for peer, found in report["peers"].items() for entry in found]
    return [without_raw(entry) for entry in entries if not entry.get("check", {"passed": True})["passed"]]


def chosen(text: str, known: list[str], option: str) -> list[str]:
    """The names in a list with commas, in the order of `known`.

    Raises
    ------
    typer.BadParameter
        For a name that is not known.
    """
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint=option)
    return sorted(set(names), key=known.index)


def said(what: str, measure: Callable[[], Any]) -> Any:
    """What `measure` gives; a line on standard error says what is going on."""
    started_s = time.monotonic()
    print(f"scripts/bench: {what} ...", file=sys.stderr, flush=True)
    result = measure()
    print(f"scripts/bench: {what}: {time.monotonic() - started_s:.1f} s", file=sys.stderr, flush=True)
    return result


if __name__ == "__main__":
    typer.run(main)
