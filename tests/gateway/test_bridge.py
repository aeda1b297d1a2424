from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gateway_world import StubBroker, info, quiet_logger, settings_of, until

from beliefd_gateway.bridge import Bridge
from beliefd_proto.errors import BeliefdError, Unavailable
from beliefd_proto.messages import StatusReport
from beliefd_service.settings import Settings


class _Heard:
    def __init__(self) -> None:
        self.reports: list[StatusReport] = []
        self.errors: list[BeliefdError] = []


@contextmanager
def _bridge(settings: Settings, given_up: int = 0) -> Iterator[tuple[Bridge, _Heard]]:
    """A bridge at work; `given_up` questions were put to it before, by somebody who no longer waits."""
    heard = _Heard()
    bridge = Bridge(f"unix://{settings.client_socket}", heard.reports.append, heard.errors.append, quiet_logger())
    for _ in range(given_up):
        assert bridge.ask().cancel()
    bridge.start()
    try:
        yield bridge, heard
    finally:
        bridge.stop()
        bridge.join()


@pytest.mark.slow
def test_reports_keep_coming(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with StubBroker(settings, populations=(info(),)), _bridge(settings) as (_, heard):
        until(lambda: len(heard.reports) >= 3)
    assert heard.reports[0].populations[0].name == "mice"
    assert not heard.errors


@pytest.mark.slow
def test_a_broker_that_goes_is_told_and_one_that_comes_back_is_found(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with _bridge(settings) as (_, heard):
        until(lambda: heard.errors)
        assert isinstance(heard.errors[0], Unavailable)
        with StubBroker(settings, epoch=1):
            until(lambda: heard.reports)
        failures = len(heard.errors)
        until(lambda: len(heard.errors) > failures)
        with StubBroker(settings, epoch=2):
            until(lambda: heard.reports[-1].epoch == 2)


def test_who_asks_gets_a_report_made_after_the_question(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with StubBroker(settings) as broker, _bridge(settings) as (bridge, heard):
        until(lambda: heard.reports)
        broker.populations = (info("new"),)
        bridge.ask().result(timeout=5)
        assert heard.reports[-1].populations[0].name == "new"


def test_who_gives_up_waiting_does_not_end_the_bridge(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with StubBroker(settings), _bridge(settings, given_up=3) as (bridge, _):
        for _ in range(2):
            bridge.ask().result(timeout=5)


@pytest.mark.slow
def test_stopping_does_not_wait_for_a_broker_that_does_not_answer(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with _bridge(settings) as (bridge, heard):
        until(lambda: heard.errors)
        asked = [bridge.ask() for _ in range(300)]
    assert not bridge.is_alive()
    assert all(future.done() for future in asked)
