"""Between slots and lanes: what a step takes from committed slots and leaves in idle ones, and what a read takes."""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

import numpy as np

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.lanes import (
    ACTIONS,
    FIRST,
    FLAGS,
    FRESH,
    ID,
    IDS,
    ITEM,
    MARK_ROWS,
    READ_INTS,
    READ_REALS,
    READ_SLOT,
    RECORD,
    TICK,
    WRITE_INTS,
    WRITE_LONGS,
    WRITE_REALS,
    WRITE_SLOT,
)
from beliefd.engine.layout import FLAG_EXECUTED, FLAG_MOVED, FLAG_MOVED_BEFORE, FLAG_RESET
from beliefd.engine.plan import LANES
from beliefd.engine.precision import keep_precision
from beliefd.engine.recordmath import gather_rows, scatter_rows
from beliefd.engine.sequence import beliefs_row
from beliefd.engine.window import keep_beliefs

_INT32_BYTES = 4
_INT64_BYTES = 8


@inline
def gather(ints, work, lanes, marks, int32s, records, indices, reset, executed):
    """Bring previous beliefs into the rows of now, and observations and previous actions into the marks.

    Those actions stand where the new ones will.
    """
    modalities, controls = ints[plan.NUM_MODALITIES], ints[plan.NUM_CONTROL_FACTORS]
    moves = MARK_ROWS + modalities
    actions = moves + ints[plan.NUM_FACTORS]
    for lane in range(LANES):
        marks[FRESH, lane] = lanes[TICK, lane] == 1
    if len(reset) > 0:
        for lane in range(LANES):
            if reset[lanes[ITEM, lane]] != 0:
                marks[FRESH, lane] = 1
    _load_observations(ints, marks, lanes, indices)
    gather_rows(marks, actions, int32s, lanes[READ_INTS], ints[plan.ACTION_AT] // _INT32_BYTES, controls)
    if len(executed) > 0:
        for c in range(controls):
            for lane in range(LANES):
                if executed[lanes[ITEM, lane], c] >= 0:
                    marks[actions + c, lane] = executed[lanes[ITEM, lane], c]
    for f in range(ints[plan.NUM_FACTORS]):
        for lane in range(LANES):
            marks[moves + f, lane] = 0
        start = ints[plan.MOVE_CONTROLS_START] + f
        for i in range(ints[start], ints[start + 1]):
            c = ints[ints[plan.MOVE_CONTROLS] + i]
            choices = ints[ints[plan.NUM_CONTROLS] + c]
            for lane in range(LANES):
                marks[moves + f, lane] = marks[moves + f, lane] * choices + marks[actions + c, lane]
    beliefs_at = ints[plan.BELIEFS_AT] // records.itemsize
    gather_rows(work, 0, records, lanes[READ_REALS], beliefs_at, ints[plan.TOTAL_STATES])


@inline
def _load_observations(ints, marks, lanes, indices):
    """Set the observations of the lanes, whose `indices` may have 1, 2 or 4 bytes each, the lowest first."""
    modalities = ints[plan.NUM_MODALITIES]
    width = indices.shape[1] // modalities
    for m in range(modalities):
        for lane in range(LANES):
            item, highest = lanes[ITEM, lane], (m + 1) * width - 1
            index = np.int32(indices[item, highest])  # which has the sign
            for byte in range(highest - 1, m * width - 1, -1):
                index = np.int32((index << 8) | (np.int32(indices[item, byte]) & 255))
            marks[MARK_ROWS + m, lane] = index


@inline
def _was_told(ints, executed, item):
    """Whether the call says of any control what this agent's last action really was."""
    if len(executed) == 0:
        return False
    highest = executed[item, 0]
    for c in range(1, ints[plan.NUM_CONTROL_FACTORS]):
        highest = max(highest, executed[item, c])
    return highest >= 0


@inline
def write_beliefs(ints, work, lanes, marks, used, records, free_energy_row, vfe, beliefs):
    """Write what was inferred: into the idle slots, the outputs, and the ring of a window."""
    states = ints[plan.TOTAL_STATES]
    vfe_at, beliefs_at = ints[plan.VFE_AT] // records.itemsize, ints[plan.BELIEFS_AT] // records.itemsize
    scatter_rows(records, lanes[WRITE_REALS], vfe_at, work, free_energy_row, 1)
    scatter_rows(records, lanes[WRITE_REALS], beliefs_at, work, 0, states)
    if len(vfe) > 0:
        for lane in range(used):
            vfe[lanes[ITEM, lane]] = work[free_energy_row, lane]
    if len(beliefs) > 0:
        for lane in range(used):
            for s in range(states):
                beliefs[lanes[ITEM, lane], s] = work[s, lane]
    if ints[plan.PRECISION_ROW] >= 0:
        keep_precision(ints, work, lanes, RECORD, WRITE_SLOT, used, records)
    if ints[plan.WINDOW] > 0:
        source = beliefs_row(ints, 0) if ints[plan.MESSAGES] != plan.NO_MESSAGES else 0
        keep_beliefs(ints, work, lanes, RECORD, TICK, marks[FIRST], source, used, records)


@inline
def write_slots(ints, lanes, marks, int32s, int64s, request_ids, chosen, reset, executed, actions):
    """Write what else is in the idle slots, and the actions also into the output."""
    request_at = ints[plan.REQUEST_ID_AT]
    if len(request_ids) == 1:
        for lane in range(LANES):
            lanes[IDS, lane] = 0
    gather_rows(lanes, ID, request_ids, lanes[IDS], 0, 2)
    scatter_rows(int64s, lanes[WRITE_LONGS], request_at // _INT64_BYTES, lanes, ID, 2)
    scatter_rows(int64s, lanes[WRITE_LONGS], 0, lanes, TICK, 1)
    flags, flags_at = marks[FLAGS], ints[plan.FLAGS_AT] // _INT32_BYTES
    gather_rows(marks, FLAGS, int32s, lanes[READ_INTS], flags_at, 1)
    for lane in range(LANES):
        moved_before = lanes[TICK, lane] > 1 and (flags[lane] & FLAG_MOVED) != 0
        moved = FLAG_MOVED if marks[FRESH, lane] == 0 else 0
        flags[lane] = FLAG_MOVED | FLAG_MOVED_BEFORE if moved_before else moved
    if len(reset) + len(executed) > 0:
        for lane in range(LANES):
            item = lanes[ITEM, lane]
            if len(reset) > 0 and reset[item] != 0:
                flags[lane] |= FLAG_RESET
            if _was_told(ints, executed, item):
                flags[lane] |= FLAG_EXECUTED
    modalities, controls = ints[plan.NUM_MODALITIES], ints[plan.NUM_CONTROL_FACTORS]
    observation_at, action_at = ints[plan.OBSERVATION_AT] // _INT32_BYTES, ints[plan.ACTION_AT] // _INT32_BYTES
    scatter_rows(int32s, lanes[WRITE_INTS], flags_at, marks, FLAGS, 1)
    scatter_rows(int32s, lanes[WRITE_INTS], observation_at, marks, MARK_ROWS, modalities)
    scatter_rows(int32s, lanes[WRITE_INTS], action_at, chosen, 0, controls)
    scatter_rows(actions, lanes[ACTIONS], 0, chosen, 0, controls)


@inline
def start_from_given(ints, work, given, record, lane):
    """Set the beliefs of an agent that never stepped, of the factors whose D was given to it."""
    for f in range(ints[plan.NUM_FACTORS]):
        start, column = ints[ints[plan.STATE_START] + f], ints[ints[plan.GIVEN_D] + f]
        if column >= 0:
            for s in range(ints[ints[plan.NUM_STATES] + f]):
                work[start + s, lane] = given[record, column + s]


@inline
def read_slots(ints, work, lanes, used, int32s, records, ticks, actions, observations, vfe, beliefs):
    """Bring what the committed slots hold into the outputs; beliefs come from the rows of now."""
    for lane in range(used):
        item, record, slot = lanes[ITEM, lane], lanes[RECORD, lane], lanes[READ_SLOT, lane]
        stepped = lanes[TICK, lane] > 0
        ticks[item] = lanes[TICK, lane]
        for c in range(ints[plan.NUM_CONTROL_FACTORS]):
            actions[item, c] = int32s[record, (slot + ints[plan.ACTION_AT]) // _INT32_BYTES + c] if stepped else -1
        if len(observations) > 0:
            for m in range(ints[plan.NUM_MODALITIES]):
                seen = int32s[record, (slot + ints[plan.OBSERVATION_AT]) // _INT32_BYTES + m]
                observations[item, m] = seen if stepped else -1
        if len(vfe) > 0:
            vfe[item] = records[record, (slot + ints[plan.VFE_AT]) // work.itemsize]
        if len(beliefs) > 0:
            for s in range(ints[plan.TOTAL_STATES]):
                beliefs[item, s] = work[s, lane]
