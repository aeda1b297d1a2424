"""The entry points: what Python calls, once per batch.

`advance` takes a batch tile by tile: it decides which agents may step, infers, plans and acts for them, writes their
idle slots, and then their commit words, while the records of the next tile are on their way from memory. Where a
journal has to be synced before anything counts, it leaves the commit words to `publish`.

The first arguments are a plan, the scratch, the records seen as three types (see `store`), and the agents' parameters
(see `given`). An input that a call does not have, and an output that it does not want, is an array without rows.
`picked` holds positions in the call. One number in `rows` stands for the first of neighbouring agents, and one tick or
request id for that of all.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

import numpy as np

from beliefd.engine import plan
from beliefd.engine.action import (
    choose_best_policies,
    choose_marginal_actions,
    choose_tied_policies,
    draw_policies,
    infer_policies,
    score_policies,
    take_first_actions,
)
from beliefd.engine.conditioned import (
    average_over_policies,
    evaluate_under_policies,
    infer_under_policies,
    start_from_prior,
)
from beliefd.engine.copies import mark_copy
from beliefd.engine.habits import keep_policies, learn_preferences_and_habits, load_preferences_and_habits
from beliefd.engine.imagined import copy_rows, result_row
from beliefd.engine.jit import inline, kernel
from beliefd.engine.jointly import infer_present, joint_free_energy, observe_jointly
from beliefd.engine.layout import FLAG_EXECUTED, FLAG_MOVED, FLAG_MOVED_BEFORE, FLAG_RESET
from beliefd.engine.learning import learn, load_own
from beliefd.engine.mcts import sample_tree
from beliefd.engine.novelty import load_novelty
from beliefd.engine.perception import free_energy, observe, predict_prior
from beliefd.engine.plan import ALL_PARTS, LANES
from beliefd.engine.policy import evaluate_policies
from beliefd.engine.precision import keep_precision, load_precision, update_precision
from beliefd.engine.recordmath import fetch_ahead, gather_rows, keep_order, scatter_rows, take_some
from beliefd.engine.refinement import refine_states, refine_window
from beliefd.engine.sequence import (
    beliefs_row,
    infer_window,
    log_own_transitions,
    observe_window,
    take_present,
    window_free_energy,
)
from beliefd.engine.sophisticated import search_tree
from beliefd.engine.tile import multiply_joints
from beliefd.engine.window import keep_beliefs, keep_step, load_beliefs, load_steps
from beliefd.engine.windowlearning import learn_window

APPLIED, RECORDED, TICK_TAKEN, STALE_TICK, TICK_GAP = range(5)

LANE_ROWS = 16
"""Rows of the int64 lane array; see _ITEM and the names after it."""

MARK_ROWS = 5
"""Rows of the int32 lane array before observations, previous actions and new actions: _FRESH and those after it.

