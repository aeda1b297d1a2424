"""Records: fields apart, aligned, and as small as promised."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beliefd.engine.layout import RecordLayout
from beliefd_proto.model_info import ModelInfo
from models import tmaze


def _info(num_obs: list[int], num_states: list[int], dtype: str) -> ModelInfo:
    return ModelInfo(
        hash="0" * 64,
        dtype=dtype,
        num_obs=tuple(num_obs),
        num_states=tuple(num_states),
        num_controls=(1,) * len(num_states),
        control_fac_idx=(),
        policy_len=1,
        num_policies=1,
    )


sizes = st.lists(st.integers(1, 70), min_size=1, max_size=32)


@given(num_obs=sizes, num_states=sizes, dtype=st.sampled_from(["float32", "float64"]))
def test_fields_neither_overlap_nor_stand_misaligned(num_obs: list[int], num_states: list[int], dtype: str) -> None:
    layout = RecordLayout.of(_info(num_obs, num_states, dtype))
    real = np.dtype(dtype).itemsize
    fields = [
        (layout.tick, 8, 8),
        (layout.request_id, 8, 16),
        (layout.flags, 4, 4),
        (layout.vfe, real, real),
        (layout.observation, 4, 4 * len(num_obs)),
        (layout.action, 4, 4 * len(num_states)),
        (layout.beliefs, real, real * sum(num_states)),
    ]
    for (start, _, length), (following, _, _) in itertools.pairwise(fields):
        assert start + length <= following
    assert all(start % item == 0 for start, item, _ in fields)
    assert fields[-1][0] + fields[-1][2] <= layout.slot_bytes
    assert layout.slot_start >= 8
    assert layout.slot_bytes % 8 == layout.record_bytes % 8 == 0
    assert layout.record_bytes >= layout.slot_start + 2 * layout.slot_bytes


def test_the_tmaze_record_is_small() -> None:
    assert RecordLayout.of(tmaze().info).record_bytes <= 200


@pytest.mark.parametrize("other", [([3, 3], [4], "float32"), ([3], [5], "float32"), ([3], [4], "float64")])
def test_the_hash_tells_layouts_apart(other: tuple[list[int], list[int], str]) -> None:
    assert RecordLayout.of(_info(*other)).hash != RecordLayout.of(_info([3], [4], "float32")).hash
