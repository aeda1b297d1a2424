"""Learning from a window of steps: what all of them say, at every tick.

With beliefs q_t of the steps of the window, smoothed where the algorithm filters, and o_t, u_t as in the window,

    pA_m <- fr pA_m + lr sum_t o_t (x) q_t          pB_f(u) <- fr pB_f(u) + lr sum_t [u_t = u] q_t,t+1

where q_t,t+1 is the product of the beliefs about neighbouring steps, or their smoothed joint; pD as in
`beliefd.engine.learning`.

Smoothing goes backward from the last step (Rauch, Tung, Striebel's recursion, for discrete states): with smoothed
beliefs q', q_t,t+1 = B q_t (q'_t+1 / B q_t), and q'_t is its sum over the states at t + 1. What cannot be reached,
B q_t = 0, adds nothing. "exact" has a floor under B q_t, and makes up for what is lost by it: there q'_t is normalised.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.copies import counts_place
from beliefd.engine.jit import inline
from beliefd.engine.learning import LEAST_COUNT, copy_counts, faded, hold_observation, learn_start
from beliefd.engine.plan import LANES
from beliefd.engine.rows import multiply_rows
from beliefd.engine.sequence import (
    backward,
    base_row,
    beliefs_row,
    join_parents,
    message_row,
    move_parents,
    multiply_without,
    origin_row,
    outcome_row,
)
from beliefd.engine.tile import fill
from beliefd.engine.vectormath import FLOOR
from beliefd.engine.window import load_beliefs, place_distributions

_LEAST = FLOOR * FLOOR
"""What is divided by is not under it: its inverse is still a number in float32."""


@inline
def learn_window(
    ints,
    reals,
    work,
    lanes,
    record,
    tick,
    fresh,
    first,
    seen,
    moved,
    places,
    earliest,
    used,
    records,
    given,
):
    """Write the counts after this step.

    `first`, `seen` and `moved` as in `beliefd.engine.window.load_steps`; `places` is room for one row of `lanes`.
    """
    if ints[plan.MESSAGES] == plan.NO_MESSAGES:
        _smooth(ints, reals, work, lanes, record, tick, first, moved, earliest, records)
    for lane in range(used):
        row = lanes[record, lane]
        copy_counts(ints, reals, row, lanes[tick, lane], records, given)
        new = counts_place(ints, lanes[tick, lane], work.itemsize)
        _forget(ints, reals, fresh[lane] != 0, row, new, records)
    for m in range(ints[plan.NUM_MODALITIES]):
        if ints[ints[plan.OWN_A_COUNTS] + m] >= 0:
            _learn_likelihood(ints, reals, work, lanes, record, tick, m, first, seen, places, earliest, used, records)
    for f in range(ints[plan.NUM_FACTORS]):
        if ints[ints[plan.OWN_B_COUNTS] + f] >= 0:
            for step in range(earliest + 1, ints[plan.WINDOW]):
                _learn_transition(ints, reals, work, lanes, record, tick, f, first, moved, step, used, records)
        if ints[ints[plan.OWN_D_COUNTS] + f] >= 0:
            for lane in range(used):
                if fresh[lane] != 0:
                    new = counts_place(ints, lanes[tick, lane], work.itemsize)
                    learn_start(ints, reals, work, f, lane, lanes[record, lane], new, records)


@inline
def _smooth(ints, reals, work, lanes, record, tick, first, moved, earliest, records):
    """Set the beliefs of every step to smoothed ones, the base rows to filtered ones.

    The message rows become the smoothed beliefs divided by what the step before expects.
    """
    zero, last = work.dtype.type(0), ints[plan.WINDOW] - 1
    for step in range(earliest, last + 1):
        load_beliefs(ints, work, lanes, record, tick, last - step, beliefs_row(ints, step), records)
    for step in range(last - 1, earliest - 1, -1):
        for f in range(ints[plan.NUM_FACTORS]):
            start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
            beliefs, filtered = beliefs_row(ints, step) + start, base_row(ints, step) + start
            following, weights = beliefs_row(ints, step + 1) + start, message_row(ints, step + 1) + start
            move_parents(ints, reals, work, f, moved, step + 1)
            _divide(ints, work, weights, following, outcome_row(ints), states)
            backward(ints, reals, work, f, moved, step + 1, weights, origin_row(ints), ints[ints[plan.OWN_B] + f])
            for s in range(states):
                for lane in range(LANES):
                    work[filtered + s, lane] = work[beliefs + s, lane]
                multiply_rows(work, beliefs + s, beliefs + s, origin_row(ints) + s)
            if ints[plan.SMOOTHING_FLOOR]:
                _normalise(ints, work, beliefs, states)
            # Zeros stay what they are further back, where steps without meaning could become any number.
            for s in range(states):
                for lane in range(LANES):
                    if first[lane] > step:
                        work[beliefs + s, lane] = zero


@inline
def _divide(ints, work, target, above, below, count):
    """Set rows to those from `above` on, divided by what is reached, which stands from `below` on."""
    floor, least = work.dtype.type(FLOOR), work.dtype.type(_LEAST)
    if ints[plan.SMOOTHING_FLOOR]:
        least = floor
    for i in range(count):
        for lane in range(LANES):
            reached = work[below + i, lane]
            work[target + i, lane] = work[above + i, lane] / (reached if reached > least else floor)


@inline
def _normalise(ints, work, first, count):
    total, least = ints[plan.SPARE_ROW], work.dtype.type(_LEAST)
    fill(work, total, work.dtype.type(0))
    for i in range(first, first + count):
        for lane in range(LANES):
            work[total, lane] += work[i, lane]
    for i in range(first, first + count):
        for lane in range(LANES):
            work[i, lane] /= max(work[total, lane], least)


@inline
def _forget(ints, reals, is_first, row, new, records):
    """Keep a part of an agent's counts: of A always, of B but at a first step, of D, elsewhere, only there."""
    least = records.dtype.type(LEAST_COUNT)
    for m in range(ints[plan.NUM_MODALITIES]):
        kept, start = reals[ints[plan.RATES] + 1], ints[ints[plan.OWN_A_COUNTS] + m]
        if start >= 0 and kept != 1:
            size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
            for i in range(ints[ints[plan.NUM_OBS] + m] * size):
                records[row, new + start + i] = faded(records[row, new + start + i], kept, least)
    kept = reals[ints[plan.RATES] + 3]
    if not is_first and kept != 1:
        for i in range(ints[plan.B_COUNTS_START], ints[plan.B_COUNTS_END]):
            records[row, new + i] = faded(records[row, new + i], kept, least)


