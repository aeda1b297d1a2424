"""A gateway whose stack has keys: nothing but /healthz without a token, and a cookie for browsers."""

import asyncio
import contextlib

import httpx
import pytest
import websockets
from gateway_server import report, serving
from gateway_world import GatewayProcess, StubBroker, info, quiet_logger, settings_of

from beliefd_gateway.guard import Guard
from beliefd_service.access import Access
from beliefd_service.keys import add_client


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def token(folder, tmp_path):
    return add_client(folder, tmp_path / "page.key", name="page", role="read").token


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@contextlib.asynccontextmanager
async def guarded(tmp_path, folder, clock):
    """A gateway behind a guard, on a socket."""
    access = Access.read(folder)
    async with serving(tmp_path, around=lambda app: Guard(app, access, quiet_logger(), clock)) as running:
        running.live.take_report(report())
        yield running


def ask(tmp_path, folder, talk):
    """Run `talk(client, running, clock)` against a guarded gateway."""

    async def run():
        clock = Clock()
        async with guarded(tmp_path, folder, clock) as running, httpx.AsyncClient(base_url=running.url) as client:
            return await talk(client, running, clock)

    return asyncio.run(run())


PATHS = ("/", "/docs", "/assets/page.js", "/metrics", "/readyz", "/version", "/openapi.json", "/api/workers", "/none")


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic page"},
        {"Authorization": "Bearer"},
        {"Cookie": "beliefd_token=wrong"},
        {"Cookie": "beliefd_token=\xff; ;;==".encode("latin-1")},
    ],
)
def test_strangers_see_nothing(tmp_path, folder, token, headers):
    async def talk(client, running, clock):
        for path in PATHS:
            answer = await client.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert (await client.get("/healthz", headers=headers)).status_code == 200
        assert (await client.get("/healthz/../api/workers", headers=headers)).status_code == 401
        assert (await client.get("/?token=wrong")).status_code == 401
        for path in ("/ws", "/ws/populations/mice"):
            with pytest.raises(websockets.InvalidStatus, match="403"):
                await websockets.connect(running.websocket_url + path)

    ask(tmp_path, folder, talk)


def test_a_token_opens_everything(tmp_path, folder, token):
    async def talk(client, running, clock):
        headers = {"Authorization": f"bearer {token}"}
        for path in PATHS[:-1]:
            assert (await client.get(path, headers=headers)).status_code in (200, 503), path
        async with websockets.connect(running.websocket_url + "/ws", additional_headers=headers) as socket:
            assert "populations" in await socket.recv()

    ask(tmp_path, folder, talk)


def test_a_browser_gets_a_cookie_that_no_script_reads(tmp_path, folder, token):
    async def talk(client, running, clock):
        answer = await client.get(f"/?token={token}")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await client.get("/")).status_code == 200  # the client keeps cookies
        cookie = {"Cookie": f"beliefd_token={token}"}
        async with websockets.connect(running.websocket_url + "/ws", additional_headers=cookie) as socket:
            assert "populations" in await socket.recv()

    ask(tmp_path, folder, talk)


def test_what_is_taken_back_holds_no_longer_than_a_second(tmp_path, folder, token):
    async def talk(client, running, clock):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await client.get("/version", headers=headers)).status_code == 200
        (folder / "clients.json").write_text("[]")
        clock.now_s += 1.0
        assert (await client.get("/version", headers=headers)).status_code == 401
        (folder / "clients.json").write_text("damaged")
        clock.now_s += 1.0
        assert (await client.get("/version", headers=headers)).status_code == 401

    ask(tmp_path, folder, talk)


def test_a_quota_is_told_with_the_time_to_wait(tmp_path, folder):
    token = add_client(folder, tmp_path / "p.key", name="poller", role="read", requests_per_s=1.0).token

    async def talk(client, running, clock):
        headers = {"Authorization": f"Bearer {token}"}
        answers = [await client.get("/version", headers=headers) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert answers[-1].json()["code"] == "busy"
        clock.now_s += int(answers[-1].headers["Retry-After"])
        assert (await client.get("/version", headers=headers)).status_code == 200

    ask(tmp_path, folder, talk)


@pytest.mark.system
def test_the_process_asks_for_a_token(tmp_path, folder, token):
    settings = settings_of(tmp_path, BELIEFD_KEYS=str(folder))
    with StubBroker(settings, populations=(info(),)), GatewayProcess(settings, BELIEFD_KEYS=str(folder)) as process:
        assert httpx.get(process.url + "/api/workers").status_code == 401
        answer = httpx.get(process.url + "/api/workers", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200
