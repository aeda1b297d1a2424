"""How long a client had no answer, and which fault that belongs to.

A silence belongs to the fault after which it began, and is held against what that fault's kind allows. A fault is made
only while every herd is being answered, and each is followed up to the next one: so no silence is held against a fault
that came later, and none is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nemesis.checker import Verdict


@dataclass(frozen=True, order=True)
class Silence:
    """`lasted_s` without an answer to `herd`, from `since_s` on: seconds after the fault, negative for before."""

    lasted_s: float
    herd: str
    since_s: float

    def __str__(self) -> str:
        when = f"{abs(self.since_s):.3f} s {'before' if self.since_s < 0 else 'after'} it"
        return f"{self.herd} had no answer for {self.lasted_s:.3f} s, from {when}"


def longest_silence(verdicts: Mapping[str, Verdict], began_s: float, until_s: float) -> Silence:
    """The longest of any herd, from its last answer before a fault up to the next fault."""
    return max(_longest_of(name, verdict, began_s, until_s) for name, verdict in verdicts.items())


def is_answered(verdicts: Mapping[str, Verdict], since_s: float) -> bool:
    """Whether every herd has had an answer since then."""
    return all(verdict.served_s and max(verdict.served_s) > since_s for verdict in verdicts.values())


def _longest_of(herd: str, verdict: Verdict, began_s: float, until_s: float) -> Silence:
    served_s = np.sort(np.asarray(verdict.served_s))
    first, last = np.searchsorted(served_s, [began_s, until_s])
    times_s = np.array([*served_s[max(first - 1, 0) : last], until_s])
    if len(times_s) < 2:
        return Silence(0.0, herd, 0.0)
    lasted_s = np.diff(times_s)
    longest = int(lasted_s.argmax())
    return Silence(float(lasted_s[longest]), herd, float(times_s[longest] - began_s))
