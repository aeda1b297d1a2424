"""Learning: Dirichlet counts of an agent's own, from which its A, B and D are made at each step.

After a step with observation o, beliefs q and, before it, beliefs q' and action u,

    pA_m <- fr pA_m + lr o_m (x) q          pB_f(u) <- fr pB_f(u) + lr q_f (x) q'          pD_f <- fr pD_f + lr q_f

where fr leaves at least LEAST_COUNT of what is more; the last only at the first step after a reset, the second only at
the others. The probabilities are counts divided by the sum of their column. Friston et al. (2016), Active inference and
learning, Neurosci. Biobehav. Rev. 68.

The counts of an agent stand in its record. In scratch they are rows like all others, one per count, as its own A, B and
D: what is summed over rows of the model for agents that share it is summed over these here.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.copies import (
    ALL_PARTS,
    NO_PART,
    bring_up,
    close_copy,
    counts_place,
    is_missing_little,
    note_part,
)
from beliefd.engine.jit import inline
from beliefd.engine.plan import INFO_GAIN, LANES, UTILITY
from beliefd.engine.recordmath import gather_rows, grow_numbers
from beliefd.engine.rowmath import add_negentropy, add_weighed_logs
from beliefd.engine.rows import normalise_rows, weigh_steps
from beliefd.engine.tile import fill

LEAST_COUNT = 1e-30
"""What forgetting leaves of a count, and the least above 0 that `Model` takes: columns of less have no means."""

_INT32_BYTES = 4


@inline
def load_own(ints, reals, work, lanes, slot, record, tick, source, flag, int32s, records, given):
    """Bring the counts before a tick into rows, for every lane, and make them A, B and D; and what agents were given.

    Until they are learned, A, B and D are those that were given, or the model's. `slot`, `record`, `tick` and `source`
    name rows of `lanes`, of which the last is overwritten; `flag` is the one in the flags of that slot that says
    whether B may have been learned.
    """
    if ints[plan.NUM_COUNTS] > 0:
        for lane in range(LANES):
            at = counts_place(ints, lanes[tick, lane] - 1, work.itemsize)
            lanes[source, lane] = lanes[record, lane] * records.shape[1] + at
        _gather_runs(ints, work, plan.COUNT_ROWS, ints[plan.NUM_COUNTS], records, lanes[source])
        for lane in range(LANES):
            row = lanes[record, lane]
            moved = int32s[row, (lanes[slot, lane] + ints[plan.FLAGS_AT]) // _INT32_BYTES] & flag
            first, end = ints[plan.B_COUNTS_START], ints[plan.B_COUNTS_END]
            if lanes[tick, lane] == 1:
                first, end = 0, ints[plan.NUM_COUNTS]
            elif moved != 0:
                continue
            _start_lane(ints, reals, work, lane, row, first, end, given)
    if ints[plan.NUM_PARAMETERS] > 0:
        for lane in range(LANES):
            lanes[source, lane] = lanes[record, lane] * given.shape[1]
        _gather_runs(ints, work, plan.PARAMETER_ROWS, ints[plan.NUM_PARAMETERS], given, lanes[source])
    _normalise_own(ints, work)


@inline
def _gather_runs(ints, work, section, count, records, places):
    """Bring `count` numbers of every lane into the rows that a section of the plan names; where it is -1, to none."""
    first = 0
    while first < count:
        target, end = ints[ints[section] + first], first + 1
        step = 1 if target >= 0 else 0
        while end < count and ints[ints[section] + end] == target + step * (end - first):
            end += 1
        if target >= 0:
            gather_rows(work, target, records, places, first, end - first)
        first = end


@inline
def _start_lane(ints, reals, work, lane, row, first, end, given):
    """Set the rows of the counts first .. end - 1 of a lane to what holds until something is learned."""
    for i in range(first, end):
        parameter = ints[ints[plan.COUNT_TENSORS] + i]
        value = given[row, parameter] if parameter >= 0 else reals[ints[plan.INITIAL_TENSORS] + i]
        work[ints[ints[plan.COUNT_ROWS] + i], lane] = value


@inline
def _normalise_own(ints, work):
    """Divide the columns of every A, B and D of the agents' own by their sums."""
    for m in range(ints[plan.NUM_MODALITIES]):
        start = ints[ints[plan.OWN_A] + m]
        if start >= 0:
            size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
            for k in range(start, start + size):
                normalise_rows(work, k, size, ints[ints[plan.NUM_OBS] + m])
    for f in range(ints[plan.NUM_FACTORS]):
        start, states = ints[ints[plan.OWN_B] + f], ints[ints[plan.NUM_STATES] + f]
        if start >= 0:
            size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + f]]
            for action in range(ints[ints[plan.NUM_MOVES] + f]):
                for k in range(size):
                    normalise_rows(work, start + action * states * size + k, size, states)
        if ints[ints[plan.OWN_D_COUNTS] + f] >= 0:
            normalise_rows(work, ints[ints[plan.OWN_D] + f], 1, states)


