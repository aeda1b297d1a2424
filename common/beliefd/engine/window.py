"""The last steps of an agent: in the ring of its record, and in the lanes of a tile.

In a tile, the steps of all agents end together: number WINDOW - 1 is the present. An agent with fewer steps begins
later, at its first step; what stands before that is of no meaning, and never reaches what stands after it.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.plan import LANES

_INT32_BYTES = 4


@inline
def entry_at(ints, tick):
    """Offset of a tick's entry in the record, in bytes."""
    return ints[plan.RING_START] + tick % (ints[plan.WINDOW] + 1) * ints[plan.ENTRY_BYTES]


@inline
def keep_step(ints, lanes, record, tick, fresh, previous, observed, distributions, items, used, int32s, records):
    """Write the step that begins into the ring of every agent; its beliefs come later.

    The entry is one that the committed state does not need. `record` and `tick` name rows of `lanes`; the others as in
    `beliefd.engine.perception`.
    """
    for lane in range(used):
        row, entry = lanes[record, lane], entry_at(ints, lanes[tick, lane])
        span = 1
        if fresh[lane] == 0:
            before = entry_at(ints, lanes[tick, lane] - 1)
            span = min(int32s[row, (before + ints[plan.SPAN_AT]) // _INT32_BYTES] + 1, ints[plan.WINDOW])
        int32s[row, (entry + ints[plan.SPAN_AT]) // _INT32_BYTES] = span
        is_given = False
        for m in range(ints[plan.NUM_MODALITIES]):
            int32s[row, (entry + ints[plan.PAST_OBSERVATION_AT]) // _INT32_BYTES + m] = observed[m, lane]
            is_given |= observed[m, lane] == -2
        for f in range(ints[plan.NUM_FACTORS]):
            int32s[row, (entry + ints[plan.MOVES_AT]) // _INT32_BYTES + f] = previous[f, lane]
        if is_given:
            at = (entry + ints[plan.DISTRIBUTION_AT]) // records.itemsize
            for o in range(distributions.shape[1]):
                records[row, at + o] = distributions[items[lane], o]


@inline
def load_steps(ints, lanes, record, tick, fresh, first, from_start, seen, moved, int32s):
    """Bring the observations and moves of the window into lanes.

    Sets `first`, int32 (LANES,), to each agent's first step, and `from_start`, the same, to whether no step has left
    the window yet; `seen`, int32 (steps modalities, LANES), and `moved`, int32 (steps factors, LANES), the latter
    without meaning before the first step that something led to, though in range.

    Returns
    -------
    earliest, latest : int
        The least and the largest of `first`.
    """
    steps, modalities, factors = ints[plan.WINDOW], ints[plan.NUM_MODALITIES], ints[plan.NUM_FACTORS]
    earliest, latest = steps, 0
    for lane in range(LANES):
        row, now = lanes[record, lane], lanes[tick, lane]
        begin = steps - int32s[row, (entry_at(ints, now) + ints[plan.SPAN_AT]) // _INT32_BYTES]
        first[lane] = begin
        before = entry_at(ints, now - 1)
        span_before = int32s[row, (before + ints[plan.SPAN_AT]) // _INT32_BYTES]
        from_start[lane] = fresh[lane] != 0 or span_before < steps
        earliest, latest = min(earliest, begin), max(latest, begin)
        for step in range(begin):
            for m in range(modalities):
                seen[step * modalities + m, lane] = -1
            for f in range(factors):
                moved[step * factors + f, lane] = 0
        # A division per agent, not one per step: the entries follow each other around the ring.
        place = (now - (steps - 1 - begin)) % (steps + 1)
        for step in range(begin, steps):
            entry = ints[plan.RING_START] + place * ints[plan.ENTRY_BYTES]
            place = 0 if place == steps else place + 1
            for m in range(modalities):
                at = (entry + ints[plan.PAST_OBSERVATION_AT]) // _INT32_BYTES
                seen[step * modalities + m, lane] = int32s[row, at + m]
            for f in range(factors):
                at = (entry + ints[plan.MOVES_AT]) // _INT32_BYTES
                moved[step * factors + f, lane] = int32s[row, at + f]
    return earliest, latest


@inline
def place_distributions(ints, lanes, tick, step, observed, places, records):
    """Set `places`, int64 (LANES,), to the columns of the records where distributions of a step of the window stand.

    They are left as they were where `observed`, the step's observations, has no distribution in any lane.
    """
    given = 0
    for m in range(ints[plan.NUM_MODALITIES]):
        for lane in range(LANES):
            given += observed[m, lane] == -2
    if given == 0:
        return
    for lane in range(LANES):
        entry = entry_at(ints, max(lanes[tick, lane] - (ints[plan.WINDOW] - 1 - step), 0))
        places[lane] = (entry + ints[plan.DISTRIBUTION_AT]) // records.itemsize


@inline
def load_beliefs(ints, work, lanes, record, tick, age, target, records):
    """Bring the beliefs that were kept `age` ticks ago into the rows from `target` on."""
    for lane in range(LANES):
        entry = entry_at(ints, max(lanes[tick, lane] - age, 0))
        at = (entry + ints[plan.PAST_BELIEFS_AT]) // records.itemsize
        for s in range(ints[plan.TOTAL_STATES]):
            work[target + s, lane] = records[lanes[record, lane], at + s]


@inline
def keep_beliefs(ints, work, lanes, record, tick, first, source, used, records):
    """Write the rows from `source` on into the ring, as the beliefs of this tick's entry.

    Not where the window is still growing and only its first step is to be kept: what is there has no meaning.
    """
    for lane in range(used):
        if ints[plan.MESSAGES] != plan.NO_MESSAGES and first[lane] > 0:
            continue
        at = (entry_at(ints, lanes[tick, lane]) + ints[plan.PAST_BELIEFS_AT]) // records.itemsize
        for s in range(ints[plan.TOTAL_STATES]):
            records[lanes[record, lane], at + s] = work[source + s, lane]
