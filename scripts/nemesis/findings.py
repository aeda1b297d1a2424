"""What a run found: its file, the end of its command, and its table in services/README.md."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import typer

from beliefd_service.stack import CHECKOUT
from benches.readme import rewritten


def draw(part: str, table: str) -> None:
    """Put a table between the comments of its name."""
    path = CHECKOUT / "services" / "README.md"
    path.write_text(rewritten(path.read_text(), {part: table}))


def end_in_order() -> None:
    """Have SIGTERM end this process as an exception does, so that the stack that it started is stopped."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def conclude(found: dict[str, Any], json_file: Path | None) -> None:
    """Write what was found, tell of each violation, and end with 1 where there is one."""
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1) + "\n")
    for violation in found["violations"]:
        typer.echo(f"violated: {violation}", err=True)
    if found["violations"]:
        raise typer.Exit(1)