@inline
def hold_observation(ints, work, observed, distributions, items, places, m):
    """Set the observation rows to modality m's observation as a distribution; to zeros where it is missing.

    Arguments as `beliefd.engine.perception.observe` has them.
    """
    zero, one = work.dtype.type(0), work.dtype.type(1)
    first, start = ints[plan.OBSERVATION_ROW], ints[ints[plan.OBS_START] + m]
    for o in range(ints[ints[plan.NUM_OBS] + m]):
        for lane in range(LANES):
            seen = observed[m, lane]
            if seen == -2:
                work[first + o, lane] = distributions[items[lane], places[lane] + start + o]
            else:
                work[first + o, lane] = one if seen == o else zero


@inline
def observe_own(ints, work, observed, distributions, items, places, m, target):
    """Add to rows from `target` on what modality m says, by each agent's own A."""
    hold_observation(ints, work, observed, distributions, items, places, m)
    size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
    start, count = ints[ints[plan.OWN_A] + m], ints[ints[plan.NUM_OBS] + m]
    for k in range(size):
        add_weighed_logs(work, target + k, ints[plan.OBSERVATION_ROW], start + k, size, count)


@inline
def prepare_own(ints, reals, work, part):
    """Set the rows with what is linear in beliefs, of one part of G, for every modality with an A of its own."""
    if part > INFO_GAIN:
        return
    for m in range(ints[plan.NUM_MODALITIES]):
        start = ints[ints[plan.OWN_A] + m]
        if start < 0:
            continue
        count, size = ints[ints[plan.NUM_OBS] + m], ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
        first = ints[plan.PREFERENCES] + ints[ints[plan.PREFERENCE_START] + m]
        by_state = ints[ints[plan.PREFERENCE_STATES] + m]
        for time in range(ints[ints[plan.PREFERENCE_TIMES] + m]):
            for k in range(size):
                target = start + (count + time) * size + k
                state = k if by_state > 1 else 0
                preference = first + (time * by_state + state) * count
                # Preferences of the agent's own are weighed by the observations themselves.
                if part != INFO_GAIN and ints[plan.USE_UTILITY] and ints[ints[plan.OWN_C] + m] < 0:
                    weigh_steps(work, target, reals, preference, count, start + k, size)
                else:
                    fill(work, target, work.dtype.type(0))
                if part != UTILITY and ints[plan.USE_STATES_INFO_GAIN]:
                    add_negentropy(work, target, start + k, size, count)


@inline
def first_count(ints, reals, given, row, i):
    """The count number i that an agent starts from."""
    parameter = ints[ints[plan.COUNT_PARAMETERS] + i]
    return given[row, parameter] if parameter >= 0 else reals[ints[plan.INITIAL_COUNTS] + i]


