"""Tables in services/README.md, written anew from files of runs."""

from __future__ import annotations

from beliefd_service.stack import CHECKOUT
from benches.readme import rewritten


def draw(part: str, table: str) -> None:
    """Put a table between the comments of its name."""
    path = CHECKOUT / "services" / "README.md"
    path.write_text(rewritten(path.read_text(), {part: table}))
