"""The tree of policies visits every policy, and calls stale exactly what a replay finds changed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from beliefd.engine.policytree import policy_tree


@st.composite
def policy_sets(draw: st.DrawFn) -> tuple[np.ndarray, tuple[tuple[int, ...], ...]]:
    factors, length, count = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 30))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    policies = rng.integers(0, draw(st.integers(1, 3)), (count, length, factors)).astype(np.int32)
    parents = tuple(
        tuple(sorted(rng.permutation(factors)[: rng.integers(1, factors + 1)].tolist())) for _ in range(factors)
    )
    return policies, parents


@settings(max_examples=150, deadline=None)
@given(case=policy_sets())
def test_replaying_the_tree_gives_every_policy_its_own_beliefs(
    case: tuple[np.ndarray, tuple[tuple[int, ...], ...]],
) -> None:
    policies, parents = case
    _, length, factors = policies.shape
    tree = policy_tree(policies, parents)

    # A belief is written as the expression that makes it; a slot per depth keeps what was last computed there.
    slots: list[list[object]] = [[f"q{f}" for f in range(factors)]] + [[None] * factors for _ in range(length)]
    reached = {}
    computed = 0
    for depth, actions, stale, (start, end) in zip(tree.depths, tree.actions, tree.stale, tree.leaves, strict=True):
        for f in range(factors):
            if stale >> f & 1:
                slots[depth + 1][f] = (f, int(actions[f]), tuple(slots[depth][p] for p in parents[f]))
                computed += 1
        for p in tree.leaf_policies[start:end]:
            reached[int(p)] = tuple(slots[length])

    def direct(policy: np.ndarray) -> tuple[object, ...]:
        q: list[object] = [f"q{f}" for f in range(factors)]
        for actions in policy:
            q = [(f, int(actions[f]), tuple(q[p] for p in parents[f])) for f in range(factors)]
        return tuple(q)

    assert reached == {p: direct(policy) for p, policy in enumerate(policies)}
    assert computed <= len(tree.depths) * factors


def test_shared_prefixes_are_shared_and_duplicates_share_a_leaf() -> None:
    policies = np.array([[[0], [0]], [[0], [1]], [[1], [0]], [[0], [1]]], dtype=np.int32)
    tree = policy_tree(policies, ((0,),))
    assert tree.depths.tolist() == [0, 1, 1, 0, 1]
    assert (tree.leaves[:, 1] - tree.leaves[:, 0]).tolist() == [0, 1, 2, 0, 1]


def test_a_factor_that_no_action_moves_is_computed_once_per_depth() -> None:
    policies = np.array([[[a, 0], [b, 0]] for a in range(3) for b in range(3)], dtype=np.int32)
    tree = policy_tree(policies, ((0,), (1,)))
    assert int((tree.stale >> 1 & 1).sum()) == 2
