"""An error of the tree as the header of an ERROR message, and back."""

from __future__ import annotations

from beliefd_proto.errors import ERRORS, BeliefdError, InternalError
from beliefd_proto.framing import Arrays
from beliefd_proto.messages import Error

_TEXT_LIMIT = 1000


def to_header(error: BaseException, request_id: bytes) -> Error:
    """The header that tells `error` to its caller. An error outside the tree is told without its text."""
    if not isinstance(error, BeliefdError):
        error = InternalError("the server failed in a way it does not know; its log has the whole story under this id")
    return Error(
        id=request_id,
        code=error.code,
        message=error.message[:_TEXT_LIMIT],
        field=error.field,
        index=error.index,
        value=None if error.value is None else str(error.value)[:_TEXT_LIMIT],
        allowed=error.allowed,
        retry_after_ms=None if error.retry_after_s is None else round(error.retry_after_s * 1000),
    )


def from_header(header: Error, arrays: Arrays) -> BeliefdError:
    """The exception that `header` tells of. A code of a later server becomes the root of the tree."""
    return ERRORS.get(header.code, BeliefdError)(
        header.message,
        field=header.field,
        index=header.index,
        value=header.value,
        allowed=header.allowed,
        retry_after_s=None if header.retry_after_ms is None else header.retry_after_ms / 1000,
        applied=arrays.get("applied"),
    )
