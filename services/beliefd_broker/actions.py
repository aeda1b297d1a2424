"""What the broker's core asks its shell to do. The core itself touches no socket, no file and no clock.

One or two are made for every message: structs of msgspec, which cost a quarter of frozen data classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from beliefd_service.events import AnyEvent
from beliefd_service.process import ProcessIdentity


class SendClient(msgspec.Struct, frozen=True, gc=False):
    """Send `frames` to the client at `route`."""

    route: bytes
    frames: Sequence[Any]


class SendWorker(msgspec.Struct, frozen=True, gc=False):
    """Send `frames` to the worker at `route`."""

    route: bytes
    frames: Sequence[Any]


class ResetTally(msgspec.Struct, frozen=True, gc=False):
    """Begin the count of this number anew, before what is sent after this."""

    number: int


class WatchWorker(msgspec.Struct, frozen=True, gc=False):
    """Report the death of this process as `Core.worker_died(incarnation)`; at once where it is dead already."""

    incarnation: bytes
    identity: ProcessIdentity


class KillWorker(msgspec.Struct, frozen=True, gc=False):
    """Send SIGKILL to this watched process. Its death is reported like any other."""

    incarnation: bytes
    reason: str


class MarkQuarantine(msgspec.Struct, frozen=True, gc=False):
    """Keep on disk that the population is quarantined, or no longer is, so that a restart knows."""

    uid: str
    quarantined: bool


class Emit(msgspec.Struct, frozen=True, gc=False):
    """Append to the event ring."""

    event: AnyEvent


class Log(msgspec.Struct, frozen=True, gc=False):
    """Write a line to the log."""

    level: str
    event: str
    fields: dict[str, Any]


Action = SendClient | SendWorker | ResetTally | WatchWorker | KillWorker | MarkQuarantine | Emit | Log
