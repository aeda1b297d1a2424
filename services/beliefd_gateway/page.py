"""The live page, its files, and the page at /docs: plain HTML, CSS and JavaScript from installed packages."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib.util
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

_PAGES = Path(__file__).with_name("assets")
_ASSETS = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
}
_PLOTLY = "plotly.min.js"
# Everything comes from here: no other server learns that somebody looks at this page. Plotly writes inline styles.
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; frame-ancestors 'none'"
_PAGE_HEADERS = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


def page_routes() -> APIRouter:
    """The pages and what they load. None of it belongs to the API, so none is in its description."""
    routes = APIRouter(include_in_schema=False)
    plotly = _plotly()

    @routes.get("/")
    async def page(request: Request) -> Response:
        return await _file(request, _PAGES / "index.html", "text/html; charset=utf-8", _PAGE_HEADERS)

    @routes.get("/docs")
    async def docs(request: Request) -> Response:
        return await _file(request, _PAGES / "docs.html", "text/html; charset=utf-8", _PAGE_HEADERS)

    @routes.get("/assets/{name}")
    async def asset(request: Request, name: str) -> Response:
        if name == _PLOTLY:
            # Five megabytes, the same until the next installation: the browser need not even ask within a day.
            headers = {"Cache-Control": "public, max-age=86400"}
            return await _file(request, plotly, "text/javascript; charset=utf-8", headers)
        if name not in _ASSETS:
            raise HTTPException(404, "there is no such file")
        return await _file(request, _PAGES / name, _ASSETS[name], {"Cache-Control": "no-cache"})

    return routes


async def _file(request: Request, file: Path, media_type: str, headers: dict[str, str]) -> Response:
    content, etag = await asyncio.to_thread(_load, file)
    headers = {**headers, "ETag": etag}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


@functools.lru_cache
def _load(file: Path) -> tuple[bytes, str]:
    """The content of a file and its entity tag. The files of an installation do not change under a running gateway."""
    content = file.read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _plotly() -> Path:
    """The library in the wheel of plotly, whose Python side is not imported."""
    spec = importlib.util.find_spec("plotly")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "package_data" / _PLOTLY
