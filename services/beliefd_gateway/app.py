"""All routes as one ASGI application."""

from __future__ import annotations

from fastapi import FastAPI, WebSocket

from beliefd import __version__
from beliefd_gateway import failures
from beliefd_gateway.api import database_routes, health_routes, live_routes
from beliefd_gateway.database import Database
from beliefd_gateway.live import Live
from beliefd_gateway.metrics import GatewayMetrics
from beliefd_gateway.page import page_routes
from beliefd_gateway.recorder import Recorder
from beliefd_gateway.streams import Hub


def application(live: Live, hub: Hub, recorder: Recorder, database: Database) -> FastAPI:
    """The application over these parts, which it neither starts nor ends."""
    # FastAPI's own documentation pages load their scripts from elsewhere: /docs is a page of ours.
    app = FastAPI(title="beliefd gateway", version=__version__, docs_url=None, redoc_url=None)
    failures.install(app)
    app.include_router(health_routes(live, recorder, GatewayMetrics(live, hub, recorder)))
    app.include_router(live_routes(live))
    app.state.database = database
    app.include_router(database_routes())
    app.include_router(page_routes())

    @app.websocket("/ws")
    async def watch_all(socket: WebSocket) -> None:
        await hub.serve(socket, None)

    @app.websocket("/ws/populations/{name}")
    async def watch_one(socket: WebSocket, name: str) -> None:
        await hub.serve(socket, name)

    return app
