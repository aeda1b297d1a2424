"""``scripts/chaos``: a stack attacked, and everything that its clients were told checked."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Annotated

import typer

from nemesis.faults import KINDS
from nemesis.findings import conclude, draw, end_in_order
from nemesis.run import run
from nemesis.table import chaos_table, herds_table
from provenance import provenance


def main(
    faults: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    seed: Annotated[int | None, typer.Option(help="Of kinds, victims and times; the same ones again for one.")] = None,
    kinds: Annotated[
        str, typer.Option(help=f"Any of: {', '.join(kind.name for kind in KINDS)}. With semicolons.")
    ] = "",
    patient: Annotated[bool, typer.Option(help="Let clients wait as long as it takes: for a busy machine.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was found to this file.")] = None,
    draw_file: Annotated[
        Path | None, typer.Option("--draw", help="Do nothing but write such a file's table to services/README.md.")
    ] = None,
) -> None:
    """Attack a stack of its own, print a table, and end with 1 where a promise was broken."""
    if draw_file is not None:
        draw("chaos", chaos_table(json.loads(draw_file.read_text())))
        return
    seed = secrets.randbelow(2**32) if seed is None else seed
    chosen = [name.strip() for name in kinds.split(";") if name.strip()]
    for name in chosen:
        if name not in {kind.name for kind in KINDS}:
            raise typer.BadParameter(f"{name!r} is not one of them", param_hint="--kinds")
    end_in_order()
    found = {**provenance(), **run(seed, faults, chosen, patient)}
    if not found["mounts"]:
        typer.echo("without root there is no file system to fill and to lock: those faults were left out\n")
    typer.echo(chaos_table(found))
    typer.echo(herds_table(found))
    typer.echo(
        f"seed {seed}: {found['faults']} faults in {found['seconds']:.0f} s, {found['killed_in_their_first_second']} "
        f"kills of a process in its first second, {len(found['violations'])} violations"
    )
    conclude(found, json_file)


if __name__ == "__main__":
    typer.run(main)
