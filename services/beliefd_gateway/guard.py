"""Asks everybody for a token before anything is served, where the stack has keys. ASGI around the application.

The token comes as ``Authorization: Bearer TOKEN``. A browser, whose page cannot say that of a WebSocket, opens
``/?token=TOKEN`` once and is given a cookie that no script can read and no other site can have sent. ``/healthz`` stays
open to probes: it tells nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from beliefd_gateway import failures
from beliefd_proto.errors import BeliefdError, Busy, Unauthenticated
from beliefd_service.access import Access, Grant
from beliefd_service.logging import Logger
from beliefd_service.quota import Bucket

COOKIE = "beliefd_token"
UNAUTHORISED = 4401
_OPEN = "/healthz"
_RENEW_S = 0.5
_MOST_TOKEN = 200
_TOKEN_QUERY = re.compile(rb"token=([A-Za-z0-9_-]+)")


class Guard:
    """Belongs to the event loop. All that is served is reading, which every role may do."""

    def __init__(
        self, app: ASGIApp, access: Access, logger: Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._access = access
        self._logger = logger
        self._clock = clock
        self._renewed_s = clock()
        self._buckets: dict[Grant, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] == _OPEN:
            await self._app(scope, receive, send)
            return
        now_s = self._clock()
        self._renew(now_s)
        token, in_query = _token(scope)
        try:
            self._admit(token, now_s)
        except BeliefdError as error:
            await _refuse(error, scope, receive, send)
            return
        if in_query:
            # Away from an address that stays in the browser's history and on its screen.
            answer = RedirectResponse("/", 303)
            secure = scope["scheme"] == "https"
            answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admit(self, token: str, now_s: float) -> None:
        grant = self._access.grant(token)
        if grant is None:
            raise Unauthenticated(
                "this server wants a token that it knows: send Authorization: Bearer TOKEN, or open /?token=TOKEN",
                field="token",
            )
        if grant.requests_per_s is not None:
            bucket = self._buckets.setdefault(grant, Bucket(grant.requests_per_s, now_s))
            if wait_s := bucket.take(1.0, now_s):
                raise Busy("this client's quota is used up for now", field="requests_per_s", retry_after_s=wait_s)

    def _renew(self, now_s: float) -> None:
        """Follow what beliefd-keys changed. Where that cannot be read, what held holds on."""
        if now_s - self._renewed_s < _RENEW_S:
            return
        self._renewed_s = now_s
        try:
            renewed = self._access.renewed()
        except BeliefdError as error:
            self._logger.error("access_not_renewed", reason=str(error))
            return
        if renewed is not None:
            self._access = renewed
            self._buckets = {grant: bucket for grant, bucket in self._buckets.items() if grant in renewed.grants}


def _token(scope: Scope) -> tuple[str, bool]:
    """The token that comes with a request, empty where none does, and whether it stood in the address."""
    headers = Headers(scope=scope)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()[:_MOST_TOKEN], False
    asked = scope["path"] == "/" and _TOKEN_QUERY.fullmatch(scope["query_string"])
    if asked:
        return asked[1].decode()[:_MOST_TOKEN], True
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        found = None
    return ("" if found is None else found.value[:_MOST_TOKEN]), False


async def _refuse(error: BeliefdError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": UNAUTHORISED, "reason": error.message[:120]})
        return
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthenticated) else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(int(error.retry_after_s) + 1)
    await failures.answer(error, 401 if isinstance(error, Unauthenticated) else 429, headers)(scope, receive, send)
