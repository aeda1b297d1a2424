"""Learning of preferences and habits: counts of observations and of policies.

After a step with observation o and posterior q_pi over policies,

    pC_m <- fr pC_m + lr o_m          C_m = ln (pC_m / sum pC_m)
    pE   <- fr pE + lr q_pi           E = pE / sum pE

at every step. An agent comes to prefer what it sees, and to do what it does. SPM learns both so (spm_MDP_VB_X, fields c
and e); a missing observation adds nothing.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.copies import counts_place
from beliefd.engine.jit import inline
from beliefd.engine.learning import LEAST_COUNT, faded, hold_observation
from beliefd.engine.plan import LANES
from beliefd.engine.rowmath import RAISE, log_rows, write_raised_logs
from beliefd.engine.rows import normalise_rows


@inline
def load_preferences_and_habits(ints, reals, work, lanes, record, tick, given):
    """Make ln C and ln E of the counts that `load_own` brought into their rows.

    Until they are learned they are those that were given, or the model's.
    """
    for m in range(ints[plan.NUM_MODALITIES]):
        first = ints[ints[plan.PC_COUNTS] + m]
        if first >= 0:
            target, count = ints[ints[plan.OWN_C] + m], ints[ints[plan.NUM_OBS] + m]
            _log_shares(ints, reals, work, lanes, record, tick, first, target, count, given)
    if ints[plan.PE_COUNTS] >= 0:
        target, count = ints[plan.OWN_E], ints[plan.NUM_POLICIES]
        _log_shares(ints, reals, work, lanes, record, tick, ints[plan.PE_COUNTS], target, count, given)


@inline
def _log_shares(ints, reals, work, lanes, record, tick, first, target, count, given):
    normalise_rows(work, target, 1, count)
    if ints[plan.TOGETHER]:
        write_raised_logs(work, target, target, 1, count, work.dtype.type(RAISE))
    else:
        log_rows(work, target, target, count)
    for lane in range(LANES):
        if lanes[tick, lane] == 1:
            for i in range(count):
                parameter = ints[ints[plan.COUNT_TENSORS] + first + i]
                if parameter >= 0:
                    work[target + i, lane] = given[lanes[record, lane], parameter]
                else:
                    work[target + i, lane] = reals[ints[plan.INITIAL_TENSORS] + first + i]


@inline
def keep_policies(ints, work):
    """Put q_pi, which stands in the score rows, where habits are learned from: ln E has been used."""
    if ints[plan.PE_COUNTS] >= 0:
        for p in range(ints[plan.NUM_POLICIES]):
            for lane in range(LANES):
                work[ints[plan.OWN_E] + p, lane] = work[ints[plan.SCORE_ROW] + p, lane]


@inline
def learn_preferences_and_habits(
    ints, reals, work, lanes, record, tick, observed, distributions, items, places, used, records
):
    """Write the counts of C and E after this step; those before it stand there already. `places` is overwritten."""
    for lane in range(LANES):
        places[lane] = 0
    for m in range(ints[plan.NUM_MODALITIES]):
        first = ints[ints[plan.PC_COUNTS] + m]
        if first >= 0:
            hold_observation(ints, work, observed, distributions, items, places, m)
            source, count = ints[plan.OBSERVATION_ROW], ints[ints[plan.NUM_OBS] + m]
            rate, kept = reals[ints[plan.RATES] + 6], reals[ints[plan.RATES] + 7]
            _add(ints, work, lanes, record, tick, first, source, count, rate, kept, used, records)
    if ints[plan.PE_COUNTS] >= 0:
        source, count = ints[plan.OWN_E], ints[plan.NUM_POLICIES]
        rate, kept = reals[ints[plan.RATES] + 8], reals[ints[plan.RATES] + 9]
        _add(ints, work, lanes, record, tick, ints[plan.PE_COUNTS], source, count, rate, kept, used, records)


@inline
def _add(ints, work, lanes, record, tick, first, source, count, rate, kept, used, records):
    zero, least, keep_zeros = work.dtype.type(0), work.dtype.type(LEAST_COUNT), ints[plan.KEEP_ZEROS]
    for lane in range(used):
        row, at = lanes[record, lane], counts_place(ints, lanes[tick, lane], work.itemsize) + first
        for i in range(count):
            left = faded(records[row, at + i], kept, least)
            grown = left + rate * work[source + i, lane]
            records[row, at + i] = left if keep_zeros and left == zero else grown
