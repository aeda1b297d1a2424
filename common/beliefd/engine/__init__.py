"""The science of beliefd: layout, store and kernels, and `Engine`, which runs them in this process.

`Engine` is imported when it is first asked for, so that whoever needs only the layout or the manifest does not load
numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beliefd.engine.engine import Engine

__all__ = ["Engine"]


def __getattr__(name: str) -> Any:
    if name == "Engine":
        from beliefd.engine.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
