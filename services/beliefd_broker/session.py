"""A client as the broker knows it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beliefd_broker.accounts import Account
    from beliefd_broker.request import Chunk, Job


class Session:
    """One client's session. `route` is where it is reached now; a client that reconnects keeps its session. Into its
    `letterbox` workers may put what they did.

    `waiting` holds what was accepted and not yet admitted, in the order of arrival; `outstanding` counts what was
    accepted and not yet answered: `credits` at the most, and as many more as workers may have told of without its being
    known here; `in_crowds` counts what of that is in crowds that no worker has; `held_bytes` is what the requests whose
    turn it takes hold. `has_turn` says that the scheduler's rotation holds it. At `learned_s` one of its
    messages was looked at, to make a form of it.
    """

    def __init__(
        self, session_id: bytes, route: bytes, client: str, account: Account, credits: int, now_s: float
    ) -> None:
        self.id = session_id
        self.route = route
        self.client = client
        self.letterbox: bytes | None = None
        self.account = account
        self.credits = credits
        self.outstanding = 0
        self.in_crowds = 0
        self.learned_s = float("-inf")
        self.held_bytes = 0
        self.waiting: deque[Chunk | Job] = deque()
        self.heard_s = now_s
        self.has_turn = False
