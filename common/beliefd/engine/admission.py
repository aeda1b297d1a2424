"""Which agents of a call may step: who takes which of its tiles, and what the committed tick of each agent says to it.

The slot of the committed tick is an agent's state, the other one is idle (see `layout`). An agent steps by one tick. If
it is at the tick of the call already, the request id in its slot tells a retry, which gets what is recorded, from
another request, which is too late. Nothing of a step counts before its commit word is written.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.copies import mark_copy
from beliefd.engine.jit import inline
from beliefd.engine.recordmath import take_some

APPLIED, RECORDED, TICK_TAKEN, STALE_TICK, TICK_GAP = range(5)

_SHARES = 4
"""Who takes tiles of a call takes one of so many parts of what is left at once: to count takes time, too."""
_INT32_BYTES = 4
_INT64_BYTES = 8


@inline
def slot_at(ints, tick):
    """Offset in the record of the slot of a tick, in bytes."""
    return ints[plan.SLOT_START] + (tick & 1) * ints[plan.SLOT_BYTES]


@inline
def record_of(rows, item):
    """Which record is that of an agent of the call."""
    return rows[item] if len(rows) > 1 else rows[0] + item


@inline
def tick_of(ticks, item):
    """Which tick an agent of the call is to take."""
    return ticks[item if len(ticks) > 1 else 0]


@inline
def take_tiles(tally, tiles, taken, from_end):
    """Take the next tiles of a call, of which `taken` have been taken here: from the first to before the last of them.

    Fewer the fewer are left, so that two who share a call end together. None are left where both are the same.
    """
    count = max((tiles - tally[0]) // _SHARES, 1)
    count = min(tiles - take_some(tally, count), count)
    if count <= 0:
        return 0, 0
    if from_end:
        return tiles - taken - count, tiles - taken
    return taken, taken + count


@inline
def admit(ints, int32s, int64s, rows, ticks, request_ids, status, actions, picked, first, last, start):
    """Decide the status of the agents `first` up to `last` by their committed ticks, and pick those to apply.

    The actions of the others are set: to the recorded ones, or to -1.

    Returns
    -------
    int64
        How many are picked; they stand in `picked` from `start` on.
    """
    count = 0
    for i in range(first, last):
        record, tick, id_at = record_of(rows, i), tick_of(ticks, i), i if len(request_ids) > 1 else 0
        committed = int64s[record, 0]
        if tick == committed + 1:
            status[i] = APPLIED
            picked[start + count] = i
            count += 1
            if ints[plan.NUM_COUNTS] > 0:
                mark_copy(ints, int64s, record, tick)
            continue
        slot = slot_at(ints, committed)
        request = (slot + ints[plan.REQUEST_ID_AT]) // _INT64_BYTES
        if tick > committed:
            status[i] = TICK_GAP
        elif tick < committed or tick < 1:
            status[i] = STALE_TICK
        elif int64s[record, request] == request_ids[id_at, 0] and int64s[record, request + 1] == request_ids[id_at, 1]:
            status[i] = RECORDED
        else:
            status[i] = TICK_TAKEN
        for c in range(ints[plan.NUM_CONTROL_FACTORS]):
            recorded = int32s[record, (slot + ints[plan.ACTION_AT]) // _INT32_BYTES + c]
            actions[i, c] = recorded if status[i] == RECORDED else -1
    return count


@inline
def commit(int64s, rows, ticks, picked, first, last):
    """Write the commit words of the agents picked `first` up to `last`."""
    for i in range(first, last):
        int64s[record_of(rows, picked[i]), 0] = tick_of(ticks, picked[i])
