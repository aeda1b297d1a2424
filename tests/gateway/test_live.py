from __future__ import annotations

import time

import msgspec
from gateway_world import MODEL, UID, created, info, telemetry, worker

from beliefd_gateway.frames import encode_frame, frame_of, whole_frame, with_skipped
from beliefd_gateway.live import LOST_SHOWN_S, Live
from beliefd_gateway.reading import Cursor, Happened
from beliefd_proto.errors import Disconnected
from beliefd_proto.messages import PopulationInfo, StatusReport, WorkerStatus
from beliefd_service import events


def _report(populations: tuple[PopulationInfo, ...] = (), workers: tuple[WorkerStatus, ...] = ()) -> StatusReport:
    return StatusReport(
        id=bytes(16),
        epoch=1,
        uptime_s=1.0,
        sessions=1,
        open_requests=0,
        ready=True,
        workers=workers,
        populations=populations,
        counters={},
    )


def _take(live: Live, *happened: events.AnyEvent) -> None:
    live.take_entries([Happened("r", i + 1, event) for i, event in enumerate(happened)], Cursor("r", len(happened)))


def test_a_population_made_after_the_report_was_asked_for_outlives_that_report_and_no_other() -> None:
    live = Live()
    _take(live, created())
    live.take_report(_report())
    assert live.population("mice") is not None
    live.take_report(_report())
    assert live.population("mice") is None


def test_a_worker_that_is_no_longer_reported_is_shown_as_lost_for_a_while() -> None:
    live = Live()
    live.take_report(_report(workers=(worker("worker_00"), worker("worker_01"))))
    live.take_report(_report(workers=(worker("worker_00"),)))
    states = {view.name: view.state for view in whole_frame(live, time.time()).workers}
    assert states == {"worker_00": "ready", "worker_01": "lost"}
    live.workers["worker_01"].lost_s = time.time() - LOST_SHOWN_S - 1
    live.take_report(_report(workers=(worker("worker_00"),)))
    assert list(live.workers) == ["worker_00"]


def test_the_loss_of_a_former_process_does_not_touch_its_successor() -> None:
    live = Live()
    live.take_report(_report(workers=(worker(pid=2, registrations=2),)))
    _take(live, events.WorkerLost(time_s=1.0, epoch=1, worker="worker_00", pid=1, batches_lost=0))
    (view,) = whole_frame(live, 2.0).workers
    assert (view.state, view.restarts) == ("ready", 1)
    _take(live, events.WorkerLost(time_s=1.5, epoch=1, worker="worker_00", pid=2, batches_lost=0))
    assert whole_frame(live, 2.0).workers[0].state == "lost"


def test_workers_are_unknown_while_the_broker_is_away() -> None:
    live = Live()
    live.take_report(_report(workers=(worker(),)))
    live.take_outage(Disconnected("gone"))
    frame = whole_frame(live, 1.0)
    assert not frame.broker.up
    assert not frame.broker.ready
    assert frame.workers[0].state == "unknown"


def test_a_population_that_says_nothing_more_steps_no_more() -> None:
    live = Live()
    live.take_report(_report((info(),)))
    _take(live, telemetry(1000.0, steps=50))
    assert whole_frame(live, 1000.2).populations[0].steps_per_s == 100.0
    silent = whole_frame(live, 1003.0).populations[0]
    assert (silent.steps_per_s, silent.vfe_mean) == (0.0, 1.5)


def test_an_interval_without_a_sample_has_no_entropy() -> None:
    live = Live()
    live.take_report(_report((info(),)))
    _take(live, telemetry(1000.0, entropy=0.5), telemetry(1000.5, entropy=None))
    assert whole_frame(live, 1000.6).populations[0].entropy_mean is None
    assert live.entropy_mean == {UID: 0.5}


def test_telemetry_of_populations_that_are_gone_is_forgotten() -> None:
    live = Live()
    live.take_report(_report((info(),)))
    _take(live, telemetry(1000.0), events.PopulationDropped(time_s=1001.0, epoch=1, uid=UID))
    assert not live.telemetry
    assert not live.entropy_mean
    assert not live.agent_steps
    _take(live, telemetry(1002.0, uid="f" * 16))
    live.take_report(_report((info(),)))
    assert not live.telemetry


def test_a_frame_is_json_with_the_count_of_what_was_skipped() -> None:
    live = Live()
    live.take_report(_report((info("mice"), info("voles", "f" * 16)), (worker(),)))
    _take(live, telemetry(1000.0, vfe=float("nan")))
    frame = frame_of(whole_frame(live, 1000.0), "mice")
    decoded = msgspec.json.decode(with_skipped(encode_frame(frame), 3))
    assert decoded["skipped"] == 3
    assert [population["name"] for population in decoded["populations"]] == ["mice"]
    assert decoded["populations"][0]["vfe_mean"] is None
    assert decoded["populations"][0]["num_states"] == list(MODEL.num_states)
    assert decoded["workers"][0]["name"] == "worker_00"
