"""Whether a chunk may be dispatched: checked whole, before anything is, so that a refused chunk has changed nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.agents import check_executed
from beliefd.observations import check
from beliefd.wire import ID_ARRAYS, PARAMETER_PREFIX, observations_from
from beliefd_broker.population import Population
from beliefd_proto import Arrays, Command, ModelInfo, Want
from beliefd_proto.errors import InvalidArgument, MalformedMessage, Quarantined, TooLarge, UnknownAgent
from beliefd_proto.messages import AgentRequest, Limits, Step

_WANT_OF_READ = sum(int(bit) for bit in Want)
_WANT_OF_STEP = _WANT_OF_READ & ~int(Want.OBSERVATION | Want.LEARNED)
# CREATE by the model, in the worker that does it; the others against their population.
_ARRAYS_CHECKED_LATER = frozenset({Command.CREATE, Command.STEP, Command.READ, Command.REMOVE_AGENTS})
_ACTION_DTYPES = ("|i1", "<i2", "<i4")
_READ_ARRAYS = frozenset({"agents"})


def check_arrays(command: Command, arrays: Arrays) -> None:
    """Refuse arrays of a request that takes none, or of an ADD_AGENTS that are neither ids nor parameters.

    Raises
    ------
    MalformedMessage
    """
    if command not in _ARRAYS_CHECKED_LATER:
        known = frozenset(ID_ARRAYS) if command is Command.ADD_AGENTS else frozenset()
        _check_names([name for name in arrays if not (known and name.startswith(PARAMETER_PREFIX))], known)


def check_chunk(header: AgentRequest, arrays: Arrays, population: Population, limits: Limits) -> None:
    """Refuse a chunk that no worker should see.

    Raises
    ------
    InvalidInput, UnknownAgent, Quarantined
    """
    _check_size(header, population, limits)
    _check_agents(header, arrays, population)
    _check_names(arrays, population.step_arrays if isinstance(header, Step) else _READ_ARRAYS)
    if isinstance(header, Step):
        _check_ticks(header, arrays)
        _check_inputs(header, arrays, population)
    if population.info.quarantined:
        raise quarantined_error(population)


def check_observations(arrays: Arrays, agents: int, model: ModelInfo) -> None:
    """Refuse observations that are not those of so many agents of this model.

    Raises
    ------
    MalformedMessage, InvalidObservation
    """
    observations = observations_from(arrays, model)
    if observations.indices.ndim != 2 or len(observations.indices) != agents:
        raise MalformedMessage(
            "one row of observations per agent",
            field="observations",
            value=observations.indices.shape,
            allowed=f"({agents}, {model.num_modalities})",
        )
    check(observations, model)


def quarantined_error(population: Population) -> Quarantined:
    return Quarantined(
        "a request of this population killed three workers; an operator releases it",
        field="population",
        value=population.info.name,
    )


def check_removed(arrays: Arrays, population: Population) -> None:
    """Refuse a REMOVE_AGENTS that no worker should see.

    Whether the agents live is for the worker to say: where this is a request that was done and is sent again, because
    its answer was lost, they do not.

    Raises
    ------
    MalformedMessage, InvalidArgument, UnknownAgent
    """
    _check_names(arrays, _READ_ARRAYS)
    rows = arrays.get("agents")
    if rows is None or rows.ndim != 1 or not len(rows):
        raise MalformedMessage(
            "the array agents names the agents that end", field="agents", allowed="<u4 of shape (n,)"
        )
    _check_array("agents", rows, ("<u4",), rows.shape)
    _check_numbers(rows, population)


def _check_names(arrays: Iterable[str], known: frozenset[str]) -> None:
    for name in arrays:
        if name not in known:
            raise MalformedMessage("this array has no meaning here", field="arrays", value=name[:40])


def _check_size(header: AgentRequest, population: Population, limits: Limits) -> None:
    if not 1 <= header.count <= limits.chunk_agents:
        raise TooLarge(
            "a chunk has a bounded size", field="count", value=header.count, allowed=f"1..{limits.chunk_agents}"
        )
    allowed = _WANT_OF_STEP if isinstance(header, Step) else _WANT_OF_READ
    if header.want & ~allowed:
        raise InvalidArgument(
            "these outputs do not exist", field="want", value=header.want, allowed=f"bits of {allowed:d}"
        )
    answer_bytes = population.row_bytes(header.want) * header.count
    if answer_bytes > limits.frame_bytes:
        raise TooLarge(
            "the answer would be too large; ask for fewer agents at once",
            field="count",
            value=f"{answer_bytes} bytes",
            allowed=f"{limits.frame_bytes} bytes",
        )


def _check_agents(header: AgentRequest, arrays: Arrays, population: Population) -> None:
    rows = arrays.get("agents")
    if (rows is None) == (header.first is None):
        raise MalformedMessage("a chunk names its agents either by first or by the array agents", field="first")
    size = population.info.rows
    if rows is None:
        first = header.first or 0
        if first + header.count > size:
            raise _unknown_agent(max(size, first) - first, max(size, first), population)
        if not population.all_live:
            _check_living(population.live[first : first + header.count], population, first)
        return
    _check_array("agents", rows, ("<u4",), (header.count,))
    _check_numbers(rows, population)
    if not population.all_live:
        _check_living(population.live[rows], population, rows)


def _check_living(living: NDArray[np.bool_], population: Population, numbers: int | NDArray[Any]) -> None:
    """Refuse agents that were removed: those with these numbers, or from this one on."""
    if np.count_nonzero(living) < len(living):
        at = int(np.argmin(living))
        number = numbers + at if isinstance(numbers, int) else int(numbers[at])
        raise _unknown_agent(at, number, population)


def _check_numbers(rows: NDArray[Any], population: Population) -> None:
    """Refuse numbers that no agent ever had, or that are named twice."""
    size = population.info.rows
    if rows.max() >= size:
        at = int(np.argmax(rows >= size))
        raise _unknown_agent(at, int(rows[at]), population)
    if len(rows) > 1 and not (rows[1:] > rows[:-1]).all():
        unique, places = np.unique(rows, return_index=True)
        if len(unique) < len(rows):
            at = int(np.setdiff1d(np.arange(len(rows)), places)[0])
            raise InvalidArgument("an agent is named twice", field="agents", index=(at,), value=int(rows[at]))


def _unknown_agent(at: int, number: int, population: Population) -> UnknownAgent:
    return UnknownAgent(
        f"population {population.info.name!r} has no such agent",
        field="agents",
        index=(at,),
        value=number,
        allowed=f"the {population.info.live} live agents below {population.info.rows}",
    )


def _check_ticks(header: Step, arrays: Arrays) -> None:
    ticks = arrays.get("ticks")
    if (ticks is None) == (header.tick is None):
        raise MalformedMessage("a step says its tick either by tick or by the array ticks", field="tick")
    if ticks is not None:
        _check_array("ticks", ticks, ("<i8",), (header.count,))
    lowest = header.tick if ticks is None else int(ticks.min())
    if lowest is not None and lowest < 1:
        raise InvalidArgument("the first tick of an agent is 1", field="tick", value=lowest, allowed="1 or more")


def _check_inputs(header: Step, arrays: Arrays, population: Population) -> None:
    info = population.info.model
    check_observations(arrays, header.count, info)
    reset = arrays.get("reset")
    if reset is not None:
        _check_array("reset", reset, ("|u1",), (header.count,))
        if reset.max() > 1:
            at = int(np.argmax(reset > 1))
            raise InvalidArgument("a reset is 0 or 1", field="reset", index=(at,), value=int(reset[at]), allowed="0, 1")
    executed = arrays.get("executed_actions")
    if executed is not None:
        _check_array("executed_actions", executed, _ACTION_DTYPES, (header.count, len(info.num_controls)))
        check_executed(executed, info.num_controls)


def _check_array(name: str, array: NDArray[Any], dtypes: tuple[str, ...], shape: tuple[int, ...]) -> None:
    if array.dtype.str not in dtypes or array.shape != shape:
        raise MalformedMessage(
            "wrong type or shape",
            field=name,
            value=f"{array.dtype.str} {array.shape}",
            allowed=f"{' or '.join(dtypes)} {shape}",
        )
