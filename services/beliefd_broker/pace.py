"""How long agents take: what batches are cut by, what a hung one is told by, and what decides what is begun."""

from __future__ import annotations

import math

LEAST_MEASURED_AGENTS = 32
TRUSTED_BATCHES = 32
TRUSTED_S = 1.0
_SMOOTHING = 0.2
_MOST_GROWTH = 1.25


class Pace:
    """What steps or reads of one population took that asked alike.

    Attributes
    ----------
    ns : float, or None
        Per agent, on the average of the last batches; None as long as no batch was large enough to tell.
    few_ns : float, or None
        A whole batch of few agents, on the average of the last; None as long as there was none.
    """

    def __init__(self) -> None:
        self.ns: float | None = None
        self.few_ns: float | None = None
        self._usual_ns = 0.0
        self._agents = 0
        self._batches = 0
        self._measured_s = -math.inf

    def record(self, agents: int, elapsed_ns: int, now_s: float) -> None:
        """Learn from a batch that is finished now."""
        # A batch of a few agents measures the fixed cost of a call, which would make whole calls look slow.
        if agents < LEAST_MEASURED_AGENTS:
            known = elapsed_ns if self.few_ns is None else self.few_ns
            self.few_ns = known + _SMOOTHING * (elapsed_ns - known)
            return
        measured = elapsed_ns / agents
        if self.ns is None:
            self.ns = self._usual_ns = measured
        # The first batches are small, and slow with what is done once: a larger one outweighs them at once.
        self.ns += max(_SMOOTHING, agents / (agents + self._agents)) * (measured - self.ns)
        self._usual_ns += _SMOOTHING * (min(measured, _MOST_GROWTH * self._usual_ns) - self._usual_ns)
        self._agents += agents
        self._batches += 1
        self._measured_s = now_s

    def usual_ns(self, now_s: float) -> float | None:
        """Per agent, whatever a single batch took that was held up; None where that is not sure.

        For decisions to refuse: whoever is refused measures nothing, so what has not been measured lately is not sure.
        """
        sure = self._batches >= TRUSTED_BATCHES and now_s - self._measured_s < TRUSTED_S
        return self._usual_ns if sure else None
