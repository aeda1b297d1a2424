"""The agents in the lanes of a tile: who they are, and where what a step reads and writes of them stands."""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.admission import record_of, slot_at, tick_of
from beliefd.engine.jit import inline
from beliefd.engine.plan import LANES

LANE_ROWS = 16
"""Rows of the int64 lane array; see ITEM and the names after it."""

MARK_ROWS = 5
"""Rows of the int32 lane array before observations, previous actions and new actions: FRESH and those after it.

After them stand, for every step of a window, its observations, and then for every step what was done before it.
"""

# Position in the call; slots as byte offsets; where in a row of distributions those of this agent begin; where numbers
# of its own begin among those of all agents. Then where slots begin among the int32s, the reals and the int64s of all
# records, and where this agent's actions and request id do among those of the call; and that id's halves.
(
    ITEM,
    RECORD,
    TICK,
    READ_SLOT,
    WRITE_SLOT,
    PLACE,
    SOURCE,
    READ_INTS,
    WRITE_INTS,
    READ_REALS,
    WRITE_REALS,
    WRITE_LONGS,
    ACTIONS,
    IDS,
    ID,
    ID_HIGH,
) = range(LANE_ROWS)
FRESH, CHOICE, FLAGS, FIRST, FROM_START = range(MARK_ROWS)  # whether the prior is D; of a window, see load_steps
_INT32_BYTES = 4
_INT64_BYTES = 8


@inline
def place_agents(ints, lanes, picked, start, used, rows, ticks):
    """Put the next agents into the lanes. Those beyond `used` repeat the first agent, and nothing of them stays."""
    for lane in range(LANES):
        item = picked[start + lane if lane < used else start]
        tick = tick_of(ticks, item)
        lanes[ITEM, lane] = item
        lanes[RECORD, lane] = record_of(rows, item)
        lanes[TICK, lane] = tick
        lanes[READ_SLOT, lane] = slot_at(ints, tick - 1)
        lanes[WRITE_SLOT, lane] = slot_at(ints, tick)
        lanes[PLACE, lane] = 0


@inline
def place_numbers(ints, lanes, int32s, records):
    """Say where the slots of the agents in the lanes are, and what the call has of them, as `gather_rows` takes it."""
    start, size = ints[plan.SLOT_START] // _INT32_BYTES, ints[plan.SLOT_BYTES] // _INT32_BYTES
    in_record = int32s.shape[1]
    halved = records.itemsize // _INT64_BYTES  # reals are as wide as int32s, or as int64s
    controls = ints[plan.NUM_CONTROL_FACTORS]
    for lane in range(LANES):
        slots = lanes[RECORD, lane] * in_record + start
        written = (lanes[TICK, lane] & 1) * size
        lanes[READ_INTS, lane] = slots + size - written
        lanes[WRITE_INTS, lane] = slots + written
    for lane in range(LANES):
        lanes[READ_REALS, lane] = lanes[READ_INTS, lane] >> halved
        lanes[WRITE_REALS, lane] = lanes[WRITE_INTS, lane] >> halved
        lanes[WRITE_LONGS, lane] = lanes[WRITE_INTS, lane] >> 1
    for lane in range(LANES):
        lanes[ACTIONS, lane] = lanes[ITEM, lane] * controls
        lanes[IDS, lane] = lanes[ITEM, lane] * 2
