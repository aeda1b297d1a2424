"""The tree of policies holds every policy once, as the path to its leaf."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from beliefd.engine.policytree import PolicyTree, policy_tree


def path(tree: PolicyTree, node: int) -> list[list[int]]:
    actions: list[list[int]] = []
    while node >= 0:
        actions.insert(0, tree.actions[node].tolist())
        node = int(tree.parents[node])
    return actions


@settings(max_examples=150, deadline=None)
@given(factors=st.integers(1, 3), length=st.integers(1, 4), count=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_every_policy_is_the_path_to_its_leaf(factors: int, length: int, count: int, seed: int) -> None:
    policies = np.random.default_rng(seed).integers(0, 3, (count, length, factors)).astype(np.int32)
    tree = policy_tree(policies)

    reached = {}
    for node, (start, end) in enumerate(tree.leaves):
        for p in tree.leaf_policies[start:end]:
            reached[int(p)] = path(tree, node)
    assert reached == {p: policy.tolist() for p, policy in enumerate(policies)}
    assert (tree.parents < np.arange(len(tree.parents))).all()
    paths = [str(path(tree, node)) for node in range(len(tree.depths))]
    assert len(set(paths)) == len(paths)


def test_shared_prefixes_are_shared_and_duplicates_share_a_leaf() -> None:
    policies = np.array([[[0], [0]], [[0], [1]], [[1], [0]], [[0], [1]]], dtype=np.int32)
    tree = policy_tree(policies)
    assert tree.depths.tolist() == [0, 1, 1, 0, 1]
    assert tree.parents.tolist() == [-1, 0, 0, -1, 3]
    assert (tree.leaves[:, 1] - tree.leaves[:, 0]).tolist() == [0, 1, 2, 0, 1]
