"""``scripts/demo``: starts a stack of its own, shows what it does, measures it, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

import beliefd
from beliefd.engine import jit
from beliefd_proto.errors import BeliefdError
from beliefd_service.stack import Stack
from demos.lake import run_lake
from demos.maze import run_maze
from demos.noisy_lake import run_noisy_lake
from demos.plots import save_plots
from demos.results import Results
from demos.screen import Screen
from demos.sizes import FULL, QUICK, Sizes
from demos.table import reached, table
from demos.threads import run_threads
from provenance import provenance

_CHECKOUT = Path(__file__).resolve().parents[2]
_EXIT_MISSED = 1
_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo(
    quick: Annotated[bool, typer.Option(help="Fewer trials, environments and steps.")] = False,
    serve: Annotated[bool, typer.Option(help="Leave the stack up at the end, until Ctrl-C.")] = False,
    docs: Annotated[bool, typer.Option(help="Write the plots, and the figures, into docs/ too.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Worker processes. Default: the CPUs.")] = None,
) -> None:
    """Agents in a T-maze and on Gymnasium's frozen lake, served by a stack in a temporary folder."""
    screen = Screen()
    try:
        with _interruptible():
            passed = _run(QUICK if quick else FULL, workers, serve, docs, screen)
    except KeyboardInterrupt:
        screen.say("\nStopped; nothing is left running.")
        raise typer.Exit(_EXIT_INTERRUPTED) from None
    raise typer.Exit(0 if passed else _EXIT_MISSED)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn the first signal that asks to end into a KeyboardInterrupt, and ignore all later ones.

    What comes then is the orderly end, and a second Ctrl-C would cut it short and leave processes behind.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in _SIGNALS:
        # What was started under nohup keeps ignoring SIGHUP. SIGINT is taken even where a shell's background job was
        # started ignoring it: it is the way to end --serve.
        if each != signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, interrupt)
    yield


def _run(sizes: Sizes, workers: int | None, serve: bool, docs: bool, screen: Screen) -> bool:
    """Whether everything worked and every figure was reached."""
    _prepare_kernels(screen)
    with tempfile.TemporaryDirectory(prefix="beliefd-demo-") as folder:
        stack = Stack(Path(folder), workers)
        try:
            with screen.track(f"starting supervisord, a broker, a gateway and {stack.workers} workers"):
                stack.start()
            if serve:
                screen.say(f"The page: http://{stack.http}/")
            passed = _show(stack, sizes, docs, screen)
            if serve:
                screen.say(f"\nThe stack stays up: http://{stack.http}/ and {stack.endpoint}. Ctrl-C stops all of it.")
                signal.pause()
            return passed
        except Exception as error:
            if not isinstance(error, BeliefdError):
                screen.console.print_exception()
            text, logs = f"{type(error).__name__}: {error}", stack.log_tails()
            screen.console.print(text if logs in text else f"{text}\n\n{logs}", markup=False)
            return False
        finally:
            with screen.track("stopping the stack"):
                stack.stop()


def _prepare_kernels(screen: Screen) -> None:
    """Compile here what every worker will load from the cache, where it can be said what takes so long."""
    with screen.track("loading the kernels (compiled once, in about a minute)"):
        jit.warm()


def _show(stack: Stack, sizes: Sizes, docs: bool, screen: Screen) -> bool:
    """The three worlds, the plots and the table."""
    with beliefd.connect(stack.endpoint) as client:
        screen.heading("1. A T-maze: is a look at the cue worth a step?")
        maze = run_maze(client, sizes, screen)
        threads = run_threads(maze.recording, sizes, screen)
        screen.heading("2. Gymnasium's FrozenLake-v1: slippery ice, seen clearly")
        lake = run_lake(client, sizes, screen)
        screen.heading("3. The lake seen through noise, and a worker that dies on the way")
        noisy = run_noisy_lake(client, stack, sizes, screen)
    results = Results(stack.workers, maze, threads, lake, noisy)
    screen.heading("Plots")
    for path in save_plots(results, [_CHECKOUT / "var/demo", *([_CHECKOUT / "docs"] if docs else [])]):
        screen.console.print(f"  {path}", soft_wrap=True)
    if docs:
        figures = [asdict(figure) for figure in results.figures()]
        written = {**provenance(), "workers": stack.workers, "figures": figures}
        (_CHECKOUT / "docs/demo.json").write_text(json.dumps(written, indent=2) + "\n")
    screen.say("")
    screen.console.print(table(results.figures()))
    return reached(results.figures())


if __name__ == "__main__":
    typer.run(demo)
