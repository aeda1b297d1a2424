"""The environments of the programs that beliefd is measured against, made when they are first needed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

_PACKAGES = {
    "pymdp-1.0.4": ("inferactively-pymdp==1.0.4", "msgspec", "pyzmq"),
    "pymdp-0.0.7.1": ("inferactively-pymdp==0.0.7.1",),
    "ray-2.60": ("ray==2.60.*", "numpy"),
}
"""By name. The first is the one that ``scripts/references`` makes, with what that needs too."""


_TOLD = {"inferactively-pymdp", "jax", "jaxlib", "numpy", "ray", "scipy"}
"""Packages whose versions stand beside what was measured."""


def python_of(name: str) -> Path:
    """The interpreter of an environment, of the same build as this one.

    Making it needs the network, and for pymdp 1.0.4 about a gigabyte.
    """
    folder = folder_of(name)
    python = folder / "bin" / "python"
    complete = folder / ".complete"
    if not (complete.exists() and complete.read_text() == sys.version):
        print(f"scripts/bench: making an environment in {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_PACKAGES[name]]
        subprocess.run(install, check=True)
        complete.write_text(sys.version)
    return python


def versions_of(name: str) -> dict[str, str]:
    """Versions of the packages that count in an environment that has been made."""
    places = [str(path) for path in folder_of(name).glob("lib/python*/site-packages")]
    found = {package.name.lower(): package.version for package in metadata.distributions(path=places)}
    return {package: found[package] for package in sorted(_TOLD) if package in found}


def folder_of(name: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "beliefd" / name
