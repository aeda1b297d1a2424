"""The live page in a real browser."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import GatewayProcess, StubBroker, created, info, settings_of, telemetry, until, worker
from playwright.sync_api import Browser, Page, expect, sync_playwright

from beliefd_gateway import page
from beliefd_service.ring import RingWriter

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"), reason="chromium is missing: apt-get install chromium"
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A page that fails the test for any error in its scripts, and for any request that leaves this machine."""
    tab = browser.new_page(viewport={"width": 1280, "height": 1100})
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda request: "127.0.0.1" in request.url or errors.append(request.url))
    yield tab
    tab.close()
    assert not [error for error in errors if not error.startswith(("data:", "blob:"))]


def test_a_stack_without_populations_says_how_to_make_one(tmp_path: Path, tab: Page) -> None:
    settings = settings_of(tmp_path)
    with StubBroker(settings), GatewayProcess(settings) as gateway:
        tab.goto(gateway.url)
        expect(tab.locator("#no-populations")).to_contain_text("create_population")
        expect(tab.locator("#broker")).to_contain_text("Serving")
        expect(tab.locator("#some-populations")).to_be_hidden()


def test_the_page_shows_populations_live_and_a_killed_worker(tmp_path: Path, tab: Page) -> None:
    settings = settings_of(tmp_path)
    writer = RingWriter(settings.events)
    writer.append(created())
    for i in range(40):
        writer.append(telemetry(time.time() - 30 + i / 2, entropy=None if i == 20 else 0.7))
    workers = (worker("worker_00"), worker("worker_01", pid=4001))
    with StubBroker(settings, populations=(info(),), workers=workers) as broker, GatewayProcess(settings) as gateway:
        until(lambda: gateway.get("/api/populations/mice/telemetry").get("points"))
        tab.goto(gateway.url)
        expect(tab.locator("tbody tr")).to_have_count(1)
        expect(tab.locator("tbody tr")).to_contain_text("mice")
        expect(tab.locator(".worker.ready")).to_have_count(2)
        for chart in ("steps", "vfe", "entropy"):
            # What the database remembers is there from the beginning.
            line = f"document.getElementById('chart-{chart}').data?.[0]?.x.length > 30"
            until(lambda line=line: tab.evaluate(line))
        assert tab.evaluate("document.getElementById('chart-actions').data[0].y.map(y => +y.toFixed(2))") == [
            0.6,
            0.3,
            0.1,
            0,
        ]
        entropies = "document.getElementById('chart-entropy').data[0].y"
        assert tab.evaluate(entropies)[19:22] == [0.7, None, 0.7]
        writer.append(telemetry(time.time(), steps=777, vfe=9.25))
        expect(tab.locator("tbody tr")).to_contain_text("1,554")
        expect(tab.locator("tbody tr")).to_contain_text("9.250")
        broker.workers = workers[:1]
        expect(tab.locator(".worker.lost")).to_contain_text("worker_01")
        broker.workers = (workers[0], worker("worker_01", pid=4002, registrations=2))
        expect(tab.locator("[data-worker=worker_01]")).to_contain_text("restarted 1")
        expect(tab.locator(".worker.lost")).to_have_count(0)
    writer.close()


def test_the_page_finds_a_gateway_that_was_restarted(tmp_path: Path, tab: Page) -> None:
    settings = settings_of(tmp_path)
    with StubBroker(settings, populations=(info(),)):
        with GatewayProcess(settings) as gateway:
            url = gateway.url
            tab.goto(url)
            expect(tab.locator("tbody tr")).to_have_count(1)
        expect(tab.locator("#trouble")).to_be_visible()
        with GatewayProcess(settings, BELIEFD_HTTP=url.removeprefix("http://")) as gateway:
            gateway.logged("listening")
            expect(tab.locator("#trouble")).to_be_hidden(timeout=15_000)
            expect(tab.locator("tbody tr")).to_have_count(1)


def test_names_are_text_and_never_markup(tmp_path: Path, tab: Page) -> None:
    settings = settings_of(tmp_path)
    strange: Any = worker("<img-src=x-onerror=alert(1)>")
    with StubBroker(settings, workers=(strange,)), GatewayProcess(settings) as gateway:
        tab.goto(gateway.url)
        expect(tab.locator(".worker")).to_contain_text("<img-src=x-onerror=alert(1)>")
        assert tab.locator(".worker img").count() == 0


def test_the_documentation_lists_every_operation_without_another_server(tmp_path: Path, tab: Page) -> None:
    with GatewayProcess(settings_of(tmp_path)) as gateway:
        tab.goto(gateway.url + "/docs")
        described = gateway.get("/openapi.json")["paths"]
        expect(tab.locator("#operations .operation")).to_have_count(len(described))
        expect(tab.locator("#operations")).to_contain_text("/api/populations/{name}/telemetry")


def test_the_chart_library_is_the_installed_one_and_is_kept_by_browsers(tmp_path: Path) -> None:
    with GatewayProcess(settings_of(tmp_path)) as gateway:
        first = httpx.get(gateway.url + "/assets/plotly.min.js")
        assert first.content == page._plotly().read_bytes()
        assert "max-age=86400" in first.headers["Cache-Control"]
        again = httpx.get(gateway.url + "/assets/plotly.min.js", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
