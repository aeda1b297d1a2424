"""The HTTP interface: health, metrics, what is known now, and what the database remembers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from beliefd import __version__
from beliefd_gateway import tables
from beliefd_gateway.answers import (
    NAME_PATTERN,
    GapBody,
    Health,
    ModelBody,
    PopulationBody,
    Readiness,
    Reason,
    RunBody,
    TelemetryBody,
    TelemetryPoint,
    Version,
    WorkerBody,
    WorkerEventBody,
)
from beliefd_gateway.database import Database, DatabaseError
from beliefd_gateway.failures import RESPONSES
from beliefd_gateway.frames import worker_views
from beliefd_gateway.live import Live
from beliefd_gateway.metrics import CONTENT_TYPE, GatewayMetrics
from beliefd_gateway.recorder import Recorder
from beliefd_proto import PROTOCOL_VERSION
from beliefd_proto.errors import BeliefdError, StorageError, UnknownPopulation

Name = Annotated[str, Path(pattern=NAME_PATTERN, description="The name of a population.")]
Limit = Annotated[int, Query(ge=1, le=10_000, description="At the most so many, the newest.")]


async def _reading(request: Request) -> AsyncIterator[AsyncConnection]:
    """A transaction on the database in the application's state."""
    database: Database = request.app.state.database
    try:
        async with database.reading() as connection:
            yield connection
    except DatabaseError as error:
        raise StorageError(
            f"the database cannot be read now ({type(error).__name__}); /readyz tells more", field="database"
        ) from error


Reading = Annotated[AsyncConnection, Depends(_reading)]
_UNAVAILABLE: dict[int | str, dict[str, Any]] = {503: RESPONSES[503]}
_INVALID: dict[int | str, dict[str, Any]] = {422: RESPONSES[422], 503: RESPONSES[503]}


def health_routes(live: Live, recorder: Recorder, metrics: GatewayMetrics) -> APIRouter:
    """What supervisors and Prometheus ask."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz")
    async def healthz() -> Health:
        """The process lives."""
        return Health()

    @routes.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready, and why."}})
    async def readyz(response: Response) -> Readiness:
        """The stack can serve steps, and the gateway can record them."""
        reasons = _reasons(live, recorder)
        response.status_code = 503 if reasons else 200
        return Readiness(ready=not reasons, reasons=reasons)

    @routes.get("/version")
    async def version() -> Version:
        """What runs here."""
        return Version(version=__version__, protocol=PROTOCOL_VERSION)

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def exposition() -> Response:
        """Metrics for Prometheus."""
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    return routes


def live_routes(live: Live) -> APIRouter:
    """What is known now, from memory."""
    routes = APIRouter(prefix="/api", tags=["now"])

    @routes.get("/workers")
    async def workers() -> list[WorkerBody]:
        """The workers as the broker sees them, and those lost in the last five minutes."""
        return [WorkerBody(**msgspec.structs.asdict(view)) for view in worker_views(live)]

    return routes


def database_routes() -> APIRouter:
    """What the database in the application's state remembers. It follows the events within a second."""
    routes = APIRouter(prefix="/api", tags=["history"])

    @routes.get("/populations", responses=_UNAVAILABLE)
    async def populations(connection: Reading) -> list[PopulationBody]:
        """All populations, by name."""
        return [PopulationBody(**row) for row in await _rows(connection, tables.live_populations())]

    @routes.get("/populations/{name}", responses=RESPONSES)
    async def population(connection: Reading, name: Name) -> PopulationBody:
        """One population."""
        return PopulationBody(**await _population(connection, name))

    @routes.get("/populations/{name}/telemetry", responses=RESPONSES)
    async def telemetry(
        connection: Reading,
        name: Name,
        since: Annotated[
            float, Query(ge=0, allow_inf_nan=False, description="Only intervals that ended after this Unix time.")
        ] = 0.0,
        limit: Limit = 500,
    ) -> TelemetryBody:
        """What a population did, interval by interval."""
        uid = (await _population(connection, name))["uid"]
        found = await _rows(connection, tables.newest_telemetry(uid, since, limit))
        return TelemetryBody(population=name, points=[TelemetryPoint(**row) for row in reversed(found)])

    @routes.get("/runs", responses=_INVALID)
    async def runs(
        connection: Reading,
        population: Annotated[str | None, Query(pattern=NAME_PATTERN, description="Only of this name.")] = None,
        limit: Limit = 100,
    ) -> list[RunBody]:
        """Unbroken spells of stepping, the newest first."""
        found = await _rows(connection, tables.newest_runs(population, limit))
        return [RunBody(**{**row, "uid": row["population"], "population": row["name"]}) for row in found]

    @routes.get("/models", responses=_UNAVAILABLE)
    async def models(connection: Reading) -> list[ModelBody]:
        """The models that populations use or used."""
        return [ModelBody(**row) for row in await _rows(connection, tables.known_models())]

    @routes.get("/worker-events", responses=_INVALID)
    async def worker_events(connection: Reading, limit: Limit = 100) -> list[WorkerEventBody]:
        """Workers that registered or were lost, the newest first."""
        return [WorkerEventBody(**row) for row in await _rows(connection, tables.newest_worker_events(limit))]

    @routes.get("/gaps", responses=_INVALID)
    async def gaps(connection: Reading, limit: Limit = 100) -> list[GapBody]:
        """Events that were lost before they were recorded, the newest first."""
        return [GapBody(**row) for row in await _rows(connection, tables.newest_gaps(limit))]

    return routes


def _reasons(live: Live, recorder: Recorder) -> list[Reason]:
    """Why the stack is not ready; nothing where it is."""
    reasons = []
    if live.outage is not None:
        reasons.append(_reason(live.outage))
    elif live.report is None or not live.report.ready:
        reasons.append(Reason(code="unavailable", message="no worker is ready"))
    if recorder.trouble is not None:
        reasons.append(Reason(code=StorageError.code, message=f"the database cannot be written: {recorder.trouble}"))
    return reasons


def _reason(error: BeliefdError) -> Reason:
    return Reason(code=error.code, message=f"the broker cannot be reached: {error}")


async def _rows(connection: AsyncConnection, statement: Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in (await connection.execute(statement)).mappings()]


async def _population(connection: AsyncConnection, name: str) -> dict[str, Any]:
    found = await _rows(connection, tables.live_populations(name))
    if not found:
        raise UnknownPopulation("there is no population of this name", field="name", value=name)
    return found[0]