@inline
def _learn_likelihood(ints, reals, work, lanes, record, tick, m, first, seen, places, earliest, used, records):
    joint, modalities = ints[ints[plan.A_JOINT] + m], ints[plan.NUM_MODALITIES]
    size, rate = ints[ints[plan.JOINT_SIZE] + joint], reals[ints[plan.RATES]]
    at = ints[ints[plan.OWN_A_COUNTS] + m]
    for step in range(earliest, ints[plan.WINDOW]):
        observed = seen[step * modalities : (step + 1) * modalities]
        place_distributions(ints, lanes, tick, step, observed, places, records)
        hold_observation(ints, work, observed, records, lanes[record], places, m)
        source = beliefs_row(ints, step)
        if joint < ints[plan.NUM_FACTORS]:
            source += ints[ints[plan.STATE_START] + joint]
        else:
            multiply_without(ints, work, joint, source, -1, ints[plan.PREDICTION_ROW])
            source = ints[plan.PREDICTION_ROW]
        for lane in range(used):
            if first[lane] <= step:
                new = counts_place(ints, lanes[tick, lane], work.itemsize) + at
                for o in range(ints[ints[plan.NUM_OBS] + m]):
                    weight = rate * work[ints[plan.OBSERVATION_ROW] + o, lane]
                    if weight != 0:
                        _add(ints, work, weight, source, size, lane, lanes[record, lane], new + o * size, records)


@inline
def _learn_transition(ints, reals, work, lanes, record, tick, f, first, moved, step, used, records):
    states, size = ints[ints[plan.NUM_STATES] + f], ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + f]]
    start, rate = ints[ints[plan.STATE_START] + f], reals[ints[plan.RATES] + 2]
    smoothed = ints[plan.MESSAGES] == plan.NO_MESSAGES
    if smoothed:
        before, now = base_row(ints, step - 1) + start, message_row(ints, step) + start
    else:
        before, now = join_parents(ints, work, f, step), beliefs_row(ints, step) + start
    product = ints[plan.PREDICTION_ROW]
    at = ints[ints[plan.OWN_B_COUNTS] + f]
    for lane in range(used):
        if first[lane] >= step:
            continue
        action = moved[step * ints[plan.NUM_FACTORS] + f, lane]
        new = counts_place(ints, lanes[tick, lane], work.itemsize) + at + action * states * size
        own = ints[ints[plan.OWN_B] + f] + action * states * size
        for s in range(states):
            source = before
            if smoothed:
                source = product
                for k in range(size):
                    work[product + k, lane] = work[before + k, lane] * work[own + s * size + k, lane]
            weight = rate * work[now + s, lane]
            _add(ints, work, weight, source, size, lane, lanes[record, lane], new + s * size, records)


@inline
def _add(ints, work, weight, source, count, lane, row, at, records):
    """Add to counts of an agent from place `at` on the rows from `source` on times a weight; zeros may be kept."""
    keep_zeros, zero = ints[plan.KEEP_ZEROS], work.dtype.type(0)
    for k in range(count):
        before = records[row, at + k]
        grown = before + weight * work[source + k, lane]
        records[row, at + k] = before if keep_zeros and before == zero else grown
