from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from gateway_server import report, serving
from gateway_world import UID, info, telemetry, worker
from prometheus_client.parser import text_string_to_metric_families

from beliefd_gateway.reading import Cursor, Happened
from beliefd_proto.errors import Disconnected


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_entropy_that_was_never_sampled_is_not_exposed(tmp_path: Path) -> None:
    async def scrape() -> str:
        async with serving(tmp_path) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
            gateway.live.take_report(report())
            gateway.live.take_entries([Happened("r", 1, telemetry(1000.0, entropy=None))], Cursor("r", 1))
            return (await client.get("/metrics")).text

    names = {name for name, _ in _samples(asyncio.run(scrape()))}
    assert "beliefd_population_vfe_nats" in names
    assert "beliefd_population_entropy_nats" not in names


def test_metrics_tell_what_is_known(tmp_path: Path) -> None:
    async def scrape() -> tuple[str, str, str]:
        async with serving(tmp_path) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
            empty = (await client.get("/metrics")).text
            gateway.live.take_report(report((info("mice", UID),), (worker(registrations=3, state="busy"),)))
            sampled_each = (None, 0.5, 0.7, None)
            entries = [
                Happened("r", i + 1, telemetry(1000.0 + i, steps=50, entropy=sampled))
                for i, sampled in enumerate(sampled_each)
            ]
            gateway.live.take_entries(list(entries), Cursor("r", 4))
            full = (await client.get("/metrics")).text
            gateway.live.take_outage(Disconnected("away"))
            return empty, full, (await client.get("/metrics")).text

    empty, full, away = map(_samples, asyncio.run(scrape()))
    assert empty["beliefd_broker_up", ()] == 0
    mice = (("population", "mice"),)
    first = (("worker", "worker_00"),)
    assert full["beliefd_broker_up", ()] == 1
    assert full["beliefd_broker_events_total", (("kind", "requests"),)] == 5
    assert full["beliefd_population_agent_steps_total", mice] == 200
    assert full["beliefd_population_vfe_nats", mice] == 1.5
    assert full["beliefd_population_entropy_nats", mice] == 0.7
    assert full["beliefd_worker_restarts_total", first] == 2
    assert full["beliefd_worker_cpu_seconds_total", first] == 1.25
    assert full["beliefd_worker_resident_bytes", first] == 140 << 20
    states = {dict(labels)["state"]: value for (name, labels), value in full.items() if name == "beliefd_worker_state"}
    assert [state for state, value in states.items() if value] == ["busy"]
    assert full["beliefd_ring_lag_events", ()] == 4
    assert full["beliefd_database_up", ()] == 1
    assert away["beliefd_broker_up", ()] == 0
    assert away["beliefd_worker_state", (("state", "unknown"), *first)] == 1
