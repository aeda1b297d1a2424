"""What the broker's core asks its shell to do. The core itself touches no socket, no file and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from beliefd_service.events import AnyEvent
from beliefd_service.process import ProcessIdentity


@dataclass(frozen=True, slots=True)
class SendClient:
    """Send `frames` to the client at `route`."""

    route: bytes
    frames: Sequence[Any]


@dataclass(frozen=True, slots=True)
class SendWorker:
    """Send `frames` to the worker at `route`."""

    route: bytes
    frames: Sequence[Any]


@dataclass(frozen=True, slots=True)
class WatchWorker:
    """Report the death of this process as `Core.worker_died(incarnation)`; at once where it is dead already."""

    incarnation: bytes
    identity: ProcessIdentity


@dataclass(frozen=True, slots=True)
class KillWorker:
    """Send SIGKILL to this watched process. Its death is reported like any other."""

    incarnation: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class MarkQuarantine:
    """Keep on disk that the population is quarantined, or no longer is, so that a restart knows."""

    uid: str
    quarantined: bool


@dataclass(frozen=True, slots=True)
class Emit:
    """Append to the event ring."""

    event: AnyEvent


@dataclass(frozen=True, slots=True)
class Log:
    """Write a line to the log."""

    level: str
    event: str
    fields: dict[str, Any]


Action = SendClient | SendWorker | WatchWorker | KillWorker | MarkQuarantine | Emit | Log
