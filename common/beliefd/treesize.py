"""How much a planner that grows a tree may have to look at and to keep: counted before anything is built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from beliefd_proto.errors import InvalidModel

MAX_BELIEFS = 1_000_000_000
"""Beliefs that a step may at the most have to look at."""

MAX_SEARCH_BYTES = 2**31
"""What a tile of 64 agents may take."""

_TILE = 64
_MOST_FOLLOWED = 15
"""So many things at the most are more probable than 1/16 at once: what is not is not followed."""


def level_rows(num_states: Sequence[int], num_obs: Sequence[int], policies: int) -> int:
    """Rows of scratch of one level of the tree: one belief that is being looked at, and what is known of its actions.

    A belief, what an action makes of it and what would then be observed; per modality the probability of what is
    imagined so far; twelve numbers per action, of which ten are G and its parts; seven more.
    """
    return 2 * sum(num_states) + sum(num_obs) + len(num_obs) + 12 * policies + 7


def node_rows(num_states: Sequence[int], num_obs: Sequence[int], policies: int) -> int:
    """Rows of scratch of one node of a tree that is sampled, and of an edge.

    A belief, what an action makes of it, and how probable observations are then; what was observed; four numbers per
    action; eleven more.
    """
    return 2 * sum(num_states) + sum(num_obs) + len(num_obs) + 4 * policies + 11


def most_beliefs(num_obs: Sequence[int], policies: int, depth: int) -> int:
    """The beliefs that a search of this depth looks at where nothing can be cut.

    Each step deeper begins with all that the steps before it looked at.
    """
    followed = min(policies, _MOST_FOLLOWED) * min(math.prod(num_obs), _MOST_FOLLOWED)
    # One more power of a number of two digits or more decides nothing beyond this length.
    return int((1 + followed) ** (min(depth, 64) - 1))


def check_search(model: Any) -> None:
    """Refuse a tree whose search would not end in time, or not fit into memory.

    Raises
    ------
    InvalidModel
    """
    if model.planner == "policies":
        return
    policies, itemsize = len(model.policies), 4 if model.dtype == "float32" else 8
    if model.planner == "mcts":
        nodes = model.num_simulations + 1
        size_bytes = nodes * node_rows(model.num_states, model.num_obs, policies) * _TILE * itemsize
        if size_bytes > MAX_SEARCH_BYTES:
            raise InvalidModel(
                f"{nodes:,} nodes of this tree take {size_bytes / 2**20:,.0f} MiB for {_TILE} agents; lower "
                "num_simulations, or give fewer policies",
                field="num_simulations",
                value=model.num_simulations,
                allowed=f"what takes at most {MAX_SEARCH_BYTES // 2**20:,} MiB",
            )
        return
    beliefs = most_beliefs(model.num_obs, policies, model.policy_len)
    size_bytes = model.policy_len * level_rows(model.num_states, model.num_obs, policies) * _TILE * itemsize
    if beliefs > MAX_BELIEFS or size_bytes > MAX_SEARCH_BYTES:
        count = f"{beliefs:,}" if beliefs < 10**15 else f"about 10^{len(str(beliefs)) - 1}"
        raise InvalidModel(
            f"a search of this tree may look at {count} beliefs and takes {size_bytes / 2**20:,.0f} MiB for "
            f"{_TILE} agents; lower policy_len, or give fewer policies",
            field="policy_len",
            value=model.policy_len,
            allowed=f"what needs at most {MAX_BELIEFS:,} beliefs and {MAX_SEARCH_BYTES // 2**20:,} MiB",
        )
