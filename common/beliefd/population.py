"""A population as its simulator holds it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from beliefd import peragent
from beliefd.agents import Rows, agent_rows, compact, executed_array, new_ids, reset_array, some_ids
from beliefd.allocation import keep_freed_memory
from beliefd.background import Collected
from beliefd.call import (
    Call,
    Chunk,
    checked_header,
    deadline_after,
    read_call,
    remaining_s,
    step_call,
    want_bits,
)
from beliefd.learned import LearnedCounts, learned_counts
from beliefd.model import Model
from beliefd.observations import canonical, wire_dtype
from beliefd.session import Pending
from beliefd.step import Reading, Step
from beliefd.ticks import Ticks
from beliefd.wire import ids_from, observation_arrays
from beliefd_proto import Applied, Arrays, Command, Message, ModelInfo, Want
from beliefd_proto import messages as m
from beliefd_proto.errors import BeliefdError, InvalidArgument, UnknownPopulation
from beliefd_proto.model_info import smallest_int

if TYPE_CHECKING:
    from beliefd.client import Client

DEFAULT_TIMEOUT_S = 10.0


class Population:
    """Agents that share a model. Made by `Client.create_population` and `Client.population`.

    Attributes
    ----------
    name, uid : str
    info : ModelInfo
        Sizes of the model.
    seed : int
    durability : str
    rebuilt : Rebuilt or None
        Where the state did not come from steps alone: what was found when it was rebuilt after a power loss, restored
        or forked, and what was lost. See `beliefd_proto.messages.Rebuilt`; `refresh` reads it anew.
    agents : ndarray of int64, shape (n,)
        The numbers of the live agents, ascending. Arrays over the whole population follow this order.
    agent_ids : tuple of str, or None
        The ids of `agents`, in the same order, where the population has ids.

    Notes
    -----
    The handle knows the tick of every agent, and with it makes a step exactly once: a step that is sent again, by
    whatever accident, is applied once. One simulator steps an agent; where two do, one of them gets `TickTaken` or
    `StaleTick`, and its next step goes on from where the agent is.
    """

    def __init__(self, client: Client, attached: Message) -> None:
        self._client = client
        # Guards membership.
        self._lock = threading.Lock()
        self._ticks = Ticks()
        self._all: Rows = np.zeros(0, np.int64)
        self._adopt(attached)

    def __len__(self) -> int:
        return len(self.agents)

    def __repr__(self) -> str:
        return f"<Population {self.name!r}: {len(self)} agents, model {self.info.hash[:12]}>"

    def step(
        self,
        observations: ArrayLike | Sequence[ArrayLike],
        *,
        agents: ArrayLike | Sequence[str] | None = None,
        reset: ArrayLike | None = None,
        executed_actions: ArrayLike | None = None,
        want: Iterable[str] = (),
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Step:
        """One tick of perception and action for n agents.

        Parameters
        ----------
        observations : array_like
            Integers (n, modalities), or (n,) for one modality; -1 where an observation is missing. Or a list with one
            array per modality: integers (n,) are indices, floats (n, num_obs[m]) are probabilities.
        agents : array_like of int, or sequence of str, optional
            Which agents, each once, by number or by id; by default all of `agents`.
        reset : array_like of bool, shape (n,), optional
            Agents that start again from D before this observation. What they learned stays.
        executed_actions : array_like of int, shape (n, factors) or (n,) for one controlled factor, optional
            What the environment really did since the last step, in place of the actions that the agents chose; -1 where
            the agent's own action stands.
        want : iterable of str
            Further outputs: ``"beliefs"``, ``"q_pi"``, ``"neg_efe"``, ``"vfe"``; and the parts of ``neg_efe``:
            ``"utility"``, ``"info_gain"``, ``"inductive"``, ``"novelty"``; and ``"gamma"``.
        timeout_s : float
            By when the call ends, in an answer or in an error.

        Returns
        -------
        Step

        Raises
        ------
        InvalidObservation, InvalidArgument, UnknownAgent
            The input was refused; nothing changed.
        TickTaken, StaleTick, TickGap
            Somebody else steps some of these agents; ``applied`` tells which were stepped by this call.
        DeadlineExceeded, Disconnected
            ``applied`` tells per agent whether the step was made. Where it is unknown, `retry` settles it.
        """
        deadline_s = deadline_after(timeout_s)
        taken: list[Rows] = []
        with self._client.undisturbed():
            try:
                call = self._prepare(observations, agents, reset, executed_actions, want, deadline_s, taken)
                self._carry(call, call.chunks, deadline_s)
                return self._finish(call, taken)
            except BaseException:
                self._ticks.give_back(taken)
                raise

    def submit(
        self,
        observations: ArrayLike | Sequence[ArrayLike],
        *,
        agents: ArrayLike | Sequence[str] | None = None,
        reset: ArrayLike | None = None,
        executed_actions: ArrayLike | None = None,
        want: Iterable[str] = (),
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Future[Step]:
        """`step` without waiting: for pipelining over populations, or over disjoint agents of one.

        Input is checked before this returns, so what is wrong with it is raised here and not by the future. `cancel` of
        the future takes back what no worker has been given: `result` then raises `Cancelled`, with `applied` per agent.
        """
        deadline_s = deadline_after(timeout_s)
        taken: list[Rows] = []
        try:
            with self._client.undisturbed():
                try:
                    call = self._prepare(observations, agents, reset, executed_actions, want, deadline_s, taken)
                    return self._begin(call, deadline_s, taken)
                except BaseException:
                    self._ticks.give_back(taken)
                    raise
        except KeyboardInterrupt:  # that was put off to here: though all of it may be sent, nobody has the future
            self._ticks.give_back(taken)
            raise

    def _begin(self, call: Call, deadline_s: float, taken: list[Rows]) -> Future[Step]:
        """Send a call; its future ends on whichever thread drives."""
        client = self._client
        result: Future[Step] = Collected(client.collect, lambda: client.cancel(call.pending()), client.undisturbed)
        result.set_running_or_notify_cancel()

        def answered() -> None:
            if call.is_answered and not result.done():
                self._tell(result, call, taken)

        self._send(call, call.chunks, deadline_s, answered)
        client.drive_in_background()
        return result

    def _tell(self, result: Future[Step], call: Call, taken: list[Rows]) -> None:
        """End a future in the outcome of its call."""
        try:
            outcome = self._finish(call, taken)
        except Exception as error:  # such as MemoryError
            self._ticks.give_back(taken)
            result.set_exception(error)
        else:
            result.set_result(outcome)

    def retry(self, error: BeliefdError, timeout_s: float = DEFAULT_TIMEOUT_S) -> Step:
        """Settle a step whose outcome is unknown: send the same requests again, under the same ids.

        Parameters
        ----------
        error : BeliefdError
            As a step of this population raised it.

        Returns
        -------
        Step
            Of the whole call, as if it had succeeded at once.
        """
        call = getattr(error, "call", None)
        applied = getattr(error, "applied", None)
        if call is None and applied is not None and not applied.any():
            raise InvalidArgument("nothing of this step was sent; make it again", field="error", value=repr(error))
        if not isinstance(call, Call) or call.ticks is None or call.chunks[0].header.population != self.uid:
            raise InvalidArgument("not an error of a step of this population", field="error", value=repr(error))
        deadline_s = deadline_after(timeout_s)
        unsettled = [chunk for chunk in call.chunks if not chunk.has_succeeded]
        taken: list[Rows] = []
        with self._client.undisturbed():
            try:
                self._ticks.take(call.rows, taken)
                for chunk in unsettled:
                    chunk.header = msgspec.structs.replace(chunk.header, attempt=chunk.header.attempt + 1)
                self._carry(call, unsettled, deadline_s)
                return self._finish(call, taken)
            except BaseException:
                self._ticks.give_back(taken)
                raise

    def read(
        self,
        agents: ArrayLike | Sequence[str] | None = None,
        *,
        want: Iterable[str] = ("beliefs",),
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Reading:
        """The committed state of agents: what their last step left. Changes nothing.

        Parameters
        ----------
        want : iterable of str
            Beside tick and actions: what `step` offers, and ``"observations"``.
        """
        return self._read(self._rows(agents)[0], want, deadline_after(timeout_s))

    def _read(self, rows: Rows, want: Iterable[str], deadline_s: float) -> Reading:
        return self._ask(rows, want_bits(want, read=True), deadline_s).reading()

    def _ask(self, rows: Rows, want: int, deadline_s: float) -> Call:
        """Read agents; returns the call with all its answers."""
        call = read_call(self.uid, self.info, self._client.limits, rows, want)
        with self._client.undisturbed():
            self._carry(call, call.chunks, deadline_s)
        if (error := call.error()) is not None:
            raise error
        return call

    def parameters(
        self, agents: ArrayLike | Sequence[str] | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> LearnedCounts:
        """What agents have learned, as of their last tick. What all agents share is in `model`.

        Parameters
        ----------
        agents : array_like of int, or sequence of str, optional
            By default all of `agents`.

        Returns
        -------
        dict
            The counts that the model learns, named as its arguments are. ``"pA"`` to ``"pD"``: a list with an array
            per modality or factor, shape (n, ...) as the model has it, None for one that is not learned. ``"pE"``: an
            array, shape (n, policies).
        """
        rows = self._rows(agents)[0]
        if not self.info.learned:
            return {}
        call = self._ask(rows, int(Want.LEARNED), deadline_after(timeout_s))
        return learned_counts(self.info, call.arrays())

    def model(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> Model:
        """The model, as the server holds it."""
        answer = self._request(Command.PARAMETERS, m.Parameters, timeout_s)
        assert isinstance(answer.header, m.Values)
        return Model.from_parts(msgspec.msgpack.decode(answer.header.spec), answer.arrays)

    def add_agents(
        self,
        count: int | None = None,
        *,
        agent_ids: Sequence[str] | None = None,
        per_agent: Mapping[str, Any] | None = None,
        timeout_s: float = 60.0,
    ) -> NDArray[np.int64]:
        """Add agents while the population runs; returns their numbers. Numbers are never used twice.

        Where the agents of the population have parameters of their own, `per_agent` gives those of the new ones, as
        `Client.create_population` takes it.
        """
        if count is None and agent_ids is None:
            raise InvalidArgument("say how many agents, or their ids", field="count", allowed="1 or more")
        arrays = new_ids(agent_ids)
        count = len(arrays["id_ends"]) if count is None else count
        own = peragent.given(per_agent, self.info, self.info.per_agent, count)
        peragent.check_complete(own, self.info)
        pieces = peragent.pieces(own, count, self._client.limits.frame_bytes)
        return self.add_pieces(pieces, arrays, own, deadline_after(timeout_s))

    def add_pieces(self, pieces: Sequence[slice], ids: Arrays, own: Arrays, deadline_s: float) -> NDArray[np.int64]:
        """Add agents whose arguments are checked, piece by piece. For the client that made this population."""
        added = [np.zeros(0, np.int64)]
        for piece in pieces:
            arrays = {**some_ids(ids, piece), **peragent.to_message(own, piece)}
            added.append(self._add(piece.stop - piece.start, arrays, deadline_s))
        return np.concatenate(added)

    def _add(self, count: int, arrays: Arrays, deadline_s: float) -> NDArray[np.int64]:
        answer = self._request(Command.ADD_AGENTS, m.AddAgents, remaining_s(deadline_s), count=count, arrays=arrays)
        assert isinstance(answer.header, m.Agents)
        first, rows = answer.header.first, answer.header.first + answer.header.count
        added = np.arange(first, rows)
        with self._lock:
            if not len(self.agents) or self.agents[-1] < first:  # else a refresh has seen them
                ids = None if self.agent_ids is None else (*self.agent_ids, *(ids_from(arrays) or ()))
                self._set_members(np.concatenate([self.agents, added]), ids, rows)
        return added

    def remove_agents(self, agents: ArrayLike | Sequence[str], timeout_s: float = 60.0) -> None:
        """End agents, by number or by id."""
        rows = self._numbers_of(agents)
        self._request(Command.REMOVE_AGENTS, m.RemoveAgents, timeout_s, arrays={"agents": rows.astype(np.uint32)})
        with self._lock:
            kept = ~np.isin(self.agents, rows)
            ids = self.agent_ids
            if ids is not None:
                ids = tuple(name for name, stays in zip(ids, kept, strict=True) if stays)
            self._set_members(self.agents[kept], ids, len(self._ticks))

    def checkpoint(self, timeout_s: float = 60.0) -> None:
        """Copy the agents' state to a file, synced. A power loss takes nothing that came before this returns."""
        self._request(Command.CHECKPOINT, m.Checkpoint, timeout_s)

    def snapshot(self, name: str, timeout_s: float = 60.0) -> None:
        """Copy the population as it stands, with its model, to var/snapshots under this name.

        The folder is complete in itself: it can be copied to another machine. Steps wait while it is made.

        Raises
        ------
        InvalidArgument
            There is a snapshot of this name.
        DiskFull
        """
        self._request(Command.SNAPSHOT, m.Snapshot, timeout_s, name=name)

    def fork(self, name: str, *, at_tick: int | None = None, timeout_s: float = 60.0) -> Population:
        """Make a population of its own whose agents stand where these do, and go on from there: what if?

        The same seed, so with the same inputs the same happens, bit for bit.

        Parameters
        ----------
        name : str
            As in `create_population`.
        at_tick : int, optional
            Each agent as its tick `at_tick` left it, or as it stands if it has not come so far. Who lives is as now.
            Only for durability "disk", and as far back as the server keeps history.

        Raises
        ------
        PopulationExists
        InvalidArgument
            What is kept does not reach back so far, or the population is not journalled.
        DiskFull
        """
        header = checked_header(m.Fork, population=self.uid, name=name, at_tick=at_tick)
        return Population(self._client, self._client.request(Command.FORK, header, {}, timeout_s))

    def drop(self, timeout_s: float = 60.0) -> None:
        """End the population and delete its files."""
        self._request(Command.DROP, m.Drop, timeout_s)

    def release(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """End a quarantine: the population takes steps again."""
        self._request(Command.RELEASE, m.Release, timeout_s)

    def refresh(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Learn anew which agents live, after another client added or removed some.

        Raises
        ------
        UnknownPopulation
            This population was dropped; where there is another one of its name now, attach to it by
            `Client.population`.
        """
        header = checked_header(m.Attach, name=self.name)
        attached = self._client.request(Command.ATTACH, header, {}, timeout_s)
        if isinstance(attached.header, m.Population) and attached.header.info.uid != self.uid:
            raise UnknownPopulation(
                "this population was dropped, and another one has its name now", field="population", value=self.name
            )
        self._adopt(attached)

    def _adopt(self, attached: Message) -> None:
        header = attached.header
        assert isinstance(header, m.Population)
        ranges, ids = attached.arrays["members"], ids_from(attached.arrays)
        agents = np.concatenate([np.arange(a, b) for a, b in ranges] or [np.zeros(0, np.int64)])
        keep_freed_memory(len(agents))
        with self._lock:
            self.name = header.info.name
            self.uid = header.info.uid
            self.info: ModelInfo = header.info.model
            self._wire_dtype = wire_dtype(self.info)
            self.seed = header.info.seed
            self.durability = header.info.durability
            self.rebuilt = header.info.rebuilt
            self._set_members(agents, ids, header.info.rows)

    def _set_members(self, agents: NDArray[np.int64], agent_ids: tuple[str, ...] | None, rows: int) -> None:
        """Take over who lives. The lock is held."""
        self._numbers = None if agent_ids is None else dict(zip(agent_ids, agents.tolist(), strict=True))
        self.agent_ids = agent_ids
        self.agents: NDArray[np.int64] = agents
        self._all = compact(agents) if len(agents) else agents
        self._ticks.set_members(self._all, rows)

    def _rows(self, agents: Any) -> tuple[Rows, int]:
        """The agents of a call, and how many they are."""
        if agents is None:
            with self._lock:
                live, rows = self.agents, self._all
            if len(live):
                return rows, len(live)
        numbers = self._numbers_of(agents)
        return compact(numbers), len(numbers)

    def _numbers_of(self, agents: Any) -> NDArray[np.int64]:
        with self._lock:
            live, numbers = self.agents, self._numbers
        return agent_rows(agents, live, numbers)

    def _prepare(
        self,
        observations: Any,
        agents: Any,
        reset: Any,
        executed_actions: Any,
        want: Iterable[str],
        deadline_s: float,
        taken: list[Rows],
    ) -> Call:
        """Check the whole input, learn uncertain ticks, and cut the call. Nothing is sent before all of it is valid."""
        rows, count = self._rows(agents)
        # Copies: what is sent again, after a loss or by `retry`, is what was checked, whatever the caller does now.
        inputs = observation_arrays(canonical(observations, self.info, count, self._wire_dtype, copy=True))
        if reset is not None:
            inputs["reset"] = reset_array(reset, count)
        if executed_actions is not None:
            controls = smallest_int(max(self.info.num_controls))
            inputs["executed_actions"] = executed_array(executed_actions, self.info, count, controls)
        bits = want_bits(want)
        certain = self._ticks.take(rows, taken)
        try:
            if not certain:
                numbers = self._ticks.uncertain(rows)
                self._ticks.learn(numbers, self._read(numbers, (), deadline_s).tick)
            ticks, tick = self._ticks.following(rows, count)
            call = step_call(self.uid, self.info, self._client.limits, rows, ticks, inputs, bits, tick)
            for chunk in call.chunks:  # all, before the first is sent
                self._client.check_size(chunk.arrays)
            return call
        except BaseException as error:
            self._ticks.give_back_unsent(rows, taken)
            if isinstance(error, BeliefdError):
                error.applied = np.full(count, Applied.NO, np.uint8)  # nothing was sent but a read
            raise

    def _carry(self, call: Call, chunks: list[Chunk], deadline_s: float) -> None:
        """Send chunks and wait for their answers."""
        self._send(call, chunks, deadline_s)
        for chunk in chunks:
            assert chunk.future is not None
            self._client.drive(chunk.future.done)

    def _send(
        self, call: Call, chunks: list[Chunk], deadline_s: float, answered: Callable[[], None] | None = None
    ) -> None:
        for chunk in chunks:
            # Before it is sent: the answer may be there, and `answered` be called, before `send` has returned.
            chunk.future = pending = Pending(call.command, chunk.header, chunk.arrays, deadline_s, answered)
            self._client.send(pending)

    def _finish(self, call: Call, taken: list[Rows]) -> Step:
        """Take what a step did into the ticks, give back the agents it has `taken`, and return or raise its outcome."""
        error = call.error()
        self._ticks.settle(call, error, taken)
        if error is not None:
            error.call = call
            raise error
        return call.step()

    def _request(self, command: Command, kind: type[Any], timeout_s: float, **fields: Any) -> Message:
        arrays = fields.pop("arrays", {})
        header = checked_header(kind, population=self.uid, **fields)
        return self._client.request(command, header, arrays, timeout_s)
