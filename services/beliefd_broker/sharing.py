"""Pieces that two workers take from both their ends, until they meet.

What is cut beforehand ends at different times: the first worker begins earlier, and what else runs on its processor is
nobody's to foresee. So a piece goes to one worker whole; an idle one for which there is nothing else gets it too, and
takes its tiles from the last back. Both count the tiles that they take (see `beliefd_service.tallies`), fewer at once
the fewer are left: they end close together, having done each of them once. What one took and did not tell before it
died is run again.
"""

from __future__ import annotations

import msgspec

from beliefd_broker.request import Piece
from beliefd_broker.scheduling import WORTH_SHARING_NS, may_share
from beliefd_broker.worker import Batch, Worker
from beliefd_proto.errors import BeliefdError
from beliefd_service.tallies import TALLIES

WORTH_HELPING_NS = 0.75 * WORTH_SHARING_NS
"""Of what less is left of the other would be done before the helper has begun."""


class Shared(msgspec.Struct, eq=False):
    """A piece in the hands of a worker, and of a helper's where `helped`.

    `open` of the two have not ended; of its agents the first `front` and the last `back` have a result, which took
    `elapsed_ns` in all. `error` is what one of the two ended in. `blamed`: a worker died that may have died of it.
    `of` is the worker's batch as long as somebody may come to help with it. Not longer: the batch holds this, and what
    holds each other stays, with all its arrays, until the garbage collector comes, which is seldom.
    """

    piece: Piece
    tally: int
    of: tuple[Worker, Batch] | None
    helped: bool = False
    open: int = 1
    front: int = 0
    back: int = 0
    elapsed_ns: int = 0
    error: BeliefdError | None = None
    blamed: bool = False

    @property
    def rest(self) -> Piece | None:
        """What neither of the two has a result of."""
        count = self.piece.count - self.front - self.back
        if not count:
            return None
        # No agent was in the hands of both: though both have died, nobody's agents have had two deaths.
        return Piece(self.piece.chunk, self.piece.start + self.front, count, self.piece.deaths + self.blamed)


class Sharing:
    """The pieces that are shared, or may be, and the counts that are free."""

    def __init__(self) -> None:
        self._free = list(range(TALLIES))
        self._open: list[Shared] = []

    def __len__(self) -> int:
        """How many pieces there are that nobody helps with."""
        return len(self._open)

    def begin(self, worker: Worker, batch: Batch) -> Shared | None:
        """Let a batch that `worker` is about to get be shared, if that may come to be worth it."""
        if len(batch.pieces) != 1 or not self._free or not may_share(batch.pieces[0].chunk, batch.agents):
            return None
        batch.shared = Shared(batch.pieces[0], self._free.pop(), (worker, batch))
        self._open.append(batch.shared)
        return batch.shared

    def help(self, now_s: float) -> Batch | None:
        """The other end of the piece that most is left of, for an idle worker; None where it is not worth it."""
        found, most_ns = None, WORTH_HELPING_NS
        for shared in self._open:
            assert shared.of is not None
            worker, batch = shared.of
            left_ns = worker.left_ns(batch, now_s)
            if left_ns >= most_ns:
                found, most_ns = shared, left_ns
        if found is None:
            return None
        assert found.of is not None
        worker, batch = found.of
        worker.relieve(batch, most_ns / 2, now_s)
        self._open.remove(found)
        found.helped, found.open, found.of = True, 2, None
        return Batch(0, [found.piece], None, most_ns / 2, shared=found, from_end=True)

    def end(self, batch: Batch, taken: int, elapsed_ns: int, error: BeliefdError | None) -> bool:
        """One of the two has ended, having done `taken` agents; returns whether that was the last."""
        shared = batch.shared
        assert shared is not None
        if batch.from_end:
            shared.back = taken
        else:
            shared.front = taken
        shared.elapsed_ns += elapsed_ns
        shared.error = shared.error or error
        shared.open -= 1
        if not shared.helped:
            self._open.remove(shared)
            shared.of = None
        if shared.open:
            return False
        self._free.append(shared.tally)
        return True
