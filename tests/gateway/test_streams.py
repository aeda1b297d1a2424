from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from gateway_server import Serving, report, serving
from gateway_world import DEADLINE_S, info, telemetry
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from beliefd_gateway import server, streams
from beliefd_gateway.reading import Cursor, Happened
from beliefd_proto.errors import Disconnected


def _serve(folder: Path, work: Callable[[Serving], Awaitable[Any]], max_clients: int = 8) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(DEADLINE_S), serving(folder, max_clients) as gateway:
            return await work(gateway)

    return asyncio.run(run())


async def _shake_hands(gateway: Serving, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket connection with no client behind it: nothing is answered, nor read before it is asked for."""
    reader, writer = await asyncio.open_connection(*gateway.url.removeprefix("http://").split(":"))
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def _read_to_the_end(client: ClientConnection) -> None:
    while True:
        await client.recv()


async def _closed(url: str, **options: Any) -> tuple[int, str]:
    """The code and reason with which the gateway closes this connection."""
    async with connect(url, proxy=None, **options) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await _read_to_the_end(client)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_frames_tell_of_everything_or_of_one_population(tmp_path: Path) -> None:
    async def work(gateway: Serving) -> None:
        gateway.live.take_report(report((info("mice"), info("voles", "f" * 16))))
        gateway.live.take_entries([Happened("r", 1, telemetry(1000.0))], Cursor("r", 1))
        async with connect(gateway.websocket_url + "/ws", proxy=None) as client:
            frame = json.loads(await client.recv())
            assert [p["name"] for p in frame["populations"]] == ["mice", "voles"]
            assert frame["populations"][0]["action_counts"] == [30, 15, 5, 0]
            assert frame["workers"][0]["state"] == "ready"
        async with connect(gateway.websocket_url + "/ws/populations/voles", proxy=None) as client:
            frame = json.loads(await client.recv())
            assert [p["name"] for p in frame["populations"]] == ["voles"]

    _serve(tmp_path, work)


def test_a_change_is_told_without_being_asked_for(tmp_path: Path) -> None:
    async def work(gateway: Serving) -> None:
        async with connect(gateway.websocket_url + "/ws", proxy=None) as client:
            assert not json.loads(await client.recv())["broker"]["up"]
            gateway.live.take_report(report())
            while not json.loads(await client.recv())["broker"]["up"]:
                pass

    _serve(tmp_path, work)


def test_frames_are_not_compressed(tmp_path: Path) -> None:
    async def work(gateway: Serving) -> None:
        async with connect(gateway.websocket_url + "/ws", proxy=None, compression="deflate") as client:
            assert client.response is not None
            assert "Sec-WebSocket-Extensions" not in client.response.headers

    _serve(tmp_path, work)


def test_an_unknown_population_is_refused_with_a_reason(tmp_path: Path) -> None:
    async def work(gateway: Serving) -> None:
        url = gateway.websocket_url + "/ws/populations/ghosts"
        assert (await _closed(url))[0] == streams.TRY_AGAIN_LATER
        gateway.live.take_report(report())
        assert await _closed(url) == (streams.NOT_FOUND, "there is no population of this name")
        strange = gateway.websocket_url + "/ws/populations/" + "%F0%9F%91%BB" * 500
        assert (await _closed(strange))[0] == streams.NOT_FOUND

    _serve(tmp_path, work)


def test_a_population_that_is_dropped_closes_who_watches_it(tmp_path: Path) -> None:
    async def work(gateway: Serving) -> None:
        longest = "m" * 128
        gateway.live.take_report(report((info(longest),)))
        watching = asyncio.create_task(_closed(gateway.websocket_url + "/ws/populations/" + longest))
        while not gateway.hub.clients:
            await asyncio.sleep(0.01)
        gateway.live.take_report(report(populations=()))
        assert await watching == (streams.NOT_FOUND, "this population was dropped")

    _serve(tmp_path, work)


def test_only_so_many_may_watch_and_a_place_that_is_left_is_free(tmp_path: Path) -> None:
    async def work(gateway: Serving) -> None:
        url = gateway.websocket_url + "/ws"
        async with connect(url, proxy=None) as first, connect(url, proxy=None) as second:
            await first.recv()
            await second.recv()
            assert (await _closed(url))[0] == streams.TRY_AGAIN_LATER
        while gateway.hub.clients:
            await asyncio.sleep(0.01)
        async with connect(url, proxy=None) as client:
            await client.recv()

    _serve(tmp_path, work, max_clients=2)


def test_pages_of_other_servers_may_not_watch(tmp_path: Path) -> None:
    async def work(gateway: Serving) -> None:
        url = gateway.websocket_url + "/ws"
        assert (await _closed(url, origin="http://elsewhere.example"))[0] == streams.FORBIDDEN
        async with connect(url, proxy=None, origin=gateway.url) as client:
            await client.recv()

    _serve(tmp_path, work)


def test_the_end_of_the_gateway_is_told(tmp_path: Path) -> None:
    async def work(gateway: Serving) -> None:
        closed = asyncio.create_task(_closed(gateway.websocket_url + "/ws"))
        while not gateway.hub.clients:
            await asyncio.sleep(0.01)
        await gateway.hub.close()
        assert (await closed)[0] == streams.GOING_AWAY
        assert (await _closed(gateway.websocket_url + "/ws"))[0] == streams.GOING_AWAY

    _serve(tmp_path, work)


def test_a_slow_client_gets_the_newest_and_is_told_what_it_missed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(streams, "FRAME_EVERY_S", 0.0005)
    many = tuple(info(f"population-{i:04}", f"{i:016x}") for i in range(1000))

    async def work(gateway: Serving) -> None:
        gateway.live.take_report(report(many))
        # Small buffers, and a client that does not read: the gateway's sends come to a stand.
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        host, port = gateway.url.removeprefix("http://").split(":")
        await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
        slow = connect(gateway.websocket_url + "/ws", proxy=None, sock=raw, max_queue=1, max_size=None)
        quick = connect(gateway.websocket_url + "/ws", proxy=None, max_size=None)
        async with slow as client, quick as other:
            while gateway.hub.skipped_frames < 10:
                gateway.live.take_report(report(many))
                await other.recv()
            gateway.live.take_report(report((info("last"),)))
            skipped, names = 0, []
            while names != ["last"]:
                frame = json.loads(await client.recv())
                skipped += frame["skipped"]
                names = [population["name"] for population in frame["populations"]]
            assert 0 < skipped <= gateway.hub.skipped_frames

    _serve(tmp_path, work)


def test_a_peer_that_is_gone_without_a_word_loses_its_place(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(server, "PING_EVERY_S", 0.1)

    async def work(gateway: Serving) -> None:
        _, writer = await _shake_hands(gateway, "/ws")
        while not gateway.hub.clients:
            await asyncio.sleep(0.01)
        while gateway.hub.clients:  # it never answers a ping
            await asyncio.sleep(0.01)
        writer.close()

    _serve(tmp_path, work)


def test_peers_that_leave_at_any_moment_are_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(gateway: Serving) -> None:
        many = tuple(info(f"population-{i:04}", f"{i:016x}") for i in range(300))
        for leave_after_bytes in (1, 100, 5_000, 100_000):
            for path in ("/ws", "/ws/populations/ghosts"):
                reader, writer = await _shake_hands(gateway, path)
                gateway.live.take_report(report(many))
                await reader.read(leave_after_bytes)
                # Gone without a closing handshake, with what it was sent unread.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.close()
        while gateway.hub.clients:
            gateway.live.take_report(report(many))
            await asyncio.sleep(0.01)

    _serve(tmp_path, work)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_peer_that_leaves_while_its_population_is_looked_for_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked: Future[None] = Future()

    async def run() -> None:
        async with asyncio.timeout(DEADLINE_S), serving(tmp_path, ask_broker=lambda: asked) as gateway:
            _, writer = await _shake_hands(gateway, "/ws/populations/ghosts")
            writer.transport.abort()
            async with connect(gateway.websocket_url + "/ws", proxy=None) as client:
                await client.recv()  # by now the server knows that the first is gone
            asked.set_result(None)

    asyncio.run(run())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("sent", ["text", b"bytes", "x" * 5000, b"\xff" * 5000])
def test_what_a_client_says_hurts_nobody(tmp_path: Path, sent: Any) -> None:
    async def work(gateway: Serving) -> None:
        gateway.live.take_outage(Disconnected("away"))
        async with connect(gateway.websocket_url + "/ws", proxy=None) as client:
            await client.send(sent)
            await client.recv()
        async with connect(gateway.websocket_url + "/ws", proxy=None) as client:
            await client.recv()

    _serve(tmp_path, work)