@inline
def copy_counts(ints, reals, row, tick, records, given):
    """Write an agent's counts before a tick to where they stand after it."""
    old, new = counts_place(ints, tick - 1, records.itemsize), counts_place(ints, tick, records.itemsize)
    for i in range(ints[plan.NUM_COUNTS]):
        records[row, new + i] = records[row, old + i] if tick > 1 else first_count(ints, reals, given, row, i)


@inline
def learn(
    ints,
    reals,
    work,
    lanes,
    read_slot,
    record,
    tick,
    fresh,
    previous,
    observed,
    distributions,
    items,
    places,
    used,
    int32s,
    int64s,
    records,
    given,
):
    """Write the counts after this step.

    `fresh` int32 (LANES,) and `previous` int32 (factors, LANES) as in `beliefd.engine.perception.predict_prior`.
    """
    for lane in range(used):
        _begin_copy(
            ints,
            reals,
            lane,
            lanes[record, lane],
            lanes[tick, lane],
            fresh,
            previous,
            observed,
            int32s,
            int64s,
            records,
            given,
        )
    for m in range(ints[plan.NUM_MODALITIES]):
        if ints[ints[plan.OWN_A_COUNTS] + m] >= 0:
            hold_observation(ints, work, observed, distributions, items, places, m)
            for lane in range(used):
                new = counts_place(ints, lanes[tick, lane], work.itemsize)
                _learn_likelihood(ints, reals, work, m, lane, lanes[record, lane], new, records)
    for f in range(ints[plan.NUM_FACTORS]):
        for lane in range(used):
            row = lanes[record, lane]
            new = counts_place(ints, lanes[tick, lane], work.itemsize)
            if ints[ints[plan.OWN_B_COUNTS] + f] >= 0:
                beliefs = (lanes[read_slot, lane] + ints[plan.BELIEFS_AT]) // work.itemsize
                moved = fresh[lane] == 0
                _learn_transition(ints, reals, work, f, lane, row, new, beliefs, previous[f, lane], moved, records)
            if ints[ints[plan.OWN_D_COUNTS] + f] >= 0 and fresh[lane] != 0:
                learn_start(ints, reals, work, f, lane, row, new, records)
    for lane in range(used):
        close_copy(ints, int64s, lanes[record, lane], lanes[tick, lane])


@inline
def _begin_copy(ints, reals, lane, row, tick, fresh, previous, observed, int32s, int64s, records, given):
    """Say what this step changes, and bring the copy of the counts that it writes to those after the tick before."""
    modalities = ints[plan.NUM_MODALITIES]
    for m in range(modalities):
        note_part(ints, int32s, row, tick, m, observed[m, lane] if reals[ints[plan.RATES] + 1] == 1 else ALL_PARTS)
    for f in range(ints[plan.NUM_FACTORS]):
        part = previous[f, lane] if reals[ints[plan.RATES] + 3] == 1 else ALL_PARTS
        note_part(ints, int32s, row, tick, modalities + f, part if fresh[lane] == 0 else NO_PART)
    if tick == 1:
        copy_counts(ints, reals, row, tick, records, given)
        return
    few = is_missing_little(ints, int64s, row, tick)
    for m in range(modalities):
        start = ints[ints[plan.OWN_A_COUNTS] + m]
        if start >= 0:
            size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
            bring_up(ints, int32s, records, row, tick, m, start, ints[ints[plan.NUM_OBS] + m], size, few)
        start = ints[ints[plan.PC_COUNTS] + m]
        if start >= 0:
            bring_up(ints, int32s, records, row, tick, m, start, 1, ints[ints[plan.NUM_OBS] + m], False)
    if ints[plan.PE_COUNTS] >= 0:
        bring_up(ints, int32s, records, row, tick, 0, ints[plan.PE_COUNTS], 1, ints[plan.NUM_POLICIES], False)
    for f in range(ints[plan.NUM_FACTORS]):
        start, states = ints[ints[plan.OWN_B_COUNTS] + f], ints[ints[plan.NUM_STATES] + f]
        if start >= 0:
            size = states * ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + f]]
            moves = ints[ints[plan.NUM_MOVES] + f]
            bring_up(ints, int32s, records, row, tick, modalities + f, start, moves, size, few)
        start = ints[ints[plan.OWN_D_COUNTS] + f]
        if start >= 0:
            bring_up(ints, int32s, records, row, tick, modalities + f, start, 1, states, False)


