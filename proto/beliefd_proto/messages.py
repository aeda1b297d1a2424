"""The headers of protocol version 1 as typed, frozen structs. README.md beside this package is the normative text.

Every header travels as a MessagePack map in the first frame of a message. A field that is missing, unknown or of
another type is refused by the decoder, so code behind it never checks a header's form again.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from beliefd_proto.commands import Command
from beliefd_proto.model_info import ModelInfo

PROTOCOL_VERSION = 1

RequestId = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
NO_ID = bytes(16)
"""Stands for an id that could not be read; no request has it."""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
Uid = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
KnownUid = Annotated[str, msgspec.Meta(min_length=16, max_length=16)]
"""Of a population that has to exist already: to look it up says more than a pattern does, and takes less."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**32)]
MAX_TICK = 2**62
Tick = Annotated[int, msgspec.Meta(ge=0, le=MAX_TICK)]
MAX_DEADLINE_MS = 86_400_000
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_DEADLINE_MS)]
Dimension = Annotated[int, msgspec.Meta(ge=0, le=2**32)]
Shape = Annotated[tuple[Dimension, ...], msgspec.Meta(max_length=34)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(max_length=200)]

MAX_ARRAYS = 256
Lengths = Annotated[tuple[Dimension, ...], msgspec.Meta(max_length=MAX_ARRAYS + 1)]
MAX_BUNDLED = 1024
MAX_REQUEST_HEADER_BYTES = 2 * 2**20
"""Whatever can be long travels as an array: the longest header that makes sense is a CREATE with a large spec."""


MAX_CONTENT_BYTES = 256
"""An array of so few bytes travels in the header: a frame costs more than they do."""


class Array(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Describes an array. One without `content` is the next of the frames after the header."""

    name: Text
    dtype: Text
    shape: Shape
    content: Annotated[bytes, msgspec.Meta(max_length=MAX_CONTENT_BYTES)] | None = None


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What every header has."""

    arrays: Annotated[tuple[Array, ...], msgspec.Meta(max_length=MAX_ARRAYS)] = ()


class Request(Header, frozen=True, kw_only=True):
    """What every request of a client has.

    `id` is the same in every retry of a request. `deadline_ms` is what remains at the moment of sending. `attempt`
    counts how often the caller has asked for the request again after it had ended in an error; errors repeat it.
    """

    id: RequestId
    deadline_ms: Milliseconds
    attempt: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0


class Hello(Request, frozen=True, kw_only=True):
    session: RequestId
    versions: Annotated[tuple[int, ...], msgspec.Meta(max_length=256)]
    client: Text = ""
    token: Text = ""
    letterbox: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)] | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the broker accepts. A client checks against these before it sends.

    Attributes
    ----------
    frame_bytes, header_bytes : int
        Of an array, and of the header of a request.
    chunk_agents, population_agents : int
        Agents of a chunk, and those that a population ever has.
    populations, policies : int
        Populations of the server, and policies of a model.
    open_bytes : int
        Of all open requests of all clients together, and so of any one of them.
    """

    frame_bytes: int = 64 * 2**20
    header_bytes: int = MAX_REQUEST_HEADER_BYTES
    chunk_agents: int = 65_536
    population_agents: int = 2**26
    populations: int = 4096
    policies: int = 1_000_000
    open_bytes: int = 2**30


class Welcome(Header, frozen=True, kw_only=True):
    id: RequestId
    version: int
    epoch: int
    credits: int
    limits: Limits
    workers: int


class Ping(Request, frozen=True, kw_only=True):
    """Asks whether the broker still knows this session, and which of `pending` it does not hold."""

    pending: Annotated[tuple[RequestId, ...], msgspec.Meta(max_length=4096)] = ()


class Pong(Header, frozen=True, kw_only=True):
    id: RequestId
    epoch: int
    unknown: tuple[RequestId, ...] = ()


class Cancel(Request, frozen=True, kw_only=True):
    """Takes back what of the client's own `requests` nothing has begun."""

    requests: Annotated[tuple[RequestId, ...], msgspec.Meta(max_length=4096)]


