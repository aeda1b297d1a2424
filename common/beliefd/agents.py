"""Arguments that are about agents, as callers pass them, in one canonical and checked form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from beliefd.indices import all_known
from beliefd.wire import id_arrays
from beliefd_proto import Arrays, ModelInfo
from beliefd_proto.errors import InvalidArgument, UnknownAgent

Rows = slice | NDArray[np.int64]
"""Agent numbers: an array, or neighbours as a slice with both ends."""


def agent_rows(agents: Any, live: NDArray[np.int64], numbers: Mapping[str, int] | None) -> NDArray[np.int64]:
    """The numbers of the agents that a call names, in its order.

    Parameters
    ----------
    agents
        Numbers, or ids where the population has ids; None for all that live.
    live : ndarray of int64
        The live agents, ascending.
    numbers : mapping, optional
        The number of each id.

    Raises
    ------
    UnknownAgent
        A number or id that no live agent has.
    InvalidArgument
        No agents, one named twice, or not a list of numbers or ids.
    """
    if isinstance(agents, np.ndarray) and agents.dtype.kind in "UO":
        agents = agents.tolist()
    if agents is None:
        rows = live
    elif isinstance(agents, (list, tuple)) and agents and all(isinstance(a, str) for a in agents):
        rows = _by_id(agents, numbers)
    else:
        rows = _to_array(agents, "agents")
        if rows.ndim != 1 or (rows.dtype.kind not in "iu" and rows.size):  # an empty list is of floats
            raise InvalidArgument(
                "agents are a list of numbers, or of ids",
                field="agents",
                value=f"{rows.dtype} {rows.shape}",
                allowed="integers of shape (n,)",
            )
        rows = rows.astype(np.int64)
        _check_live(rows, live)
    if not len(rows):
        raise InvalidArgument("a call is about one agent or more", field="agents", value=0, allowed="1 or more")
    if agents is not None and len(rows) > 1 and not (rows[1:] > rows[:-1]).all():
        unique, first = np.unique(rows, return_index=True)
        if len(unique) < len(rows):
            at = int(np.setdiff1d(np.arange(len(rows)), first)[0])
            raise InvalidArgument("an agent is named twice", field="agents", index=(at,), value=int(rows[at]))
    return rows


def new_ids(agent_ids: Any) -> Arrays:
    """The ids of new agents, as they travel; nothing where `agent_ids` is None.

    Raises
    ------
    InvalidArgument
    """
    if agent_ids is None:
        return {}
    if isinstance(agent_ids, np.ndarray):
        agent_ids = agent_ids.tolist()
    if isinstance(agent_ids, str | bytes) or not isinstance(agent_ids, Sequence):
        raise InvalidArgument(
            "ids come as a list", field="agent_ids", value=type(agent_ids).__name__, allowed="a sequence of str"
        )
    for i, name in enumerate(agent_ids):
        if not isinstance(name, str):
            raise InvalidArgument("an id is text", field="agent_ids", index=(i,), value=name, allowed="str")
    try:
        return id_arrays(agent_ids)
    except UnicodeEncodeError as error:
        at = agent_ids.index(error.object)
        raise InvalidArgument(
            "an id is to be encoded as UTF-8", field="agent_ids", index=(at,), value=error.object, allowed="str"
        ) from None


def some_ids(ids: Arrays, agents: slice) -> Arrays:
    """The ids of some new agents out of those that `new_ids` gave."""
    if not ids or agents == slice(0, len(ids["id_ends"])):
        return ids
    ends = ids["id_ends"][agents]
    start = int(ids["id_ends"][agents.start - 1]) if agents.start else 0
    return {"id_bytes": ids["id_bytes"][start : int(ends[-1])], "id_ends": ends - start}


def compact(rows: NDArray[np.int64]) -> Rows:
    """`rows` as a slice where each follows the one before: what it then picks out of an array is a view."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and (len(rows) < 3 or bool((rows[1:] - rows[:-1] == 1).all())):
        return slice(first, last + 1)
    return rows


def reset_array(reset: Any, agents: int) -> NDArray[np.uint8]:
    """A reset mask of shape (agents,) as it travels.

    Raises
    ------
    InvalidArgument
    """
    mask = _to_array(reset, "reset")
    if mask.shape != (agents,) or mask.dtype.kind not in "biu" or ((mask != 0) & (mask != 1)).any():
        raise InvalidArgument(
            "a reset mask says true or false for each agent of the call",
            field="reset",
            value=f"{mask.dtype} {mask.shape}",
            allowed=f"bool of shape ({agents},)",
        )
    return mask.astype(np.uint8)


def executed_array(executed: Any, info: ModelInfo, agents: int, dtype: DTypeLike = np.int32) -> NDArray[Any]:
    """Executed actions of shape (agents, factors): what the environment did, -1 where it is not told.

    Of `dtype`: int32, or what holds them and travels.

    Raises
    ------
    InvalidArgument
    """
    actions = _to_array(executed, "executed_actions")
    if actions.ndim == 1 and actions.dtype.kind in "iu" and len(info.control_fac_idx) == 1:
        controlled = info.control_fac_idx[0]
        # Before it becomes int64, which may not hold it.
        check_executed(actions[:, np.newaxis], info.num_controls[controlled : controlled + 1], controlled)
        whole = np.zeros((len(actions), len(info.num_controls)), np.int64)
        whole[actions < 0] = -1
        whole[:, controlled] = actions
        actions = whole
    if actions.shape != (agents, len(info.num_controls)) or actions.dtype.kind not in "iu":
        raise InvalidArgument(
            "executed actions are one action per agent and factor",
            field="executed_actions",
            value=f"{actions.dtype} {actions.shape}",
            allowed=f"integers of shape ({agents}, {len(info.num_controls)})",
        )
    check_executed(actions, info.num_controls)
    return actions.astype(dtype, order="C")


def check_executed(actions: NDArray[Any], num_controls: tuple[int, ...], first_factor: int = 0) -> None:
    """Refuse actions (n, factors) that a factor does not have. `first_factor` is that of the first column.

    Raises
    ------
    InvalidArgument
    """
    if not all_known(actions, num_controls):
        wrong = (actions < -1) | (actions >= np.asarray(num_controls))
        agent, column = (int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
        raise InvalidArgument(
            "this factor has no such action",
            field="executed_actions",
            index=(agent, first_factor + column),
            value=int(actions[agent, column]),
            allowed=f"0..{num_controls[column] - 1}, or -1 where it is not told",
        )


def _to_array(value: Any, field: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"cannot be made into an array ({error})", field=field) from None


def _by_id(ids: list[str] | tuple[str, ...], numbers: Mapping[str, int] | None) -> NDArray[np.int64]:
    rows = np.empty(len(ids), np.int64)
    for i, name in enumerate(ids):
        number = None if numbers is None else numbers.get(name)
        if number is None:
            why = "this population has no ids, only numbers" if numbers is None else "no live agent has this id"
            raise UnknownAgent(why, field="agents", index=(i,), value=name)
        rows[i] = number
    return rows


def _check_live(rows: NDArray[np.int64], live: NDArray[np.int64]) -> None:
    places = np.searchsorted(live, rows)
    found = live[np.minimum(places, len(live) - 1)] if len(live) else np.full(len(rows), -1)
    if (found != rows).any():
        at = int(np.argmax(found != rows))
        raise UnknownAgent(
            "no live agent has this number",
            field="agents",
            index=(at,),
            value=int(rows[at]),
            allowed=f"{len(live)} agents",
        )
