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
from beliefd_service.stack import Stack
from benches.comparison import compare
from benches.peers import PEERS
from benches.timing import without_raw
from benches.works import WORKS
from provenance import provenance

WORKERS = 2


def main(
    quick: Annotated[bool, typer.Option(help="Fewer repetitions: under a minute once all is set up.")] = False,
    peers: Annotated[str, typer.Option(help=f"Whom to compare with: any of {','.join(PEERS)}.")] = "",
    works: Annotated[str, typer.Option(help=f"Any of {','.join(WORKS)}. Default: all.")] = "",
    sections: Annotated[str, typer.Option(help="What to measure of beliefd itself. Default: all; none for none.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Measure, and print the figures as JSON without the raw numbers."""
    wanted_works = chosen(works, list(WORKS), "--works") or list(WORKS)
    wanted_peers = chosen(peers, list(PEERS), "--peers")
    report: dict[str, Any] = {**provenance(), "workers": WORKERS, "quick": quick, "peers": {}}
    with (
        tempfile.TemporaryDirectory(prefix="bd-") as folder,
        Stack(Path(folder), workers=WORKERS) as stack,
        beliefd.connect(stack.endpoint) as client,
    ):
        for name in wanted_peers:
            report["peers"][name] = said(f"peer {name}", partial(compare, client, name, wanted_works, quick))
    typer.echo(json.dumps(without_raw(report), indent=2))
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    failed = [e for entries in report["peers"].values() for e in entries if not e.get("check", {}).get("passed", True)]
    if failed:
        typer.echo(f"actions differ from a peer's: {json.dumps(without_raw(failed))}", err=True)
        raise typer.Exit(1)


def chosen(text: str, known: list[str], option: str) -> list[str]:
    """The names in a list with commas.

    Raises
    ------
    typer.BadParameter
        For a name that is not known.
    """
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint=option)
    return names


def said(what: str, measure: Callable[[], Any]) -> Any:
    """What `measure` gives; a line on standard error says what is going on."""
    started_s = time.monotonic()
    print(f"scripts/bench: {what} ...", file=sys.stderr, flush=True)
    result = measure()
    print(f"scripts/bench: {what}: {time.monotonic() - started_s:.1f} s", file=sys.stderr, flush=True)
    return result


if __name__ == "__main__":
    typer.run(main)
