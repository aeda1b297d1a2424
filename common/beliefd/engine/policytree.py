"""Policies as a tree: what policies with the same first actions share stands there once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PolicyTree:
    """The tree in depth-first order. A node is an action after those of its ancestors.

    Attributes
    ----------
    depths : ndarray of int64, shape (nodes,)
        0 for a first action.
    parents : ndarray of int64, shape (nodes,)
        The node before; -1 for a first action.
    actions : ndarray of int64, shape (nodes, factors)
    leaves : ndarray of int64, shape (nodes, 2)
        Start and end among `leaf_policies` of the policies that end here; empty above the last depth.
    leaf_policies : ndarray of int64, shape (policies,)
    """

    depths: NDArray[np.int64]
    parents: NDArray[np.int64]
    actions: NDArray[np.int64]
    leaves: NDArray[np.int64]
    leaf_policies: NDArray[np.int64]


def policy_tree(policies: NDArray[np.int32]) -> PolicyTree:
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
    return PolicyTree(depths, _parents(depths, length), actions, leaves, order)


def _parents(depths: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """The last node of the depth above that stands before a node."""
    parents = np.full(len(depths), -1)
    above = np.flatnonzero(depths == 0)
    for depth in range(1, length):
        nodes = np.flatnonzero(depths == depth)
        parents[nodes] = above[np.searchsorted(above, nodes) - 1]
        above = nodes
    return parents
