"""Who lives: numbers are never given twice, and ids belong to the living."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beliefd.engine.members import Members
from beliefd_proto.errors import InvalidArgument, UnknownAgent


@given(seed=st.integers(0, 2**32 - 1), with_ids=st.booleans())
def test_members_follow_a_plain_list(seed: int, with_ids: bool) -> None:
    rng = np.random.default_rng(seed)
    alive: dict[int, str] = {}
    made = 0

    def names(count: int) -> list[str] | None:
        return [f"agent {made + i} é" for i in range(count)] if with_ids else None

    count = int(rng.integers(1, 20))
    members = Members.of(count, names(count))
    alive |= {i: f"agent {i} é" for i in range(count)}
    made += count
    for _ in range(6):
        if rng.random() < 0.5 and alive:
            gone = rng.permutation(sorted(alive))[: rng.integers(1, len(alive) + 1)]
            members = members.removed(gone)
            for number in gone.tolist():
                del alive[number]
        else:
            count = int(rng.integers(1, 20))
            members = members.added(count, names(count))
            alive |= {made + i: f"agent {made + i} é" for i in range(count)}
            made += count
        members = Members.from_arrays(members.arrays())
        assert members.live.tolist() == sorted(alive)
        assert len(members) == len(alive)
        assert members.rows == made
        assert members.ids == (tuple(alive[i] for i in sorted(alive)) if with_ids else None)
        assert (members.ranges[1:, 0] > members.ranges[:-1, 1]).all()


def test_an_agent_that_does_not_live_cannot_be_removed() -> None:
    members = Members.of(3).removed(np.array([1]))
    with pytest.raises(UnknownAgent) as caught:
        members.removed(np.array([0, 1]))
    assert (caught.value.index, caught.value.value) == ((1,), 1)


@pytest.mark.parametrize("ids", [["a"], ["a", "a"], ["a", ""], ["a", "x" * 300]])
def test_ids_that_are_none_are_refused(ids: list[str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Members.of(2, ids)
    assert caught.value.field == "agent_ids"


def test_an_id_is_taken_while_its_agent_lives() -> None:
    members = Members.of(2, ["a", "b"])
    with pytest.raises(InvalidArgument):
        members.added(1, ["b"])
    with pytest.raises(InvalidArgument):
        members.added(1)
    assert members.removed(np.array([1])).added(1, ["b"]).live.tolist() == [0, 2]
