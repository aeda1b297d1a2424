"""``scripts/conformance``: how far the kernels are from the oracle and from both generations of pymdp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benches.drawing import CHECKOUT
from benches.readme import rewritten
from conforming.features import FEATURES
from conforming.report import PEERS, compared
from conforming.table import conformance_table


def main(
    models: Annotated[int, typer.Option(help="Random models per feature and column; half of them are sharp.")] = 200,
    features: Annotated[str, typer.Option(help=f"Any of: {'; '.join(FEATURES)}. With semicolons. Default: all.")] = "",
    peers: Annotated[str, typer.Option(help=f"Any of {','.join(PEERS)}; none by default.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was found to this file.")] = None,
    update: Annotated[bool, typer.Option(help="Keep what that file has of columns that are not done now.")] = False,
    draw_file: Annotated[Path | None, typer.Option("--draw", help="Compare nothing: write the table anew.")] = None,
) -> None:
    """Compare, and print the table."""
    if draw_file is not None:
        draw(json.loads(draw_file.read_text()))
        return
    chosen = [name.strip() for name in features.split(";") if name.strip()] or list(FEATURES)
    report = compared(chosen, [name for name in peers.split(",") if name], models)
    if update and json_file is not None and json_file.exists():
        old = json.loads(json_file.read_text())
        report["features"] = {
            name: old["features"].get(name, {}) | report["features"].get(name, {})
            for name in FEATURES
            if name in old["features"] or name in report["features"]
        }
        report["peer_versions"] = old["peer_versions"] | report["peer_versions"]
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    typer.echo(conformance_table(report))


def draw(report: dict[str, Any]) -> None:
    path = CHECKOUT / "common" / "README.md"
    path.write_text(rewritten(path.read_text(), {"conformance": conformance_table(report)}))


if __name__ == "__main__":
    typer.run(main)