class Create(Request, frozen=True, kw_only=True):
    """Makes a population. The arrays are the model's tensors, `spec` the rest of the model, in MessagePack.

    Where the agents have ids, the arrays `id_bytes` and `id_ends` hold them.
    """

    name: Name
    spec: Annotated[bytes, msgspec.Meta(max_length=2**20)]
    hash: Text
    agents: Count
    seed: Seed
    durability: Text = "process"
    exist_ok: bool = False


class Attach(Request, frozen=True, kw_only=True):
    name: Name


class List(Request, frozen=True, kw_only=True):
    pass


class Drop(Request, frozen=True, kw_only=True):
    population: Uid


class AddAgents(Request, frozen=True, kw_only=True):
    """The arrays `id_bytes` and `id_ends` hold the ids of the new agents, where the population has ids."""

    population: Uid
    count: Count


class RemoveAgents(Request, frozen=True, kw_only=True):
    """The array `agents` (uint32) names the agents that end."""

    population: Uid


class AgentRequest(Request, frozen=True, kw_only=True):
    """A request over a chunk of agents: `count` agents from `first` on, or those that the array `agents` names."""

    population: KnownUid
    count: Count
    first: Count | None = None
    want: int = 0


class Step(AgentRequest, frozen=True, kw_only=True):
    """One tick of every agent of the chunk. `tick` holds for all of them, or the array `ticks` says it for each."""

    tick: Tick | None = None


class Read(AgentRequest, frozen=True, kw_only=True):
    pass


class Parameters(Request, frozen=True, kw_only=True):
    population: Uid


class Status(Request, frozen=True, kw_only=True):
    pass


class Release(Request, frozen=True, kw_only=True):
    """Ends the quarantine of a population."""

    population: Uid


class Checkpoint(Request, frozen=True, kw_only=True):
    """Copies the records of a population to a file that it can be rebuilt from."""

    population: Uid


class Snapshot(Request, frozen=True, kw_only=True):
    """Copies a population, with its model, to a folder of this name that can be restored anywhere."""

    population: Uid
    name: Name


class Restore(Request, frozen=True, kw_only=True):
    """Makes a population of this name from a snapshot."""

    snapshot: Name
    name: Name


class Fork(Request, frozen=True, kw_only=True):
    """Makes a population of this name whose agents stand where those of `population` do, or did after a tick."""

    population: Uid
    name: Name
    at_tick: Tick | None = None


class Recover(Request, frozen=True, kw_only=True):
    """The broker's own: rebuilds a population after the machine was started again."""

    population: Uid