After them stand, for every step of a window, its observations, and then for every step what was done before it.
"""

# Position in the call; slots as byte offsets; where in a row of distributions those of this agent begin; where numbers
# of its own begin among those of all agents. Then where slots begin among the int32s, the reals and the int64s of all
# records, and where this agent's actions and request id do among those of the call; and that id's halves.
(
    _ITEM,
    _RECORD,
    _TICK,
    _READ_SLOT,
    _WRITE_SLOT,
    _PLACE,
    _SOURCE,
    _READ_INTS,
    _WRITE_INTS,
    _READ_REALS,
    _WRITE_REALS,
    _WRITE_LONGS,
    _ACTIONS,
    _IDS,
    _ID,
    _ID_HIGH,
) = range(LANE_ROWS)
_FRESH, _CHOICE, _FLAGS, _FIRST, _FROM_START = range(MARK_ROWS)  # whether the prior is D; of a window, see load_steps
_SHARES = 4
"""Who takes tiles of a call takes one of so many parts of what is left at once: to count takes time, too."""
_INT32_BYTES = 4
_INT64_BYTES = 8


@inline
def _slot(ints, tick):
    return ints[plan.SLOT_START] + (tick & 1) * ints[plan.SLOT_BYTES]


@inline
def _row(rows, item):
    return rows[item] if len(rows) > 1 else rows[0] + item


@inline
def _tick(ticks, item):
    return ticks[item if len(ticks) > 1 else 0]


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
        record, tick, id_at = _row(rows, i), _tick(ticks, i), i if len(request_ids) > 1 else 0
        committed = int64s[record, 0]
        if tick == committed + 1:
            status[i] = APPLIED
            picked[start + count] = i
            count += 1
            if ints[plan.NUM_COUNTS] > 0:
                mark_copy(ints, int64s, record, tick)
            continue
        slot = _slot(ints, committed)
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


@kernel("int64[:, :]", "const int64[:]", "const int64[:]", "const int64[:]", "int64")
def publish(int64s, rows, ticks, picked, count):
    """Commit: from here on the slots that `advance` wrote are the state."""
    _commit(int64s, rows, ticks, picked, 0, count)


@inline
def _commit(int64s, rows, ticks, picked, first, last):
    for i in range(first, last):
        int64s[_row(rows, picked[i]), 0] = _tick(ticks, picked[i])


@kernel(
    "const int64[:]",
    "const real[:]",
    "real[:, :]",
    "int64[:, :]",
    "int32[:, :]",
    "int32[:, :]",
    "int64[:, :]",
    "real[:, :]",
    "const real[:, :]",
    "int64",
    "int64",
    "int64[:]",
    "int64[:]",
    "const int64[:]",
    "const int64[:]",
    "const int64[:, :]",
    "const int8[:, :]",
    "const real[:, :]",
    "const uint8[:]",
    "const int32[:, :]",
    "uint8[:]",
    "int64[:]",
    "int32[:, :]",
    "real[:]",
    "real[:, :]",
    "real[:, :]",
    "real[:, :]",
    "real[:, :, :]",
)
def advance(
    ints,
    reals,
    work,
    lanes,
    marks,
    int32s,
    int64s,
    records,
    given,
    seed,
    commits,
    tally,
    part,
    rows,
    ticks,
    request_ids,
    indices,
    distributions,
    reset,
    executed,
    status,
    picked,
    actions,
    vfe,
    beliefs,
    q_pi,
    neg_efe,
    parts,
):
    """Step agents: each that may step leaves its new state in its idle slot and its results in the outputs.

    It is committed where `commits` is not 0.

    Two may take one call, at once and each with outputs of its own: one its tiles from the first on, the other, whose
    ``part[0]`` is not 0, from the last back. `tally` counts what both have taken; when that is all, nothing is left.
    ``part[1]`` is set to how many tiles were taken here.

    Returns
    -------
    int64
        How many agents were stepped. Where they are not committed `picked` has their positions, else those of a tile.
    """
    observed = marks[MARK_ROWS : MARK_ROWS + ints[plan.NUM_MODALITIES]]
    previous = marks[
        MARK_ROWS + ints[plan.NUM_MODALITIES] : MARK_ROWS + ints[plan.NUM_MODALITIES] + ints[plan.NUM_FACTORS]
    ]
    chosen_at = MARK_ROWS + ints[plan.NUM_MODALITIES] + ints[plan.NUM_FACTORS]
    seen_at = chosen_at + ints[plan.NUM_CONTROL_FACTORS]
    moved_at = seen_at + ints[plan.WINDOW] * ints[plan.NUM_MODALITIES]
    chosen, seen, moved = marks[chosen_at:seen_at], marks[seen_at:moved_at], marks[moved_at:]
    free_energy_row = ints[plan.MESSAGE_ROW]  # free after inference
    earliest, latest, count = 0, 0, 0
    slots_end_bytes = ints[plan.SLOT_START] + 2 * ints[plan.SLOT_BYTES]
    n = len(status)
    tiles, taken = (n + LANES - 1) // LANES, 0
    at, end = 0, 0
    while True:
        if at == end:
            at, end = _take_tiles(tally, tiles, taken, part[0] != 0)
            if at == end:
                break
            taken += end - at
        first = at * LANES
        at += 1
        for following in range(first + LANES, min(first + 2 * LANES, n)):
            fetch_ahead(int64s, _row(rows, following), slots_end_bytes)
        start, last = 0 if commits != 0 else count, min(first + LANES, n)
        used = admit(ints, int32s, int64s, rows, ticks, request_ids, status, actions, picked, first, last, start)
        if used == 0:
            continue
        count += used
        if ints[plan.NUM_COUNTS] > 0:
            keep_order()  # copies are marked before anything of them is written
        _place_agents(ints, lanes, picked, start, used, rows, ticks)
        _place_numbers(ints, lanes, int32s, records)
        _gather(ints, work, lanes, marks, int32s, records, indices, reset, executed)
        if ints[plan.NUM_COUNTS] + ints[plan.NUM_PARAMETERS] > 0:
            load_own(ints, reals, work, lanes, _READ_SLOT, _RECORD, _TICK, _SOURCE, FLAG_MOVED, int32s, records, given)
            load_novelty(ints, reals, work, lanes, _RECORD, _TICK, _SOURCE, records, given)
            load_preferences_and_habits(ints, reals, work, lanes, _RECORD, _TICK, given)
        if ints[plan.WINDOW] > 0:
            keep_step(
                ints,
                lanes,
                _RECORD,
                _TICK,
                marks[_FRESH],
                previous,
                observed,
                distributions,
                lanes[_ITEM],
                used,
                int32s,
                records,
            )
            earliest, latest = load_steps(
                ints, lanes, _RECORD, _TICK, marks[_FRESH], marks[_FIRST], marks[_FROM_START], seen, moved, int32s
            )
        if ints[plan.MESSAGES] == plan.PER_POLICY:
            start_from_prior(ints, reals, work, lanes, _RECORD, _TICK, marks[_FROM_START], records)
            infer_under_policies(
                ints,
                reals,
                work,
                lanes,
                _RECORD,
                _TICK,
                marks[_FIRST],
                seen,
                moved,
                lanes[_PLACE],
                earliest,
                records,
            )
            if ints[plan.PRECISION_ROW] >= 0:
                load_precision(ints, reals, work, lanes, _RECORD, _READ_SLOT, marks[_FRESH], records)
        elif ints[plan.MESSAGES] != plan.NO_MESSAGES:
            load_beliefs(ints, work, lanes, _RECORD, _TICK, 1, 0, records)
            predict_prior(ints, reals, work, marks[_FROM_START], moved)
            observe_window(ints, reals, work, lanes, _RECORD, _TICK, seen, lanes[_PLACE], earliest, records)
            log_own_transitions(ints, work)
            changed = infer_window(ints, reals, work, marks[_FIRST], moved, earliest, latest)
            if changed and ints[plan.MOVES_ROW] >= 0:
                refine_window(
                    ints,
                    reals,
                    work,
                    lanes,
                    _RECORD,
                    _TICK,
                    marks[_FIRST],
                    seen,
                    moved,
                    lanes[_PLACE],
                    earliest,
                    latest,
                    records,
                )
            window_free_energy(ints, reals, work, marks[_FIRST], moved, earliest, latest, free_energy_row)
            take_present(ints, work)
        else:
            predict_prior(ints, reals, work, marks[_FRESH], previous)
            _infer_present(ints, reals, work, observed, distributions, lanes[_ITEM], lanes[_PLACE], free_energy_row)
        if ints[plan.MESSAGES] != plan.PER_POLICY:
            _write_beliefs(ints, work, lanes, marks, used, records, free_energy_row, vfe, beliefs)
        _plan_and_act(ints, reals, work, lanes, marks[_CHOICE], chosen, seed, used, q_pi, neg_efe, parts)
        if ints[plan.MESSAGES] == plan.PER_POLICY:
            _write_beliefs(ints, work, lanes, marks, used, records, free_energy_row, vfe, beliefs)
        if ints[plan.NUM_COUNTS] > 0 and ints[plan.WINDOW] > 0:
            learn_window(
                ints,
                reals,
                work,
                lanes,
                _RECORD,
                _TICK,
                marks[_FRESH],
                marks[_FIRST],
                seen,
                moved,
                lanes[_PLACE],
                earliest,
                used,
                records,
                given,
            )
        elif ints[plan.NUM_COUNTS] > 0:
            learn(
                ints,
                reals,
                work,
                lanes,
                _READ_SLOT,
                _RECORD,
                _TICK,
                marks[_FRESH],
                previous,
                observed,
                distributions,
                lanes[_ITEM],
                lanes[_PLACE],
                used,
                int32s,
                int64s,
                records,
                given,
            )
        if ints[plan.NUM_COUNTS] > 0:
            learn_preferences_and_habits(
                ints,
                reals,
                work,
                lanes,
                _RECORD,
                _TICK,
                observed,
                distributions,
                lanes[_ITEM],
                lanes[_PLACE],
                used,
                records,
            )
        _write_slots(ints, lanes, marks, int32s, int64s, request_ids, chosen, reset, executed, actions)
        if commits != 0:
            keep_order()
            _commit(int64s, rows, ticks, picked, start, start + used)
    part[1] = taken
    return count


@inline
def _take_tiles(tally, tiles, taken, from_end):
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
def _infer_present(ints, reals, work, observed, distributions, items, places, free_energy_row):
    """Set the beliefs of now by the observations of now; the base rows hold the ln prior."""
    if ints[plan.TOGETHER]:
        observe_jointly(ints, reals, work, observed, distributions, items, places)
    else:
        base, likelihood = ints[plan.BASE_ROW], ints[plan.LIKELIHOOD_ROW]
        observe(ints, reals, work, observed, distributions, items, places, base, likelihood)
    if infer_present(ints, work):
        refine_states(ints, reals, work, observed, distributions, items, places)
    if ints[plan.TOGETHER]:
        joint_free_energy(ints, work, free_energy_row)
    else:
        free_energy(ints, work, free_energy_row)


@inline
def _place_agents(ints, lanes, picked, start, used, rows, ticks):
    """Put the next agents into the lanes. Those beyond `used` repeat the first agent, and nothing of them stays."""
    for lane in range(LANES):
        item = picked[start + lane if lane < used else start]
        tick = _tick(ticks, item)
        lanes[_ITEM, lane] = item
        lanes[_RECORD, lane] = _row(rows, item)
        lanes[_TICK, lane] = tick
        lanes[_READ_SLOT, lane] = _slot(ints, tick - 1)
        lanes[_WRITE_SLOT, lane] = _slot(ints, tick)
        lanes[_PLACE, lane] = 0


@inline
def _place_numbers(ints, lanes, int32s, records):
    """Say where the slots of the agents in the lanes are, and what the call has of them, as `gather_rows` takes it."""
    start, size = ints[plan.SLOT_START] // _INT32_BYTES, ints[plan.SLOT_BYTES] // _INT32_BYTES
    in_record = int32s.shape[1]
    halved = records.itemsize // _INT64_BYTES  # reals are as wide as int32s, or as int64s
    controls = ints[plan.NUM_CONTROL_FACTORS]
    for lane in range(LANES):
        slots = lanes[_RECORD, lane] * in_record + start
        written = (lanes[_TICK, lane] & 1) * size
        lanes[_READ_INTS, lane] = slots + size - written
        lanes[_WRITE_INTS, lane] = slots + written
    for lane in range(LANES):
        lanes[_READ_REALS, lane] = lanes[_READ_INTS, lane] >> halved
        lanes[_WRITE_REALS, lane] = lanes[_WRITE_INTS, lane] >> halved
        lanes[_WRITE_LONGS, lane] = lanes[_WRITE_INTS, lane] >> 1
    for lane in range(LANES):
        lanes[_ACTIONS, lane] = lanes[_ITEM, lane] * controls
        lanes[_IDS, lane] = lanes[_ITEM, lane] * 2


@inline
def _gather(ints, work, lanes, marks, int32s, records, indices, reset, executed):
    """Bring previous beliefs into the rows of now, and observations and previous actions into the marks.

    Those actions stand where the new ones will.
    """
    modalities, controls = ints[plan.NUM_MODALITIES], ints[plan.NUM_CONTROL_FACTORS]
    moves = MARK_ROWS + modalities
    actions = moves + ints[plan.NUM_FACTORS]
    for lane in range(LANES):
        marks[_FRESH, lane] = lanes[_TICK, lane] == 1
    if len(reset) > 0:
        for lane in range(LANES):
            if reset[lanes[_ITEM, lane]] != 0:
                marks[_FRESH, lane] = 1
    _load_observations(ints, marks, lanes, indices)
    gather_rows(marks, actions, int32s, lanes[_READ_INTS], ints[plan.ACTION_AT] // _INT32_BYTES, controls)
    if len(executed) > 0:
        for c in range(controls):
            for lane in range(LANES):
                if executed[lanes[_ITEM, lane], c] >= 0:
                    marks[actions + c, lane] = executed[lanes[_ITEM, lane], c]
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
    gather_rows(work, 0, records, lanes[_READ_REALS], beliefs_at, ints[plan.TOTAL_STATES])


@inline
def _load_observations(ints, marks, lanes, indices):
    """Set the observations of the lanes, whose `indices` may have 1, 2 or 4 bytes each, the lowest first."""
    modalities = ints[plan.NUM_MODALITIES]
    width = indices.shape[1] // modalities
    for m in range(modalities):
        for lane in range(LANES):
            item, highest = lanes[_ITEM, lane], (m + 1) * width - 1
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
def _write_beliefs(ints, work, lanes, marks, used, records, free_energy_row, vfe, beliefs):
    states = ints[plan.TOTAL_STATES]
    vfe_at, beliefs_at = ints[plan.VFE_AT] // records.itemsize, ints[plan.BELIEFS_AT] // records.itemsize
    scatter_rows(records, lanes[_WRITE_REALS], vfe_at, work, free_energy_row, 1)
    scatter_rows(records, lanes[_WRITE_REALS], beliefs_at, work, 0, states)
    if len(vfe) > 0:
        for lane in range(used):
            vfe[lanes[_ITEM, lane]] = work[free_energy_row, lane]
    if len(beliefs) > 0:
        for lane in range(used):
            for s in range(states):
                beliefs[lanes[_ITEM, lane], s] = work[s, lane]
    if ints[plan.PRECISION_ROW] >= 0:
        keep_precision(ints, work, lanes, _RECORD, _WRITE_SLOT, used, records)
    if ints[plan.WINDOW] > 0:
        source = beliefs_row(ints, 0) if ints[plan.MESSAGES] != plan.NO_MESSAGES else 0
        keep_beliefs(ints, work, lanes, _RECORD, _TICK, marks[_FIRST], source, used, records)


@inline
def _plan_and_act(ints, reals, work, lanes, choice, chosen, seed, used, q_pi, neg_efe, parts):
    """Evaluate policies and set `chosen`, int32 (controls, LANES), to the actions."""
    tolerance = ints[plan.BASE_ROW]  # free after inference
    _evaluate(ints, reals, work, lanes, seed, used, parts)
    _write_scores(ints, work, lanes, used, neg_efe)
    if ints[plan.PRECISION_ROW] >= 0:
        update_precision(ints, reals, work)
    score_policies(ints, reals, work, tolerance)
    by_maximum = ints[plan.MARGINAL] == 0 and ints[plan.STOCHASTIC] == 0 and ints[plan.RANDOM_TIES] == 0
    if by_maximum:
        choose_best_policies(ints, work, tolerance, choice)
    per_policy = ints[plan.MESSAGES] == plan.PER_POLICY
    if not by_maximum or len(q_pi) > 0 or ints[plan.PE_COUNTS] >= 0 or per_policy:
        infer_policies(ints, work)
        keep_policies(ints, work)
        _write_scores(ints, work, lanes, used, q_pi)
    if per_policy:
        average_over_policies(ints, work, ints[plan.MESSAGE_ROW])
    if ints[plan.MARGINAL]:
        choose_marginal_actions(ints, reals, work, tolerance, choice, chosen, seed, lanes[_RECORD], lanes[_TICK])
        return
    if ints[plan.RANDOM_TIES] and not ints[plan.STOCHASTIC]:
        choose_tied_policies(ints, work, tolerance, choice, seed, lanes[_RECORD], lanes[_TICK])
    if ints[plan.STOCHASTIC]:
        draw_policies(ints, reals, work, choice, seed, lanes[_RECORD], lanes[_TICK])
    take_first_actions(ints, choice, chosen)


@inline
def _evaluate(ints, reals, work, lanes, seed, used, parts):
    """Set the score rows to G of each policy, as the model's planner has it; write its parts, where they are wanted."""
    # All of G is the part that comes last, and stays.
    last = len(parts) if parts.shape[1] > 0 else ALL_PARTS
    if ints[plan.SEARCHES]:
        search_tree(ints, reals, work, last)
    elif ints[plan.SIMULATIONS] > 0:
        sample_tree(ints, reals, work, seed, lanes[_RECORD], lanes[_TICK], last)
    for part in range(last, ALL_PARTS - 1, -1):
        if ints[plan.TREE_DEPTH] > 0:
            copy_rows(work, ints[plan.SCORE_ROW], result_row(ints, part), ints[plan.NUM_POLICIES])
        elif ints[plan.MESSAGES] == plan.PER_POLICY:
            evaluate_under_policies(ints, reals, work, part)
        else:
            evaluate_policies(ints, reals, work, part)
        if part != ALL_PARTS:
            _write_scores(ints, work, lanes, used, parts[part - 1])


