"""Policies as a tree: what policies with the same first actions share is computed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PolicyTree:
    """The tree in depth-first order.

    Attributes
    ----------
    depths : ndarray of int64, shape (nodes,)
        0 for a first action.
    actions : ndarray of int64, shape (nodes, factors)
    stale : ndarray of int64, shape (nodes,)
        Mask of the factors whose beliefs at this depth are not those last computed at this depth. A factor that no
        action moves is stale once per depth.
    leaves : ndarray of int64, shape (nodes, 2)
        Start and end among `leaf_policies` of the policies that end here; empty above the last depth.
    leaf_policies : ndarray of int64, shape (policies,)
    """

    depths: NDArray[np.int64]
    actions: NDArray[np.int64]
    stale: NDArray[np.int64]
    leaves: NDArray[np.int64]
    leaf_policies: NDArray[np.int64]


def policy_tree(policies: NDArray[np.int32], B_dependencies: tuple[tuple[int, ...], ...]) -> PolicyTree:
    """Build the tree of policies, shape (policies, policy_len, factors); duplicates share a leaf."""
    count, length, factors = policies.shape
    flat = policies.reshape(count, length * factors)
    order = np.lexsort(flat.T[::-1])
    sorted_policies = policies[order]
    differs = (sorted_policies[1:] != sorted_policies[:-1]).any(axis=2)
    # The depth at which a policy leaves the path of the one before it; its whole length where it is a duplicate.
    branch = np.concatenate([[0], np.where(differs.any(axis=1), differs.argmax(axis=1), length)])

    new_nodes = length - branch
    owner = np.repeat(np.arange(count), new_nodes)
    ends = np.cumsum(new_nodes)
    depths = np.arange(len(owner)) - np.repeat(ends - new_nodes, new_nodes) + np.repeat(branch, new_nodes)
    actions = sorted_policies[owner, depths].astype(np.int64)

    leaf_start = np.flatnonzero(branch < length)
    leaf_end = np.append(leaf_start[1:], count)
    leaves = np.zeros((len(owner), 2), dtype=np.int64)
    leaves[depths == length - 1] = np.stack([leaf_start, leaf_end], axis=1)
    return PolicyTree(depths, actions, _stale_factors(depths, actions, length, B_dependencies), leaves, order)


def _stale_factors(
    depths: NDArray[np.int64],
    actions: NDArray[np.int64],
    length: int,
    B_dependencies: tuple[tuple[int, ...], ...],
) -> NDArray[np.int64]:
    # Every computation of a factor at a depth gets a version. What a node needs is made from an action and the versions
    # of the parents one step up; where those are what the last computation at its depth used, it stands there already.
    factors = len(B_dependencies)
    versions = [[0] * factors for _ in range(length + 1)]
    made_from: list[list[tuple[int, ...] | None]] = [[None] * factors for _ in range(length)]
    masks = np.zeros(len(depths), dtype=np.int64)
    latest = 0
    for node, (depth, row) in enumerate(zip(depths.tolist(), actions.tolist(), strict=True)):
        parents = versions[depth]
        mask = 0
        for f, dependencies in enumerate(B_dependencies):
            sources = (row[f], *(parents[p] for p in dependencies))
            if made_from[depth][f] != sources:
                made_from[depth][f] = sources
                latest += 1
                versions[depth + 1][f] = latest
                mask |= 1 << f
        masks[node] = mask
    return masks
