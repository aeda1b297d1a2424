"""A real ``python -m beliefd_gateway``: how it starts, how it is killed, how it ends."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import GatewayProcess, StubBroker, created, info, settings_of, telemetry, until, worker
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_sync

from beliefd_gateway.reading import Cursor, Happened, read_entries
from beliefd_service import events
from beliefd_service.ring import RingWriter
from beliefd_service.settings import Settings

pytestmark = pytest.mark.system
RING_RECORDS = 16_384


def _query(settings: Settings, statement: str) -> list[Any]:
    connection = sqlite3.connect(settings.data / "gateway.db")
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_kills_between_batches_neither_lose_nor_double_a_row(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    writer = RingWriter(settings.events, RING_RECORDS)
    ended = threading.Event()

    def write() -> None:
        # Faster than the gateway's batches and slower than the ring: at every kill something is in the making.
        while not ended.wait(0.004):
            writer.append(telemetry(time.time(), steps=writer.sequence % 97))

    writing = threading.Thread(target=write)
    writing.start()
    chance = random.Random(5)
    try:
        for _ in range(4):
            with GatewayProcess(settings) as gateway:
                gateway.logged("listening")
                time.sleep(chance.uniform(0.0, 0.5))  # the instant of the kill is the input of this test
                gateway.end(signal.SIGKILL)
    finally:
        ended.set()
        writing.join()
    with GatewayProcess(settings) as gateway:
        until(lambda: _query(settings, "SELECT sequence FROM cursor") == [(writer.sequence,)])
        assert gateway.end() == 0
    entries, _ = read_entries(settings.events, Cursor(), RING_RECORDS)
    told = [
        (entry.sequence, entry.event.agent_steps, entry.event.time_s)
        for entry in entries
        if isinstance(entry, Happened) and isinstance(entry.event, events.PopulationTelemetry)
    ]
    assert len(told) == writer.sequence < RING_RECORDS
    assert _query(settings, "SELECT sequence, agent_steps, time_s FROM telemetry ORDER BY sequence") == told
    assert _query(settings, "SELECT sum(agent_steps), sum(batches) FROM runs") == [
        (sum(steps for _, steps, _ in told), 2 * len(told))
    ]
    assert _query(settings, "SELECT * FROM gaps") == []
    writer.close()


def test_the_end_closes_sockets_flushes_and_does_not_linger(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    writer = RingWriter(settings.events)
    with StubBroker(settings, populations=(info(),)), GatewayProcess(settings) as gateway:
        until(lambda: gateway.get("/readyz")["ready"])
        # One that does not read at all, and one that keeps an HTTP connection open.
        deaf = socket.create_connection(gateway.url.removeprefix("http://").split(":"))
        deaf.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        client = httpx.Client()
        client.get(gateway.url + "/healthz")

        async def watch() -> int:
            async with connect(gateway.websocket_url + "/ws", proxy=None) as watching:
                await watching.recv()
                for i in range(30):
                    writer.append(telemetry(time.time() + i / 100))
                gateway.process.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosed) as closed:
                    await _read_to_the_end(watching)
                assert closed.value.rcvd is not None
                return closed.value.rcvd.code

        assert asyncio.run(watch()) == 1001
        assert gateway.end(deadline_s=3.0) == 0
        client.close()
        deaf.close()
        assert gateway.log[-1]["event"] == "ended"
    assert _query(settings, "SELECT count(*) FROM telemetry") == [(30,)]
    writer.close()


async def _read_to_the_end(client: Any) -> None:
    while True:
        await client.recv()


def test_it_ends_also_while_it_waits_for_a_broker_and_for_a_database(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with GatewayProcess(settings) as gateway:
        gateway.logged("listening")
        intruder = sqlite3.connect(settings.data / "gateway.db", isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        RingWriter(settings.events).close()
        until(lambda: "database" in str(gateway.get("/readyz")))
        assert gateway.get("/healthz") == {"alive": True}
        assert gateway.end(deadline_s=3.0) == 0
        intruder.close()


def test_readiness_names_every_reason(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with GatewayProcess(settings) as gateway:
        answer = httpx.get(gateway.url + "/readyz")
        assert answer.status_code == 503
        assert [reason["code"] for reason in answer.json()["reasons"]] == ["disconnected"]
        with StubBroker(settings, workers=(worker(state="greeted"),)) as broker:
            until(lambda: "no worker" in str(gateway.get("/readyz")))
            broker.workers = (worker(state="ready"),)
            until(lambda: gateway.get("/readyz") == {"ready": True, "reasons": []})
        until(lambda: not gateway.get("/readyz")["ready"])


def test_a_port_in_use_ends_the_start_with_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with GatewayProcess(settings_of(tmp_path), BELIEFD_HTTP=address) as gateway:
            assert gateway.end(signal.SIGCONT) == 78
            (line,) = gateway.log
    assert line["code"] == "endpoint_not_usable"
    assert address in line["reason"]


def test_a_second_gateway_on_the_same_data_folder_ends_with_one_clear_line(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with GatewayProcess(settings) as first:
        first.logged("listening")
        with GatewayProcess(settings) as second:  # on a port of its own
            assert second.end(signal.SIGCONT) == 78
            (line,) = second.log
            assert line["code"] == "folder_locked"
            assert str(first.process.pid) in line["reason"]
        first.end(signal.SIGKILL)
    with GatewayProcess(settings) as next_one:
        next_one.logged("listening")


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("BELIEFD_DATA", "/proc/nowhere", "folder_not_usable"),
        ("BELIEFD_DATABASE", "sqlite+aiosqlite:////nowhere/at/all/gateway.db", "folder_not_usable"),
        ("BELIEFD_DATABASE", "no url", "invalid_setting"),
    ],
)
def test_what_cannot_be_used_ends_the_start_with_one_clear_line(
    tmp_path: Path, variable: str, value: str, code: str
) -> None:
    with GatewayProcess(settings_of(tmp_path), **{variable: value}) as gateway:
        assert gateway.end(signal.SIGCONT) == 78
        (line,) = gateway.log
    assert line["code"] == code


def test_a_database_of_a_newer_version_ends_the_start(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with GatewayProcess(settings) as gateway:
        gateway.logged("listening")
        gateway.end()
    connection = sqlite3.connect(settings.data / "gateway.db", isolation_level=None)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with GatewayProcess(settings) as gateway:
        assert gateway.end(signal.SIGCONT) == 78
        assert gateway.log[-1]["code"] == "startup_error"


def test_a_damaged_database_leaves_the_live_side_at_work(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    (settings.data / "gateway.db").write_bytes(b"not a database" * 1000)
    writer = RingWriter(settings.events)
    writer.append(created())
    with StubBroker(settings, populations=(info(),)), GatewayProcess(settings) as gateway:
        until(lambda: [reason["code"] for reason in gateway.get("/readyz")["reasons"]] == ["storage_error"])
        assert gateway.get("/api/populations")["code"] == "storage_error"
        with connect_sync(gateway.websocket_url + "/ws/populations/mice", proxy=None) as client:
            assert "mice" in client.recv()
        # Once the file is out of the way the database is made anew.
        (settings.data / "gateway.db").unlink()
        until(lambda: gateway.get("/readyz")["ready"])
        until(lambda: [row["name"] for row in gateway.get("/api/populations")] == ["mice"])
    writer.close()
