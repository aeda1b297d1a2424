"""Occam's window: policies far less probable than the best get no probability, and are not drawn.

As SPM prunes them (spm_MDP_VB_X, field zeta), but anew at every step.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.plan import LANES
from beliefd.engine.rowmath import RAISE, log_rows, write_raised_logs

_DROPPED = 1e25
"""How far under the others a policy is that is out, in nats: its exponential is zero, whatever alpha scales it by."""


@inline
def drop_policies(ints, reals, work, largest, tolerance):
    """Put the score rows that are under the window of row `largest`, by more than row `tolerance`, far under it."""
    first, window = ints[plan.SCORE_ROW], reals[ints[plan.OCCAM_WINDOW]]
    for row in range(first, first + ints[plan.NUM_POLICIES]):
        for lane in range(LANES):
            inside = work[row, lane] >= work[largest, lane] - window - work[tolerance, lane]
            work[row, lane] = work[row, lane] if inside else work.dtype.type(-_DROPPED)


@inline
def log_probabilities(ints, reals, work, first, count):
    """Replace rows by their logarithm, as the model's profile takes it; with a window what is zero stays out."""
    spare, zero = ints[plan.SPARE_ROW] + 1, work.dtype.type(0)
    for row in range(first, first + count):
        for lane in range(LANES):
            work[spare, lane] = work[row, lane]
        if ints[plan.TOGETHER]:
            write_raised_logs(work, row, row, 1, 1, work.dtype.type(RAISE))
        else:
            log_rows(work, row, row, 1)
        if reals[ints[plan.OCCAM_WINDOW]] > zero:
            for lane in range(LANES):
                work[row, lane] = work[row, lane] if work[spare, lane] > zero else work.dtype.type(-_DROPPED)
