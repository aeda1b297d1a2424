"""What the user sees while it happens: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Advance = Callable[[int], None]
"""Called with how many more parts are done."""


class Screen:
    """Where a demonstration says what it does."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)

    def say(self, text: str) -> None:
        self.console.print(text)

    def heading(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/bold]")

    @contextmanager
    def track(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """Show that something is going on; call what this yields as its `total` parts get done."""
        if not self.console.is_terminal:
            self.console.print(f"{title} ...")
            start_s = time.monotonic()
            yield lambda parts: None
            self.console.print(f"{title}: {time.monotonic() - start_s:.1f} s")
            return
        columns = [SpinnerColumn(finished_text=" "), TextColumn("{task.description}"), BarColumn()]
        counted = [MofNCompleteColumn()] if total is not None else []
        with Progress(*columns, *counted, TimeElapsedColumn(), console=self.console) as progress:
            task = progress.add_task(title, total=total)
            yield lambda parts: progress.advance(task, parts)
            if total is None:
                progress.update(task, total=1, completed=1)