class Rebuilt(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the state of a population came to be, where it was not stepped there: what was found, and what was not.

    Attributes
    ----------
    why : str
        ``"restarted"`` after the machine was started again without a clean stop, ``"forked"`` or ``"restored"``.
    time_s : float
        When, in Unix time.
    checkpoint : int
        The checkpoint that it began from; 0 where it began from agents that never stepped.
    checkpoint_time_s : float
        When that was made; 0 without.
    journalled : bool
        Whether there was a journal of what came after the checkpoint. Without, all of that is lost.
    entries, steps : int
        Entries of the journal, and agent-steps that were applied from them.
    steps_lost : int
        Agent-steps whose entries are there, but not those of the steps before them.
    torn_bytes : int
        At the ends of segments: of what was being written at the end, and was not acknowledged.
    damaged_bytes : int
        Of what had been written whole.
    lowest_tick, highest_tick : int
        Of the live agents.
    same_kernels : bool
        Whether the state was computed by the kernels that go on with it. Otherwise it is within the tolerance of its
        type, and `differing_actions` agents would have chosen otherwise; what they had chosen stands.
    """

    why: str
    time_s: float
    checkpoint: int = 0
    checkpoint_time_s: float = 0.0
    journalled: bool = True
    entries: int = 0
    steps: int = 0
    steps_lost: int = 0
    torn_bytes: int = 0
    damaged_bytes: int = 0
    lowest_tick: int = 0
    highest_tick: int = 0
    same_kernels: bool = True
    differing_actions: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing that was acknowledged is known to be lost."""
        return self.journalled and not self.steps_lost and not self.damaged_bytes

    @property
    def lost(self) -> str:
        """What is known to be lost, in words; empty where nothing is."""
        if self.whole:
            return ""
        if self.journalled:
            return (
                f"{self.damaged_bytes} bytes were damaged, and {self.steps_lost} agent-steps behind them have no basis"
            )
        if not self.checkpoint:
            return "all that was stepped, since there was no checkpoint"
        made = datetime.fromtimestamp(self.checkpoint_time_s, UTC).isoformat(timespec="seconds")
        return f"what was stepped after the checkpoint of {made}"


class PopulationInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A population as clients see it."""

    uid: Uid
    name: Name
    model: ModelInfo
    seed: int
    durability: str
    rows: int
    live: int
    record_bytes: int
    quarantined: bool = False
    rebuilt: Rebuilt | None = None


class Population(Header, frozen=True, kw_only=True):
    """Answers CREATE and ATTACH. The array `members` holds the live agents as (start, stop) ranges, int64 (k, 2).

    The arrays `id_bytes` and `id_ends` hold their ids, where they have some.
    """

    id: RequestId
    info: PopulationInfo
    credits: int = 0


class Populations(Header, frozen=True, kw_only=True):
    id: RequestId
    populations: tuple[PopulationInfo, ...]
    credits: int = 0


class Done(Header, frozen=True, kw_only=True):
    id: RequestId
    credits: int = 0


class Agents(Header, frozen=True, kw_only=True):
    """Answers ADD_AGENTS and REMOVE_AGENTS: the numbers from `first` on were added, or `count` were removed."""

    id: RequestId
    first: int
    count: int
    info: PopulationInfo
    credits: int = 0


class Stepped(Header, frozen=True, kw_only=True):
    """Answers STEP. Arrays: `actions` (n, factors), and what was wanted of `beliefs`, `q_pi`, `neg_efe`, `vfe`."""

    id: RequestId
    credits: int = 0


class SteppedPart(Header, frozen=True, kw_only=True):
    """What STEPPED says of `count` agents from `start` on, of those that the request names.

    Parts come from workers, and only into the letterbox of a client. Where they are all of the answer, they are it.
    """

    id: RequestId
    start: Count
    count: Annotated[int, msgspec.Meta(ge=1, le=2**32)]


class Values(Header, frozen=True, kw_only=True):
    """Answers READ and PARAMETERS."""

    id: RequestId
    spec: bytes = b""
    credits: int = 0


class WorkerStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A worker as the broker sees it, and what the worker last said of itself."""

    name: str
    pid: int
    state: str
    batches: int
    agent_steps: int
    registrations: int
    cpu_s: float
    rss_bytes: int
    in_flight: int


class StatusReport(Header, frozen=True, kw_only=True):
    id: RequestId
    epoch: int
    uptime_s: float
    sessions: int
    open_requests: int
    ready: bool
    workers: tuple[WorkerStatus, ...]
    populations: tuple[PopulationInfo, ...]
    counters: dict[str, int]
    credits: int = 0


class Error(Header, frozen=True, kw_only=True):
    """Answers any request that failed. `code` names the class in the error tree.

    Where the request was a step, the array `applied` says per agent what happened, and where some agents were applied,
    the arrays of `Stepped` carry their results.
    """

    id: RequestId
    code: str
    message: str
    field: str | None = None
    index: tuple[int, ...] | None = None
    value: str | None = None
    allowed: str | None = None
    retry_after_ms: int | None = None
    attempt: int = 0


class WorkerHello(Header, frozen=True, kw_only=True):
    """Sent by a worker at its start, every 100 ms while it is idle, and when the broker asks.

    `worn` says, as in `Result`, that it is over its limits and that another should take its place.
    """

    worker: Name
    pid: int
    start_time: int
    boot_id: str
    incarnation: RequestId
    epoch: int
    fingerprint: str
    cpu_s: float = 0.0
    rss_bytes: int = 0
    worn: bool = False


class WorkerWelcome(Header, frozen=True, kw_only=True):
    epoch: int


class Part(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`count` agents of a batch that belong to the request `id`."""

    id: RequestId
    count: int


class Work(Header, frozen=True, kw_only=True):
    """One batch for a worker: agents of one population, of one request or of several that ask alike.

    `rows` is the number of agents that the population ever had: a worker that maps fewer maps anew. `generation` is
    where the steps of a population that is journalled are written.
    Of a batch with a `tally`, the number of a shared count, another worker may take a part: one of the two takes its
    agents `from_end`.
    Of what is all of a STEP, or much of it, the worker itself may tell the client, into its `letterbox`, where there is
    one; the batch is then of the agents from `start` on of those that the request names.
    A request that is not about agents travels whole as `request`, the MessagePack header that the client sent.
    """

    epoch: int
    batch: int
    kind: Command
    population: str = ""
    rows: int = 0
    parts: tuple[Part, ...] = ()
    first: int | None = None
    tick: int | None = None
    want: int = 0
    request: bytes = b""
    generation: int = 0
    tally: int | None = None
    from_end: bool = False
    letterbox: bytes | None = None
    start: int = 0


class Bundle(Header, frozen=True, kw_only=True):
    """Holds other messages, all of them WORK or all of them RESULT. `lengths` has the lengths of each one's frames."""

    lengths: Annotated[tuple[Lengths, ...], msgspec.Meta(max_length=MAX_BUNDLED)]


class Telemetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a worker measured while it ran a batch, now and then: sums over the `agents` that the batch stepped.

    `entropy_sum` is over the first `entropy_agents` of them, in nats over all factors; `action_counts` counts the
    actions of the first controlled factor.
    """

    agents: int = 0
    vfe_sum: float = 0.0
    entropy_sum: float = 0.0
    entropy_agents: int = 0
    action_counts: tuple[int, ...] = ()


class Result(Header, frozen=True, kw_only=True):
    """Answers WORK. A failure has `error`; its `id` is that of the first part.

    Of a batch that is shared `count` says how many agents were taken here: the first ones, or the last. `told` says
    that the client has what STEPPED says of them in its letterbox.
    """

    epoch: int
    batch: int
    elapsed_ns: int = 0
    error: Error | None = None
    info: PopulationInfo | None = None
    first: int = 0
    count: int = 0
    spec: bytes = b""
    telemetry: Telemetry | None = None
    journal_bytes: int = 0
    told: bool = False
    cpu_s: float = 0.0
    rss_bytes: int = 0
    worn: bool = False


class Forget(Header, frozen=True, kw_only=True):
    """The population is gone: a worker lets go of its files."""

    population: Uid


class Leaving(Header, frozen=True, kw_only=True):
    """A worker that was asked to end: send it nothing more."""

    worker: Name


class Retire(Header, frozen=True, kw_only=True):
    """The broker's answer to `worn`, in its own time: the worker leaves, and supervisord starts another."""


class Left(Header, frozen=True, kw_only=True):
    """The broker's answer to LEAVING: what was sent before it is all that the worker still has to do."""


def population_uid(create: bytes) -> str:
    """The uid of the population that the CREATE request of this id makes: every retry makes the same one."""
    return hashlib.sha256(create).hexdigest()[:16]


HEADERS: dict[Command, type[Header]] = {
    Command.HELLO: Hello,
    Command.PING: Ping,
    Command.CREATE: Create,
    Command.ATTACH: Attach,
    Command.LIST: List,
    Command.DROP: Drop,
    Command.ADD_AGENTS: AddAgents,
    Command.REMOVE_AGENTS: RemoveAgents,
    Command.STEP: Step,
    Command.READ: Read,
    Command.PARAMETERS: Parameters,
    Command.STATUS: Status,
    Command.RELEASE: Release,
    Command.CANCEL: Cancel,
    Command.CHECKPOINT: Checkpoint,
    Command.SNAPSHOT: Snapshot,
    Command.RESTORE: Restore,
    Command.FORK: Fork,
    Command.RECOVER: Recover,
    Command.WORKER_HELLO: WorkerHello,
    Command.WORKER_WELCOME: WorkerWelcome,
    Command.WORK: Work,
    Command.RESULT: Result,
    Command.BUNDLE: Bundle,
    Command.FORGET: Forget,
    Command.LEAVING: Leaving,
    Command.LEFT: Left,
    Command.RETIRE: Retire,
    Command.WELCOME: Welcome,
    Command.PONG: Pong,
    Command.POPULATION: Population,
    Command.POPULATIONS: Populations,
    Command.DONE: Done,
    Command.AGENTS: Agents,
    Command.STEPPED_PART: SteppedPart,
    Command.STEPPED: Stepped,
    Command.VALUES: Values,
    Command.STATUS_REPORT: StatusReport,
    Command.ERROR: Error,
}
"""The header of every command; the test of this table fails when a command has none."""
