"""What the broker tells the gateway: facts, one each, in the order in which they happened."""

from __future__ import annotations

import msgspec

from beliefd_proto.messages import PopulationInfo


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="event"):
    """`time_s` is the wall clock (Unix time); `epoch` counts the broker's starts."""

    time_s: float
    epoch: int


class BrokerStarted(Event, frozen=True, tag="broker_started"):
    pass


class PopulationCreated(Event, frozen=True, kw_only=True, tag="population_created"):
    info: PopulationInfo


class PopulationChanged(Event, frozen=True, kw_only=True, tag="population_changed"):
    """Agents were added or removed, or a quarantine began or ended."""

    info: PopulationInfo


class PopulationDropped(Event, frozen=True, kw_only=True, tag="population_dropped"):
    uid: str


class WorkerRegistered(Event, frozen=True, kw_only=True, tag="worker_registered"):
    worker: str
    pid: int


class WorkerLost(Event, frozen=True, kw_only=True, tag="worker_lost"):
    """A worker ended; `batches_lost` were in its hands and run again elsewhere."""

    worker: str
    pid: int
    batches_lost: int


class PopulationTelemetry(Event, frozen=True, kw_only=True, tag="population_telemetry"):
    """What a population did in the last `interval_s`.

    `agent_steps` counts agents stepped. The others are over a sample of them: `vfe_mean` in nats, the last one where
    nothing was sampled in the interval; `entropy_mean` in nats per agent, summed over factors, None then;
    `action_counts` counts the actions of the first controlled factor (64 at the most).
    """

    population: str
    interval_s: float
    agent_steps: int
    batches: int
    vfe_mean: float
    entropy_mean: float | None
    action_counts: tuple[int, ...]


class WorkerTelemetry(Event, frozen=True, kw_only=True, tag="worker_telemetry"):
    """Totals of a worker process since it started."""

    worker: str
    pid: int
    state: str
    batches: int
    agent_steps: int
    cpu_s: float
    rss_bytes: int


AnyEvent = (
    BrokerStarted
    | PopulationCreated
    | PopulationChanged
    | PopulationDropped
    | WorkerRegistered
    | WorkerLost
    | PopulationTelemetry
    | WorkerTelemetry
)
