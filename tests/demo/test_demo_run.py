from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
STOP_S = 60.0

pytestmark = pytest.mark.system


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes whose environment names `folder`: all that a demonstration starts inherit it."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                if f"TMPDIR={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demonstration keeps its stack; afterwards there is nothing in it, and nothing runs in it.

    Not tmp_path: the name of a socket in it would be longer than the system takes.
    """
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        yield Path(name)
        deadline_s = time.monotonic() + STOP_S
        while (left := left_behind(Path(name))) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert left == []
        assert list(Path(name).glob("beliefd-demo-*")) == []


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(CHECKOUT / "scripts/demo"), "--quick", *options],
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_quick_run_reaches_every_figure(folder: Path) -> None:
    with start(folder, "--workers", "2") as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "kill -9" in output
    assert "NO" not in output


@pytest.mark.parametrize("moment", ["starting supervisord", "lakes: beliefd ...", "The stack stays up"])
def test_an_interrupt_at_any_moment_leaves_nothing(folder: Path, moment: str) -> None:
    with start(folder, "--serve") as process:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            if moment in line:
                process.send_signal(signal.SIGINT)
                break
        process.communicate(timeout=STOP_S)
    assert process.returncode == 130, "".join(printed)
