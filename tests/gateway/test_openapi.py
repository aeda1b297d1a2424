"""Whatever is sent, the answers are what the OpenAPI document says, and never a failure of ours."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from gateway_world import GatewayProcess, StubBroker, created, info, settings_of, telemetry, until
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from beliefd_service.ring import RingWriter


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    stack = settings_of(tmp_path_factory.mktemp("openapi"))
    writer = RingWriter(stack.events)
    writer.append(created())
    for i in range(20):
        writer.append(telemetry(time.time() - 20 + i))
    with StubBroker(stack, populations=(info(),)), GatewayProcess(stack) as process:
        until(lambda: process.get("/api/populations/mice/telemetry").get("points"))
        yield process
    writer.close()


@pytest.fixture(scope="module")
def described(gateway: GatewayProcess) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(gateway.url + "/openapi.json")


@pytest.mark.system
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_keeps_to_its_description(described: schemathesis.BaseSchema, mode: GenerationMode) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/healthz", "/api/populations/{name}/telemetry"}
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not operation.query and not operation.path_parameters:
            continue  # there is nothing that could be wrong

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            # Not to be ready is an answer, and on a busy machine the broker may be late with its own.
            busy = [not_a_server_error] if case.operation.path == "/readyz" else []
            case.call_and_validate(excluded_checks=busy)

        check()


@pytest.mark.system
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/populations/ghosts", 404, "unknown_population"),
        ("/api/populations/ghosts/telemetry", 404, "unknown_population"),
        ("/api/populations/%00", 422, "invalid_argument"),
        ("/api/populations/mice/telemetry?limit=0", 422, "invalid_argument"),
        ("/api/populations/mice/telemetry?since=nan", 422, "invalid_argument"),
        ("/api/runs?population='", 422, "invalid_argument"),
        ("/nothing/here", 404, "invalid_argument"),
        ("/assets/../pyproject.toml", 404, "invalid_argument"),
        ("/assets/%2e%2e%2fapi.py", 404, "invalid_argument"),
    ],
)
def test_errors_are_json_with_a_code_of_the_tree(gateway: GatewayProcess, path: str, status: int, code: str) -> None:
    answer = httpx.get(gateway.url + path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.system
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused_as_json(gateway: GatewayProcess, method: str) -> None:
    answer = httpx.request(method, gateway.url + "/api/populations", content=b"\x00" * 100)
    assert (answer.status_code, answer.json()["code"]) == (405, "invalid_argument")
    assert "GET" in answer.headers["Allow"]


@pytest.mark.system
def test_telemetry_is_the_newest_in_the_order_of_time(gateway: GatewayProcess) -> None:
    everything = gateway.get("/api/populations/mice/telemetry")["points"]
    times = [point["time_s"] for point in everything]
    assert len(times) == 20
    assert times == sorted(times)
    assert gateway.get("/api/populations/mice/telemetry", limit=3)["points"] == everything[-3:]
    assert gateway.get("/api/populations/mice/telemetry", since=times[4])["points"] == everything[5:]


@pytest.mark.system
def test_the_api_tells_what_was_recorded(gateway: GatewayProcess) -> None:
    (population,) = gateway.get("/api/populations")
    assert (population["name"], population["live"]) == ("mice", 100)
    assert gateway.get("/api/populations/mice") == population
    (run,) = gateway.get("/api/runs", population="mice")
    assert (run["population"], run["agent_steps"]) == ("mice", 20 * 50)
    assert gateway.get("/api/runs", population="voles") == []
    (model,) = gateway.get("/api/models")
    assert (model["hash"], model["populations"]) == (population["model"], 1)
    assert [worker["name"] for worker in gateway.get("/api/workers")] == ["worker_00"]
    assert gateway.get("/readyz") == {"ready": True, "reasons": []}
    assert gateway.get("/api/gaps") == []
    assert gateway.get("/api/worker-events") == []
