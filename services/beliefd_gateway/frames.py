"""What a WebSocket frame says: the state of things as JSON, made from `Live`."""

from __future__ import annotations

import msgspec

from beliefd_gateway.live import Live, SeenWorker
from beliefd_proto.messages import PopulationInfo
from beliefd_service.events import PopulationTelemetry

_SILENT_AFTER_S = 2.0


class PopulationView(msgspec.Struct, frozen=True, kw_only=True):
    """A population and what it did in its last interval.

    Attributes
    ----------
    told_s : float or None
        When that interval ended, Unix time; None where it was never stepped, as far as the ring goes back.
    steps_per_s : float
        Agents stepped per second; 0 once nothing more is told.
    vfe_mean, entropy_mean : float or None
        In nats per agent; entropy over a sample, None where the interval has none.
    action_counts : tuple of int
        How often each action of the first controlled factor was taken.
    """

    uid: str
    name: str
    agents: int
    quarantined: bool
    model: str
    num_obs: tuple[int, ...]
    num_states: tuple[int, ...]
    num_policies: int
    told_s: float | None
    steps_per_s: float
    vfe_mean: float | None
    entropy_mean: float | None
    action_counts: tuple[int, ...]


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """A worker. `state` is the broker's word for it, or ``"lost"``, or ``"unknown"`` while the broker is away."""

    name: str
    pid: int
    state: str
    lost_s: float | None
    batches: int
    agent_steps: int
    in_flight: int
    restarts: int
    cpu_s: float
    rss_bytes: int


class BrokerView(msgspec.Struct, frozen=True, kw_only=True):
    """The broker; numbers are those of its last report."""

    up: bool
    ready: bool
    epoch: int
    uptime_s: float
    sessions: int
    open_requests: int


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """All that one frame says, but `skipped`, which differs from client to client."""

    time_s: float
    broker: BrokerView
    populations: list[PopulationView]
    workers: list[WorkerView]


_encoder = msgspec.json.Encoder()


def encode_frame(frame: Frame) -> bytes:
    """The frame as JSON without its opening brace, for `with_skipped`: encoded once, sent to many."""
    return _encoder.encode(frame)[1:]


def with_skipped(encoded: bytes, skipped: int) -> str:
    """The text of a frame for a client that missed `skipped` frames before it."""
    return f'{{"skipped":{skipped},{encoded.decode()}'


def whole_frame(live: Live, now_s: float) -> Frame:
    """The frame of everything at `now_s` (Unix time)."""
    populations = [_population(info, live.telemetry.get(uid), now_s) for uid, info in live.populations.items()]
    return Frame(
        time_s=now_s,
        broker=broker_view(live),
        populations=sorted(populations, key=lambda view: view.name),
        workers=worker_views(live),
    )


def frame_of(frame: Frame, name: str) -> Frame:
    """The same frame with the population `name` alone."""
    return msgspec.structs.replace(frame, populations=[view for view in frame.populations if view.name == name])


def broker_view(live: Live) -> BrokerView:
    up = live.outage is None
    if live.report is None:
        return BrokerView(up=up, ready=False, epoch=0, uptime_s=0.0, sessions=0, open_requests=0)
    return BrokerView(
        up=up,
        ready=up and live.report.ready,
        epoch=live.report.epoch,
        uptime_s=live.report.uptime_s,
        sessions=live.report.sessions,
        open_requests=live.report.open_requests,
    )


def worker_views(live: Live) -> list[WorkerView]:
    return [_worker(seen, live.outage is None) for seen in live.workers.values()]


def _population(info: PopulationInfo, told: PopulationTelemetry | None, now_s: float) -> PopulationView:
    silent = told is None or now_s - told.time_s > told.interval_s + _SILENT_AFTER_S
    return PopulationView(
        uid=info.uid,
        name=info.name,
        agents=info.live,
        quarantined=info.quarantined,
        model=info.model.hash,
        num_obs=info.model.num_obs,
        num_states=info.model.num_states,
        num_policies=info.model.num_policies,
        told_s=told.time_s if told else None,
        steps_per_s=0.0 if told is None or silent else told.agent_steps / max(told.interval_s, 1e-3),
        vfe_mean=told.vfe_mean if told else None,
        entropy_mean=told.entropy_mean if told else None,
        action_counts=told.action_counts if told else (),
    )


def _worker(seen: SeenWorker, broker_up: bool) -> WorkerView:
    status = seen.status
    state = "lost" if seen.lost_s is not None else status.state
    return WorkerView(
        name=status.name,
        pid=status.pid,
        state=state if broker_up or seen.lost_s is not None else "unknown",
        lost_s=seen.lost_s,
        batches=status.batches,
        agent_steps=status.agent_steps,
        in_flight=0 if seen.lost_s is not None else status.in_flight,
        restarts=max(status.registrations - 1, 0),
        cpu_s=status.cpu_s,
        rss_bytes=status.rss_bytes,
    )
