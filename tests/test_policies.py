from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beliefd.model import Model
from beliefd.policies import MAX_POLICIES, enumerate_policies, given_policies
from beliefd_proto.errors import InvalidModel


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3), st.data())
def test_enumeration_is_the_product_with_the_last_index_fastest(
    num_controls: list[int], policy_len: int, data: st.DataObject
) -> None:
    controlled = tuple(f for f in range(len(num_controls)) if data.draw(st.booleans()))
    ranges = [range(n if f in controlled else 1) for f, n in enumerate(num_controls)] * policy_len
    expected = np.array(list(itertools.product(*ranges))).reshape(-1, policy_len, len(num_controls))
    policies = enumerate_policies(tuple(num_controls), controlled, policy_len)
    assert policies.dtype == np.int32
    assert len(policies) == math.prod(num_controls[f] for f in controlled) ** policy_len
    np.testing.assert_array_equal(policies, expected)


def test_too_large_a_set_is_refused_before_it_is_built() -> None:
    with pytest.raises(InvalidModel, match=r"1,000,001 policies and take 4 MiB"):
        enumerate_policies((MAX_POLICIES + 1,), (0,), 1)
    with pytest.raises(InvalidModel, match=r"about 10\^45153 policies"):
        enumerate_policies((5,), (0,), 64_600)
    with pytest.raises(InvalidModel, match=r"1 policies and take 286 MiB"):
        enumerate_policies((1,), (), 75_000_000)


def test_given_set_has_the_same_limits() -> None:
    with pytest.raises(InvalidModel, match="1,000,001 policies"):
        given_policies(np.zeros((MAX_POLICIES + 1, 1, 1), dtype=np.int32), (2,), (0,))


def test_given_policies_keep_their_order_and_may_omit_the_factor_axis() -> None:
    policies = given_policies([[2, 0], [1, 1], [2, 0]], (3,), (0,))
    assert policies.tolist() == [[[2], [0]], [[1], [1]], [[2], [0]]]
    assert not policies.flags.writeable


@pytest.mark.parametrize(
    ("value", "index"),
    [
        ([[[0, 0]], [[3, 0]]], (1, 0, 0)),
        ([[[0, 0]], [[-1, 0]]], (1, 0, 0)),
        ([[[0, 0]], [[0, 1]]], (1, 0, 1)),
        ([[0, 0]], None),
        ([[[0]]], None),
        (np.zeros((0, 1, 2), dtype=int), None),
        (np.zeros((1, 0, 2), dtype=int), None),
        ([[[0.0, 0.0]]], None),
        ([[[False, False]]], None),
        (np.full((1, 1, 2), 2**64 - 1, dtype=np.uint64), (0, 0, 0)),
    ],
)
def test_bad_policies_are_refused(value: object, index: tuple[int, ...] | None) -> None:
    # Factor 1 has two actions but is not controlled, so only its action 0 may appear.
    with pytest.raises(InvalidModel) as caught:
        given_policies(value, (3, 2), (0,))
    assert caught.value.field == "policies"
    assert caught.value.index == index


def test_policy_len_follows_the_given_policies() -> None:
    B = [np.stack([np.eye(2), np.eye(2)[::-1]], axis=-1)]
    assert Model([np.eye(2)], B, policies=[[0, 1, 1]]).policy_len == 3
    assert Model([np.eye(2)], B, policies=[[0, 1, 1]], policy_len=3).policy_len == 3


def test_an_agent_that_only_watches_has_one_policy() -> None:
    model = Model([np.eye(2)], [np.eye(2)[:, :, None]], policy_len=3)
    assert model.control_fac_idx == ()
    assert model.policies.tolist() == [[[0], [0], [0]]]
    assert Model([np.eye(2)], [np.full((2, 2, 4), 0.5)], control_fac_idx=[]).policies.tolist() == [[[0]]]
