"""A step or read over any number of agents, as the chunks that travel, and their answers as one result."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from beliefd.agents import Rows, compact
from beliefd.session import Pending
from beliefd.step import Reading, Step
from beliefd_proto import Applied, Arrays, Command, Message, ModelInfo, Want
from beliefd_proto import messages as m
from beliefd_proto.errors import BeliefdError, InvalidArgument

# Plain integers: the operators of an enum cost more than the rest of a small call.
_WANT = {
    "beliefs": int(Want.BELIEFS),
    "q_pi": int(Want.Q_PI),
    "neg_efe": int(Want.NEG_EFE),
    "vfe": int(Want.VFE),
    "utility": int(Want.UTILITY),
    "info_gain": int(Want.INFO_GAIN),
    "inductive": int(Want.INDUCTIVE),
    "novelty": int(Want.NOVELTY),
    "gamma": int(Want.GAMMA),
}
_SECONDS = (int, float, np.integer, np.floating)  # one tuple: a union is made anew for every call
_NAMES = "1..128 letters, digits, dots, underscores and hyphens, the first a letter or digit"
_WANT_READ = {**_WANT, "observations": int(Want.OBSERVATION)}


def want_bits(want: Iterable[str], read: bool = False) -> int:
    """The outputs named in `want` as bits of `Want`.

    Raises
    ------
    InvalidArgument
        For a name that is no output.
    """
    if isinstance(want, tuple) and not want:
        return 0
    known = _WANT_READ if read else _WANT
    bits = 0
    names = (want,) if isinstance(want, str) else want.tolist() if isinstance(want, np.ndarray) else want
    if not isinstance(names, Iterable):
        raise InvalidArgument("outputs come as a list of names", field="want", value=want, allowed="() for none")
    for i, name in enumerate(names):
        if not isinstance(name, str) or name not in known:
            raise InvalidArgument(
                "there is no such output", field="want", index=(i,), value=name, allowed=", ".join(sorted(known))
            )
        bits |= known[name]
    return bits


class Chunk(msgspec.Struct, eq=False):
    """Agents `start` to `stop` of a call, and the answer once it is there."""

    start: int
    stop: int
    header: m.AgentRequest
    arrays: Arrays
    future: Pending | None = None

    @property
    def has_succeeded(self) -> bool:
        """Whether its answer is there and is no error."""
        return self.future is not None and isinstance(self.future.outcome, Message)


class Call(msgspec.Struct, eq=False):
    """One call of the user. `rows` are the `count` agents, `ticks` what the call commits for each (steps only).

    `tick` is the one that all of them have, where they have.
    """

    command: Command
    info: ModelInfo
    rows: Rows
    count: int
    ticks: NDArray[np.int64] | None
    chunks: list[Chunk]
    tick: int | None = None

    def pending(self) -> list[Pending]:
        """The requests of its chunks."""
        return [chunk.future for chunk in self.chunks if chunk.future is not None]

    @property
    def is_answered(self) -> bool:
        """Whether all its chunks are."""
        return all(chunk.future is not None and chunk.future.done() for chunk in self.chunks)

    def errors(self) -> list[tuple[Chunk, BeliefdError]]:
        """What went wrong, of chunks whose answer is there."""
        ended = [(chunk, chunk.future.outcome) for chunk in self.chunks if chunk.future is not None]
        return [(chunk, outcome) for chunk, outcome in ended if isinstance(outcome, BeliefdError)]

    def error(self) -> BeliefdError | None:
        """The first error, telling of the whole call: `applied` over all its agents, and `partial` results."""
        errors = self.errors()
        if not errors:
            return None
        first = errors[0][1]
        failed = {chunk.start: error for chunk, error in errors}
        if self.command is Command.STEP:
            applied = np.full(self.count, Applied.YES, np.uint8)
            for chunk in self.chunks:
                error = failed.get(chunk.start)
                if error is not None:
                    told = Applied.UNKNOWN if error.applied is None else error.applied
                    applied[chunk.start : chunk.stop] = told
            arrays = self._gathered({start: error.partial or {} for start, error in failed.items()})
            first.applied = applied
            first.partial = self._step(arrays) if "actions" in arrays else None
        return first

    def step(self) -> Step:
        return self._step(self._gathered({}))

    def arrays(self) -> Arrays:
        """The arrays of all answers, of which none is an error, as one."""
        return self._gathered({})

    def reading(self) -> Reading:
        arrays = self._gathered({})
        return Reading(
            tick=arrays["tick"],
            actions=_actions(arrays),
            observations=arrays.get("observations"),
            **self._outputs(arrays),
        )

    def _step(self, arrays: Arrays) -> Step:
        assert self.ticks is not None
        return Step(
            actions=_actions(arrays),
            tick=self.ticks,
            control_fac_idx=self.info.control_fac_idx,
            **self._outputs(arrays),
        )

    def _outputs(self, arrays: Arrays) -> dict[str, Any]:
        if len(arrays) == 1:
            return {}
        beliefs = arrays.get("beliefs")
        return {
            "beliefs": None if beliefs is None else np.split(beliefs, np.cumsum(self.info.num_states)[:-1], axis=1),
            "q_pi": arrays.get("q_pi"),
            "neg_efe": arrays.get("neg_efe"),
            "utility": arrays.get("utility"),
            "info_gain": arrays.get("info_gain"),
            "inductive": arrays.get("inductive"),
            "novelty": arrays.get("novelty"),
            "vfe": arrays.get("vfe"),
            "gamma": arrays.get("gamma"),
        }

    def _gathered(self, failed: Mapping[int, Arrays]) -> Arrays:
        """The arrays of all answers as one; zeros where a chunk has none."""
        first = self.chunks[0]
        if len(self.chunks) == 1:
            return failed[first.start] if failed else _arrays(first)
        parts = [(chunk, failed[chunk.start] if chunk.start in failed else _arrays(chunk)) for chunk in self.chunks]
        names = {name: a for _, arrays in parts for name, a in arrays.items() if name != "applied"}
        gathered: Arrays = {}
        for name, like in names.items():
            dtype = np.dtype(np.int32) if name == "actions" else like.dtype
            make = np.empty if all(name in arrays for _, arrays in parts) else np.zeros
            whole = make((self.count, *like.shape[1:]), dtype)
            for chunk, arrays in parts:
                if name in arrays:
                    whole[chunk.start : chunk.stop] = arrays[name]
            gathered[name] = whole
        return gathered


def step_call(
    population: str,
    info: ModelInfo,
    limits: m.Limits,
    rows: Rows,
    ticks: NDArray[np.int64],
    inputs: Mapping[str, NDArray[Any]],
    want: int,
    tick: int | None = None,
) -> Call:
    """Cut a step into chunks. `inputs` are the arrays with a row per agent; every chunk gets an id of its own.

    `tick` is that of all of `ticks` where it is known that they are the same.
    """
    count = len(ticks)
    if tick is None and (count == 1 or _all_the_same(ticks)):
        tick = int(ticks[0])
    size = _chunk_agents(count, info, limits, want, inputs)
    chunks = []
    for start in range(0, count, size):
        stop = min(start + size, count)
        arrays: Arrays = {}
        first = _first(rows, start, stop, arrays)
        if tick is None:
            arrays["ticks"] = ticks[start:stop]
        for name, rows_of_input in inputs.items():
            arrays[name] = rows_of_input[start:stop]
        header = m.Step(
            id=os.urandom(16),
            deadline_ms=0,
            population=population,
            count=stop - start,
            first=first,
            want=want,
            tick=tick,
        )
        chunks.append(Chunk(start, stop, header, arrays))
    return Call(Command.STEP, info, rows, count, ticks, chunks, tick)


def read_call(population: str, info: ModelInfo, limits: m.Limits, rows: Rows, want: int) -> Call:
    """Cut a read into chunks."""
    count = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
    size = _chunk_agents(count, info, limits, want, {})
    chunks = []
    for start in range(0, count, size):
        stop = min(start + size, count)
        arrays: Arrays = {}
        first = _first(rows, start, stop, arrays)
        header = m.Read(
            id=os.urandom(16),
            deadline_ms=0,
            population=population,
            count=stop - start,
            first=first,
            want=want,
        )
        chunks.append(Chunk(start, stop, header, arrays))
    return Call(Command.READ, info, rows, count, None, chunks)


def _chunk_agents(count: int, info: ModelInfo, limits: m.Limits, want: int, inputs: Mapping[str, NDArray[Any]]) -> int:
    """How many agents go into a chunk: as few chunks as there may be, of one size but for the last."""
    if count == 1:
        return 1
    row_bytes = max(info.answer_row_bytes(want), sum(a[:1].nbytes for a in inputs.values()), 1)
    most = max(min(limits.chunk_agents, limits.frame_bytes // row_bytes), 1)
    return -(-count // max(-(-count // most), 1))


def same_ticks(tick: int, count: int) -> NDArray[np.int64]:
    """The tick that so many agents have, without so many numbers; read-only."""
    ticks = np.ndarray(count, np.int64, np.array((tick,)), 0, (0,))
    ticks.flags.writeable = False
    return ticks


def _all_the_same(numbers: NDArray[np.int64]) -> bool:
    return bool(np.minimum.reduce(numbers) == np.maximum.reduce(numbers))


def _first(rows: Rows, start: int, stop: int, arrays: Arrays) -> int | None:
    """The first of neighbouring agents; else None, with the agents added to `arrays`."""
    if isinstance(rows, slice):
        return int(rows.start) + start
    chunk = compact(rows[start:stop])
    if isinstance(chunk, slice):
        return int(chunk.start)
    arrays["agents"] = chunk.astype(np.uint32)
    return None


def _actions(arrays: Arrays) -> NDArray[np.int32]:
    """Actions as the caller gets them: they travel in a smaller type, which `_gathered` widens."""
    actions = arrays["actions"]
    return actions.astype(np.int32, copy=not actions.flags.writeable)  # what lies in a message cannot be written to


def _arrays(chunk: Chunk) -> Arrays:
    assert chunk.future is not None
    return chunk.future.result().arrays


def deadline_after(timeout_s: Any) -> float:
    """When a call that may take `timeout_s` seconds from now ends, on the monotonic clock.

    Raises
    ------
    InvalidArgument
    """
    if not isinstance(timeout_s, _SECONDS) or not 0 < timeout_s <= 86_400:
        raise InvalidArgument("not a time to wait", field="timeout_s", value=timeout_s, allowed="0 < s <= 86400")
    return time.monotonic() + float(timeout_s)


def remaining_s(deadline_s: float) -> float:
    """What is left until then: more than nothing, so that what is asked late ends in its own error."""
    return max(deadline_s - time.monotonic(), 1e-3)


def checked_header(kind: type[Any], **fields: Any) -> Any:
    """A header with a fresh id, its fields checked as the broker will check them.

    Raises
    ------
    InvalidArgument
    """
    fields = {name: int(value) if isinstance(value, np.integer) else value for name, value in fields.items()}
    header = kind(id=os.urandom(16), deadline_ms=0, **fields)
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(header), type=kind)
    except UnicodeEncodeError as error:
        field = next(name for name, value in fields.items() if value == error.object)
        raise InvalidArgument("is to be encoded as UTF-8", field=field, value=error.object) from None
    except (msgspec.ValidationError, TypeError, OverflowError) as error:
        field = str(error).rpartition("$.")[2].rstrip("`") if "$." in str(error) else kind.__name__.lower()
        value = fields.get(field)
        if field == "name" and isinstance(value, str):
            raise InvalidArgument("not a usable name", field=field, value=value[:200], allowed=_NAMES) from None
        raise InvalidArgument(str(error).partition(" - at")[0], field=field, value=value) from None
    return header
