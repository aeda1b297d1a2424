"""The bodies of HTTP answers. Times are Unix seconds, energies and entropies nats."""

from __future__ import annotations

from pydantic import BaseModel, Field

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class Failure(BaseModel):
    """Any error: `code` names the class in the error tree of beliefd."""

    code: str
    message: str
    field: str | None = None
    value: str | None = None
    allowed: str | None = None


class Health(BaseModel):
    alive: bool = True


class Reason(BaseModel):
    code: str
    message: str


class Readiness(BaseModel):
    """Whether the stack can serve steps and the gateway can record them; if not, every reason."""

    ready: bool
    reasons: list[Reason]


class Version(BaseModel):
    version: str
    protocol: int = Field(description="Version of the wire protocol.")


class ModelBody(BaseModel):
    hash: str = Field(description="SHA-256 of the model's content.")
    dtype: str
    num_obs: list[int] = Field(description="Observations per modality.")
    num_states: list[int] = Field(description="Hidden states per factor.")
    num_controls: list[int] = Field(description="Controls per factor.")
    control_fac_idx: list[int] = Field(description="The factors that the agent controls.")
    policy_len: int
    num_policies: int
    first_seen_s: float
    populations: int = Field(description="How many populations use it now.")


class PopulationBody(BaseModel):
    uid: str
    name: str
    model: str = Field(description="The hash of its model.")
    seed: int
    durability: str
    rows: int = Field(description="Agents that it ever had.")
    live: int = Field(description="Agents that it has now.")
    record_bytes: int = Field(description="Bytes that each agent takes in the store.")
    quarantined: bool
    first_seen_s: float
    last_stepped_s: float | None


class TelemetryPoint(BaseModel):
    time_s: float = Field(description="When the interval ended.")
    interval_s: float
    agent_steps: int
    batches: int
    vfe_mean: float | None
    entropy_mean: float | None = Field(description="Over a sample; null where the interval has none.")
    action_counts: list[int] = Field(description="Of the first controlled factor.")


class TelemetryBody(BaseModel):
    population: str
    points: list[TelemetryPoint] = Field(description="The newest of what was asked for, in the order of time.")


class WorkerBody(BaseModel):
    name: str
    pid: int
    state: str = Field(
        description="greeted, ready, busy, silent, leaving, doomed, lost; unknown while the broker is away."
    )
    lost_s: float | None
    batches: int
    agent_steps: int
    in_flight: int
    restarts: int
    cpu_s: float
    rss_bytes: int


class WorkerEventBody(BaseModel):
    time_s: float
    epoch: int
    event: str = Field(description="registered or lost.")
    worker: str
    pid: int
    batches_lost: int


class RunBody(BaseModel):
    """An unbroken spell of stepping of one population."""

    population: str | None = Field(description="Its name, where that is known.")
    uid: str
    epoch: int = Field(description="The start of the broker in which it happened.")
    started_s: float
    last_s: float
    ended_s: float | None = Field(description="Null while it goes on.")
    agent_steps: int
    batches: int


class GapBody(BaseModel):
    """Events that were lost before they were read."""

    ring_id: str
    first_lost: int
    last_lost: int | None = Field(description="Null where their ring is gone and nobody knows how many there were.")
    noted_s: float
