"""Which agents of a population live, and what the caller calls them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beliefd.wire import id_arrays, ids_from
from beliefd_proto.errors import InvalidArgument, UnknownAgent

MAX_ID_BYTES = 256


@dataclass(frozen=True, eq=False)
class Members:
    """The live agents. Numbers are given once, in order, and never again.

    Attributes
    ----------
    ranges : ndarray of int64, shape (k, 2)
        Their numbers as ascending, disjoint ranges (start, stop).
    rows : int
        How many agents there ever were.
    ids : tuple of str, or None
        The caller's ids of the live agents, in the order of their numbers; None where the population has no ids.
    """

    ranges: NDArray[np.int64]
    rows: int
    ids: tuple[str, ...] | None = None

    @classmethod
    def of(cls, count: int, ids: Sequence[str] | None = None) -> Members:
        """The members of a new population.

        Raises
        ------
        InvalidArgument
            Another number of ids than agents, or an id that is empty, too long or given twice.
        """
        return cls(np.zeros((0, 2), np.int64), 0, None if ids is None else ()).added(count, ids)

    def __len__(self) -> int:
        return int((self.ranges[:, 1] - self.ranges[:, 0]).sum())

    @cached_property
    def live(self) -> NDArray[np.int64]:
        """Their numbers, ascending."""
        return np.concatenate([np.arange(start, stop) for start, stop in self.ranges] or [np.zeros(0, np.int64)])

    def added(self, count: int, ids: Sequence[str] | None = None) -> Members:
        """With `count` agents more, whose numbers follow all that were ever given.

        Raises
        ------
        InvalidArgument
            As `of`; also ids for a population without, or none for one that has them.
        """
        if (ids is None) != (self.ids is None):
            raise InvalidArgument(
                "a population has ids for all of its agents or for none",
                field="agent_ids",
                value=None if ids is None else f"{len(ids)} ids",
                allowed="none" if self.ids is None else "one for each agent",
            )
        if ids is not None:
            _check_ids(ids, count, set(self.ids or ()))
        numbers = np.concatenate([self.live, np.arange(self.rows, self.rows + count)])
        all_ids = None if ids is None else (*(self.ids or ()), *ids)
        return Members(_ranges(numbers), self.rows + count, all_ids)

    def removed(self, numbers: NDArray[np.int64]) -> Members:
        """Without these agents.

        Raises
        ------
        UnknownAgent
            One of them does not live.
        """
        keep = ~np.isin(self.live, numbers)
        if len(self.live) - keep.sum() != len(numbers):
            at = int(np.argmin(np.isin(numbers, self.live)))
            raise UnknownAgent("no live agent has this number", field="agents", index=(at,), value=int(numbers[at]))
        ids = None if self.ids is None else tuple(name for name, kept in zip(self.ids, keep, strict=True) if kept)
        return Members(_ranges(self.live[keep]), self.rows, ids)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays for a file."""
        arrays: dict[str, NDArray[Any]] = {"ranges": self.ranges, "rows": np.array([self.rows], np.int64)}
        if self.ids is not None:
            arrays |= id_arrays(self.ids)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Members:
        """What `arrays` made. Raises KeyError or ValueError for anything else."""
        ids = ids_from(arrays)
        members = cls(arrays["ranges"].astype(np.int64), int(arrays["rows"][0]), ids)
        if ids is not None and len(ids) != len(members):
            raise ValueError("another number of ids than of members")
        return members


def _ranges(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ascending numbers as ranges."""
    if not len(numbers):
        return np.zeros((0, 2), np.int64)
    breaks = np.flatnonzero(np.diff(numbers) != 1)
    starts = numbers[np.concatenate([[0], breaks + 1])]
    stops = numbers[np.concatenate([breaks, [len(numbers) - 1]])] + 1
    return np.stack([starts, stops], axis=1)


def _check_ids(ids: Sequence[str], count: int, known: set[str]) -> None:
    if len(ids) != count:
        raise InvalidArgument("one id for each agent", field="agent_ids", value=len(ids), allowed=str(count))
    for i, name in enumerate(ids):
        if not name or len(name.encode()) > MAX_ID_BYTES:
            raise InvalidArgument(
                "not a usable id", field="agent_ids", index=(i,), value=name[:40], allowed=f"1..{MAX_ID_BYTES} bytes"
            )
        if name in known:
            raise InvalidArgument("an id is given once", field="agent_ids", index=(i,), value=name)
        known.add(name)