@inline
def faded(count, kept, least):
    """What forgetting leaves of a count. One at `least` or under it stays, so that 0 is 0 and nothing becomes it."""
    return max(kept * count, min(count, least))


@inline
def _learn_likelihood(ints, reals, work, m, lane, row, new, records):
    zero, least, keep_zeros = work.dtype.type(0), work.dtype.type(LEAST_COUNT), ints[plan.KEEP_ZEROS]
    joint = ints[ints[plan.A_JOINT] + m]
    size, first = ints[ints[plan.JOINT_SIZE] + joint], ints[ints[plan.JOINT_ROW] + joint]
    rate, kept = reals[ints[plan.RATES]], reals[ints[plan.RATES] + 1]
    at = new + ints[ints[plan.OWN_A_COUNTS] + m]
    for o in range(ints[ints[plan.NUM_OBS] + m]):
        weight = rate * work[ints[plan.OBSERVATION_ROW] + o, lane]
        if weight == zero and kept == 1:
            continue
        for k in range(size):
            left = faded(records[row, at + o * size + k], kept, least)
            grown = left + weight * work[first + k, lane]
            records[row, at + o * size + k] = left if keep_zeros and left == zero else grown


@inline
def _learn_transition(ints, reals, work, f, lane, row, new, beliefs, action, moved, records):
    least, keep_zeros = work.dtype.type(LEAST_COUNT), ints[plan.KEEP_ZEROS]
    joint = ints[ints[plan.B_JOINT] + f]
    size, arity = ints[ints[plan.JOINT_SIZE] + joint], ints[ints[plan.JOINT_ARITY] + joint]
    index = ints[plan.JOINT_INDEX] + ints[ints[plan.JOINT_INDEX_START] + joint]
    states, first = ints[ints[plan.NUM_STATES] + f], ints[ints[plan.STATE_START] + f]
    rate, kept = reals[ints[plan.RATES] + 2], reals[ints[plan.RATES] + 3]
    at = new + ints[ints[plan.OWN_B_COUNTS] + f]
    if not moved:
        return
    if kept != 1:
        for i in range(at, at + ints[ints[plan.NUM_MOVES] + f] * states * size):
            records[row, i] = faded(records[row, i], kept, least)
    at += action * states * size
    # Side by side, not in rows: what the counts of one record are added to runs along it.
    spare = ints[plan.PREDICTION_ROW]
    for k in range(size):
        before = rate
        for i in range(arity):
            before *= records[row, beliefs + ints[index + k * arity + i]]
        work[spare + k // LANES, k % LANES] = before
    for s in range(states):
        place = row * records.shape[1] + at + s * size
        grow_numbers(records, place, work, spare * LANES, size, work[first + s, lane], keep_zeros)


@inline
def learn_start(ints, reals, work, f, lane, row, new, records):
    """Add to an agent's counts of D, which stand from place `new` on, the beliefs of now."""
    zero, least, keep_zeros = work.dtype.type(0), work.dtype.type(LEAST_COUNT), ints[plan.KEEP_ZEROS]
    rate, kept = reals[ints[plan.RATES] + 4], reals[ints[plan.RATES] + 5]
    at, first = new + ints[ints[plan.OWN_D_COUNTS] + f], ints[ints[plan.STATE_START] + f]
    for s in range(ints[ints[plan.NUM_STATES] + f]):
        left = faded(records[row, at + s], kept, least)
        grown = left + rate * work[first + s, lane]
        records[row, at + s] = left if keep_zeros and left == zero else grown
