"""Precision: an agent's confidence in G follows from whether what it observed speaks for the same policies.

SPM's descent on free energy of the rate of gamma = 1 / rate, with prior beta = 1 / gamma of the model or the agent:
with p = softmax(G / rate + ln E) and q = softmax(G / rate + ln E - F), sixteen times

    rate <- rate - (rate - beta + (q - p) . G) / 2

Friston et al. (2017), Active inference: a process theory, Neural Comput. 29(1), table 2. A rate is kept at 2^-10 beta
or more, which is a precision of 1,024 times the prior's.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.plan import LANES
from beliefd.engine.rowmath import softmax_rows
from beliefd.engine.rows import add_row_products

_SWEEPS = 16
_LEAST = 2.0**-10


@inline
def load_precision(ints, reals, work, lanes, record, slot, fresh, records):
    """Set the rows of precision, its rate and the prior: what slots hold, and the prior in lanes that are fresh."""
    first, own = ints[plan.PRECISION_ROW], ints[plan.OWN_GAMMA]
    for lane in range(LANES):
        gamma = work[own, lane] if own >= 0 else reals[ints[plan.GAMMA]]
        beta = work.dtype.type(1) / gamma
        at = (lanes[slot, lane] + ints[plan.RATE_AT]) // work.itemsize
        rate = beta if fresh[lane] else records[lanes[record, lane], at]
        work[first, lane] = work.dtype.type(1) / rate
        work[first + 1, lane] = rate
        work[first + 2, lane] = beta


@inline
def keep_precision(ints, work, lanes, record, slot, used, records):
    """Write the rate into the slots."""
    for lane in range(used):
        at = (lanes[slot, lane] + ints[plan.RATE_AT]) // work.itemsize
        records[lanes[record, lane], at] = work[ints[plan.PRECISION_ROW] + 1, lane]


@inline
def update_precision(ints, reals, work):
    """Move precision and its rate; the score rows hold G, the evidence rows F."""
    first, policies, score = ints[plan.PRECISION_ROW], ints[plan.NUM_POLICIES], ints[plan.SCORE_ROW]
    rate, beta, own_e = first + 1, first + 2, ints[plan.OWN_E]
    prior, posterior = first + 3, first + 3 + policies
    for _ in range(_SWEEPS):
        for p in range(policies):
            for lane in range(LANES):
                habit = work[own_e + p, lane] if own_e >= 0 else reals[ints[plan.LOG_E] + p]
                value = work[score + p, lane] / work[rate, lane] + habit
                work[prior + p, lane] = value
                work[posterior + p, lane] = value - work[ints[plan.EVIDENCE_ROW] + p, lane]
        softmax_rows(work, prior, prior, prior, policies)
        softmax_rows(work, posterior, posterior, posterior, policies)
        for p in range(policies):
            for lane in range(LANES):
                work[posterior + p, lane] -= work[prior + p, lane]
        add_row_products(work, first, -1, posterior, 1, score, 1, policies)
        for lane in range(LANES):
            change = work[rate, lane] - work[beta, lane] + work[first, lane]
            moved = work[rate, lane] - work.dtype.type(0.5) * change
            work[rate, lane] = max(moved, work.dtype.type(_LEAST) * work[beta, lane])
    for lane in range(LANES):
        work[first, lane] = work.dtype.type(1) / work[rate, lane]
