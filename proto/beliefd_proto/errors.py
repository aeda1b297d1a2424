"""The one error tree of beliefd.

::

    BeliefdError
    ├── InvalidInput            the caller's input was refused; nothing was changed
    │   ├── InvalidModel
    │   ├── InvalidObservation
    │   ├── InvalidArgument
    │   ├── MalformedMessage
    │   └── TooLarge
    ├── Conflict                the input is well formed but does not fit what the server holds
    │   ├── UnknownPopulation
    │   ├── PopulationExists
    │   ├── UnknownAgent
    │   └── TickConflict
    │       ├── TickTaken       another request was applied at this tick
    │       ├── StaleTick       the agent is further than this tick
    │       └── TickGap         the agent has not reached the tick before this one
    ├── Unavailable             try again: the same request, with the same id, is safe
    │   ├── Busy
    │   ├── DeadlineExceeded
    │   ├── Disconnected
    │   └── HelloRequired
    ├── Cancelled               the caller took the request back before all of it was begun
    ├── AccessDenied            whoever runs the server has to give the right
    │   ├── Unauthenticated     the token is missing, or none of this server's
    │   └── NotPermitted        the token is known, and its role is too low for this
    ├── VersionMismatch         client and server share no protocol version
    ├── WorkerCrashed           the request killed its workers
    ├── Quarantined             the population waits for an operator's release
    ├── StorageError            the data folder cannot serve
    │   ├── DiskFull
    │   ├── FolderNotUsable
    │   ├── FolderLocked
    │   └── CorruptStore
    ├── StartupError            a process cannot start
    │   ├── InvalidSetting
    │   └── EndpointNotUsable
    └── InternalError           ours; the text carries no internals, the log does

The ``code`` of a class is what travels on the wire. ``blame`` says who has to act: the caller, the operator, or us.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray


class Applied(enum.IntEnum):
    """Whether a step that ended in an error changed an agent. Values are the bytes on the wire."""

    NO = 0
    YES = 1
    UNKNOWN = 2


class BeliefdError(Exception):
    """Base of every error that beliefd raises on purpose.

    Parameters
    ----------
    message : str
        One sentence for people: what is wrong, and what to do.
    field : str, optional
        The input at fault, in the caller's own words, such as ``"observations"`` or ``"A[1]"``.
    index : tuple of int, optional
        Where in the field.
    value : optional
        What stood there.
    allowed : str, optional
        What may stand there.
    retry_after_s : float, optional
        How long to wait before another try, in seconds.
    applied : ndarray of uint8, shape (agents,), optional
        `Applied` per agent of the call, in the order of the call. ``None`` where the call changes no agent.

    Attributes
    ----------
    partial
        Of a step that was applied to some agents: their results, zeros for the others. Else ``None``.
    call
        Of a step: what `Population.retry` needs to settle it. Else ``None``.
    """

    code: ClassVar[str] = "error"
    blame: ClassVar[str] = "server"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        index: tuple[int, ...] | None = None,
        value: Any = None,
        allowed: str | None = None,
        retry_after_s: float | None = None,
        applied: NDArray[np.uint8] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.index = index
        self.value = value
        self.allowed = allowed
        self.retry_after_s = retry_after_s
        self.applied = applied
        self.partial: Any = None
        self.call: Any = None

    def __str__(self) -> str:
        where = self.field or ""
        if self.index:
            where += "[" + ", ".join(str(i) for i in self.index) + "]"
        text = f"{where}: {self.message}" if where else self.message
        if self.value is not None:
            text += f" (got {self.value!r})"
        if self.allowed is not None:
            text += f"; allowed: {self.allowed}"
        return text


class InvalidInput(BeliefdError):
    code = "invalid_input"
    blame = "caller"


class InvalidModel(InvalidInput):
    code = "invalid_model"


class InvalidObservation(InvalidInput):
    code = "invalid_observation"


class InvalidArgument(InvalidInput):
    code = "invalid_argument"


class MalformedMessage(InvalidInput):
    code = "malformed_message"


class TooLarge(InvalidInput):
    code = "too_large"


class Conflict(BeliefdError):
    code = "conflict"
    blame = "caller"


class UnknownPopulation(Conflict):
    code = "unknown_population"


class PopulationExists(Conflict):
    code = "population_exists"


class UnknownAgent(Conflict):
    code = "unknown_agent"


class TickConflict(Conflict):
    code = "tick_conflict"


class TickTaken(TickConflict):
    code = "tick_taken"


class StaleTick(TickConflict):
    code = "stale_tick"


class TickGap(TickConflict):
    code = "tick_gap"


class Unavailable(BeliefdError):
    code = "unavailable"


class Busy(Unavailable):
    code = "busy"


class DeadlineExceeded(Unavailable):
    code = "deadline_exceeded"


class Disconnected(Unavailable):
    code = "disconnected"


class HelloRequired(Unavailable):
    code = "hello_required"


class Cancelled(BeliefdError):
    code = "cancelled"
    blame = "caller"


class AccessDenied(BeliefdError):
    code = "access_denied"
    blame = "operator"


class Unauthenticated(AccessDenied):
    code = "unauthenticated"


class NotPermitted(AccessDenied):
    code = "not_permitted"


class VersionMismatch(BeliefdError):
    code = "version_mismatch"
    blame = "operator"


class WorkerCrashed(BeliefdError):
    code = "worker_crashed"


class Quarantined(BeliefdError):
    code = "quarantined"
    blame = "operator"


class StorageError(BeliefdError):
    code = "storage_error"
    blame = "operator"


class DiskFull(StorageError):
    code = "disk_full"


class FolderNotUsable(StorageError):
    code = "folder_not_usable"


class FolderLocked(StorageError):
    code = "folder_locked"


class CorruptStore(StorageError):
    code = "corrupt_store"


class StartupError(BeliefdError):
    code = "startup_error"
    blame = "operator"


class InvalidSetting(StartupError):
    code = "invalid_setting"


class EndpointNotUsable(StartupError):
    code = "endpoint_not_usable"


class InternalError(BeliefdError):
    code = "internal_error"


def _by_code(root: type[BeliefdError]) -> dict[str, type[BeliefdError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_by_code(child))
    return found


ERRORS: dict[str, type[BeliefdError]] = _by_code(BeliefdError)
"""Every class of the tree by its wire code."""
