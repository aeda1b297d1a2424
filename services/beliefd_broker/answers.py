"""The answers to clients: what an ended request tells."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd_broker.crowd import Crowd
from beliefd_broker.population import Population
from beliefd_broker.request import Chunk
from beliefd_proto import Applied, Arrays, Command, StepStatus, encode
from beliefd_proto import messages as m
from beliefd_proto.error_message import to_header
from beliefd_proto.errors import BeliefdError, StaleTick, TickConflict, TickGap, TickTaken
from beliefd_proto.form import Form

Answer = tuple[Command, m.Header, Arrays]

_CONFLICTS: dict[int, tuple[type[TickConflict], str]] = {
    StepStatus.TICK_TAKEN: (TickTaken, "another request was applied to this agent at this tick"),
    StepStatus.STALE_TICK: (StaleTick, "this agent is further than this tick"),
    StepStatus.TICK_GAP: (TickGap, "this agent has not reached the tick before this one"),
}


def population(request: bytes, found: Population, credits: int) -> Answer:
    """The answer to CREATE and ATTACH."""
    header = m.Population(id=request, info=found.info, credits=credits)
    return Command.POPULATION, header, {"members": found.live_ranges, **found.id_arrays}


def chunk(ended: Chunk, credits: int) -> Answer:
    """The answer to a step or read none of whose agents is open any more."""
    arrays = ended.gathered()
    if ended.command is Command.READ:
        if ended.error is not None:
            return Command.ERROR, to_header(ended.error, ended.id), {}
        return Command.VALUES, m.Values(id=ended.id, credits=credits), arrays
    error = ended.error
    applied = ended.applied
    if ended.status is not None and ended.status.max() > StepStatus.RECORDED:
        conflict = ended.status > StepStatus.RECORDED
        error = error or _conflict(ended, int(np.argmax(conflict)))
        applied = np.full(ended.count, Applied.YES, np.uint8) if applied is None else applied
        applied[conflict] = Applied.NO
    if error is None:
        return Command.STEPPED, m.Stepped(id=ended.id, credits=credits), arrays
    assert applied is not None
    return Command.ERROR, to_header(error, ended.id), {"applied": applied, **arrays}


def crowd(ended: Crowd, credits: int) -> Iterator[tuple[bytes, bytes]]:
    """For each member of a crowd whose answers are plain, the route of its client and its answer."""
    arrays = ended.gathered()
    shares = []
    for array in arrays.values():
        content, size = array.tobytes(), array.nbytes // ended.count
        shares.append([content[at : at + size] for at in range(0, len(content), size)])
    write = _stepped_form(
        tuple([(name, array.dtype, array.shape[1:]) for name, array in arrays.items()]), credits
    ).write
    for member, *contents in zip(ended.members, *shares, strict=True):
        yield member.reply_to.route, write(member.id, *contents)


@lru_cache(maxsize=64)
def _stepped_form(described: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...], credits: int) -> Form:
    """STEPPED with such arrays of one agent."""
    arrays = {name: np.zeros((1, *shape), dtype) for name, dtype, shape in described}
    [frame] = encode(Command.STEPPED, m.Stepped(id=m.NO_ID, credits=credits), arrays)
    form = Form.of(frame, ("id",))
    assert form is not None
    return form


def not_applied(header: m.Request) -> Arrays:
    """What the error of a refused step says per agent: nothing was changed."""
    if not isinstance(header, m.Step) or header.count > m.Limits().chunk_agents:
        return {}
    applied: NDArray[np.uint8] = np.full(header.count, Applied.NO, np.uint8)
    return {"applied": applied}


def _conflict(ended: Chunk, at: int) -> BeliefdError:
    assert ended.status is not None
    kind, message = _CONFLICTS[int(ended.status[at])]
    return kind(
        f"{message}; read the agent's tick and go on from there",
        field="tick",
        index=(int(np.atleast_1d(ended.numbers(at, 1))[0]),),
        value=int(np.atleast_1d(ended.ticks(at, 1))[0]),
    )