@inline
def _write_scores(ints, work, lanes, used, scores):
    if len(scores) > 0:
        for lane in range(used):
            for p in range(ints[plan.NUM_POLICIES]):
                scores[lanes[_ITEM, lane], p] = work[ints[plan.SCORE_ROW] + p, lane]


@inline
def _write_slots(ints, lanes, marks, int32s, int64s, request_ids, chosen, reset, executed, actions):
    request_at = ints[plan.REQUEST_ID_AT]
    if len(request_ids) == 1:
        for lane in range(LANES):
            lanes[_IDS, lane] = 0
    gather_rows(lanes, _ID, request_ids, lanes[_IDS], 0, 2)
    scatter_rows(int64s, lanes[_WRITE_LONGS], request_at // _INT64_BYTES, lanes, _ID, 2)
    scatter_rows(int64s, lanes[_WRITE_LONGS], 0, lanes, _TICK, 1)
    flags, flags_at = marks[_FLAGS], ints[plan.FLAGS_AT] // _INT32_BYTES
    gather_rows(marks, _FLAGS, int32s, lanes[_READ_INTS], flags_at, 1)
    for lane in range(LANES):
        moved_before = lanes[_TICK, lane] > 1 and (flags[lane] & FLAG_MOVED) != 0
        moved = FLAG_MOVED if marks[_FRESH, lane] == 0 else 0
        flags[lane] = FLAG_MOVED | FLAG_MOVED_BEFORE if moved_before else moved
    if len(reset) + len(executed) > 0:
        for lane in range(LANES):
            item = lanes[_ITEM, lane]
            if len(reset) > 0 and reset[item] != 0:
                flags[lane] |= FLAG_RESET
            if _was_told(ints, executed, item):
                flags[lane] |= FLAG_EXECUTED
    modalities, controls = ints[plan.NUM_MODALITIES], ints[plan.NUM_CONTROL_FACTORS]
    observation_at, action_at = ints[plan.OBSERVATION_AT] // _INT32_BYTES, ints[plan.ACTION_AT] // _INT32_BYTES
    scatter_rows(int32s, lanes[_WRITE_INTS], flags_at, marks, _FLAGS, 1)
    scatter_rows(int32s, lanes[_WRITE_INTS], observation_at, marks, MARK_ROWS, modalities)
    scatter_rows(int32s, lanes[_WRITE_INTS], action_at, chosen, 0, controls)
    scatter_rows(actions, lanes[_ACTIONS], 0, chosen, 0, controls)


@kernel(
    "const int64[:]",
    "const real[:]",
    "real[:, :]",
    "int64[:, :]",
    "int32[:, :]",
    "const int32[:, :]",
    "const int64[:, :]",
    "const real[:, :]",
    "const real[:, :]",
    "int64",
    "const int64[:]",
    "const int64[:]",
    "int64[:]",
    "int32[:, :]",
    "int32[:, :]",
    "real[:]",
    "real[:, :]",
    "real[:, :]",
    "real[:, :]",
    "real[:, :, :]",
)
def report(
    ints,
    reals,
    work,
    lanes,
    marks,
    int32s,
    int64s,
    records,
    given,
    seed,
    picked,
    rows,
    ticks,
    actions,
    observations,
    vfe,
    beliefs,
    q_pi,
    neg_efe,
    parts,
):
    """Read the committed slots of the picked agents; what policies are worth is computed again from the beliefs.

    It is the same arithmetic on the same beliefs as in the step, so the same bits.
    """
    real_bytes = work.itemsize
    for start in range(0, len(picked), LANES):
        used = min(LANES, len(picked) - start)
        for lane in range(LANES):
            item = picked[start + lane if lane < used else start]
            record = rows[item]
            tick = int64s[record, 0]
            slot = _slot(ints, tick)
            lanes[_ITEM, lane] = item
            lanes[_RECORD, lane] = record
            lanes[_TICK, lane] = tick
            lanes[_READ_SLOT, lane] = slot
            beliefs_at = (slot + ints[plan.BELIEFS_AT]) // real_bytes
            for s in range(ints[plan.TOTAL_STATES]):
                work[s, lane] = records[record, beliefs_at + s] if tick > 0 else reals[ints[plan.D] + s]
            if tick == 0:
                _start_from_given(ints, work, given, record, lane)
        _read_slots(ints, work, lanes, used, int32s, records, ticks, actions, observations, vfe, beliefs)
        if len(q_pi) > 0 or len(neg_efe) > 0 or parts.shape[1] > 0:
            if ints[plan.NUM_COUNTS] + ints[plan.NUM_PARAMETERS] > 0:
                # Policies were judged by the counts before the step; an agent that never stepped is before its first.
                for lane in range(LANES):
                    lanes[_TICK, lane] = max(lanes[_TICK, lane], 1)
                load_own(
                    ints,
                    reals,
                    work,
                    lanes,
                    _READ_SLOT,
                    _RECORD,
                    _TICK,
                    _SOURCE,
                    FLAG_MOVED_BEFORE,
                    int32s,
                    records,
                    given,
                )
                load_novelty(ints, reals, work, lanes, _RECORD, _TICK, _SOURCE, records, given)
                load_preferences_and_habits(ints, reals, work, lanes, _RECORD, _TICK, given)
            if ints[plan.MESSAGES] == plan.PER_POLICY:
                _infer_again(ints, reals, work, lanes, marks, int32s, int64s, records)
            multiply_joints(ints, work, ints[plan.ALL_JOINTS])
            _evaluate(ints, reals, work, lanes, seed, used, parts)
            _write_scores(ints, work, lanes, used, neg_efe)
            score_policies(ints, reals, work, ints[plan.BASE_ROW])
            infer_policies(ints, work)
            _write_scores(ints, work, lanes, used, q_pi)


@inline
def _infer_again(ints, reals, work, lanes, marks, int32s, int64s, records):
    """Set the beliefs under every policy that the committed step had.

    An agent that never stepped has the present alone, in which it has observed nothing.
    """
    window, modalities = ints[plan.WINDOW], ints[plan.NUM_MODALITIES]
    seen_at = MARK_ROWS + modalities + ints[plan.NUM_FACTORS] + ints[plan.NUM_CONTROL_FACTORS]
    moved_at = seen_at + window * modalities
    seen, moved = marks[seen_at:moved_at], marks[moved_at:]
    for lane in range(LANES):
        marks[_FRESH, lane] = int64s[lanes[_RECORD, lane], 0] == 0
    if ints[plan.PRECISION_ROW] >= 0:
        load_precision(ints, reals, work, lanes, _RECORD, _READ_SLOT, marks[_FRESH], records)
    for lane in range(LANES):
        flags = int32s[lanes[_RECORD, lane], (lanes[_READ_SLOT, lane] + ints[plan.FLAGS_AT]) // _INT32_BYTES]
        lanes[_TICK, lane] = max(lanes[_TICK, lane], 1)
        marks[_FRESH, lane] = lanes[_TICK, lane] == 1 or (flags & FLAG_RESET) != 0
    earliest, _ = load_steps(
        ints, lanes, _RECORD, _TICK, marks[_FRESH], marks[_FIRST], marks[_FROM_START], seen, moved, int32s
    )
    for lane in range(LANES):
        marks[_FIRST, lane] = min(marks[_FIRST, lane], window - 1)
    start_from_prior(ints, reals, work, lanes, _RECORD, _TICK, marks[_FROM_START], records)
    infer_under_policies(
        ints,
        reals,
        work,
        lanes,
        _RECORD,
        _TICK,
        marks[_FIRST],
        seen,
        moved,
        lanes[_PLACE],
        min(earliest, window - 1),
        records,
    )


@inline
def _start_from_given(ints, work, given, record, lane):
    """Set the beliefs of factors whose D was given to it."""
    for f in range(ints[plan.NUM_FACTORS]):
        start, column = ints[ints[plan.STATE_START] + f], ints[ints[plan.GIVEN_D] + f]
        if column >= 0:
            for s in range(ints[ints[plan.NUM_STATES] + f]):
                work[start + s, lane] = given[record, column + s]


@inline
def _read_slots(ints, work, lanes, used, int32s, records, ticks, actions, observations, vfe, beliefs):
    for lane in range(used):
        item, record, slot = lanes[_ITEM, lane], lanes[_RECORD, lane], lanes[_READ_SLOT, lane]
        stepped = lanes[_TICK, lane] > 0
        ticks[item] = lanes[_TICK, lane]
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
