"""Errors as HTTP answers: the code of the error tree in a JSON body, with the status that says whose turn it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from beliefd_gateway.answers import Failure
from beliefd_proto.errors import (
    BeliefdError,
    Conflict,
    InternalError,
    InvalidArgument,
    InvalidInput,
    StorageError,
    Unavailable,
    UnknownPopulation,
)

_STATUS: tuple[tuple[type[BeliefdError], int], ...] = (
    (UnknownPopulation, 404),
    (InvalidInput, 422),
    (Conflict, 409),
    (Unavailable, 503),
    (StorageError, 503),
)
_TEXT_LIMIT = 200

RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": Failure, "description": "There is no such thing."},
    422: {"model": Failure, "description": "The request is not well formed."},
    503: {"model": Failure, "description": "The database cannot be read now."},
}
"""How the OpenAPI document describes them."""


def answer(error: BeliefdError, status: int | None = None, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer that tells of `error`."""
    if status is None:
        status = next((number for kind, number in _STATUS if isinstance(error, kind)), 500)
    body = Failure(
        code=error.code,
        message=error.message,
        field=error.field,
        value=None if error.value is None else str(error.value)[:_TEXT_LIMIT],
        allowed=error.allowed,
    )
    return JSONResponse(body.model_dump(), status, headers)


def install(app: FastAPI) -> None:
    """Have every error of `app` answered in this form."""

    @app.exception_handler(BeliefdError)
    async def known(request: Request, error: BeliefdError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return answer(
            InvalidArgument(first["msg"], field=".".join(str(part) for part in first["loc"]), value=first.get("input"))
        )

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        told = InvalidArgument(f"{error.detail}; /docs lists what there is", field="path", value=request.url.path)
        return answer(told, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        # The server logs it; its text is not for strangers.
        return answer(InternalError("the gateway failed in a way it does not know; its log has the whole story"))
