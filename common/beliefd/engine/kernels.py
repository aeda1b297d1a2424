"""The entry points: what Python calls, once per batch.

A batch goes through `admit` (which agents may step), `advance` (infer, plan, act, and write the idle slots) and
`publish` (write the commit words). They are separate calls on purpose: what `advance` wrote is in memory before
`publish` writes a commit word, whatever a compiler may reorder within one function.

The first arguments are a plan, the scratch, the records seen as three types (see `store`), and the agents' parameters
(see `given`). An input that a call
does not have, and an output that it does not want, is an array without rows. `picked` holds positions in the call.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

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

LANE_ROWS = 7
"""Rows of the int64 lane array; see _ITEM and the names after it."""

MARK_ROWS = 4
"""Rows of the int32 lane array before observations, previous actions and new actions: _FRESH and those after it.

After them stand, for every step of a window, its observations, and then for every step what was done before it.
"""

# Position in the call; slots as byte offsets; where in a row of distributions those of this agent begin; where numbers
# of its own begin among those of all agents.
_ITEM, _RECORD, _TICK, _READ_SLOT, _WRITE_SLOT, _PLACE, _SOURCE = range(LANE_ROWS)
_FRESH, _CHOICE, _FIRST, _FROM_START = range(MARK_ROWS)  # whether the prior is D; of a window, see load_steps
_INT32_BYTES = 4
_INT64_BYTES = 8


@inline
def _slot(ints, tick):
    return ints[plan.SLOT_START] + (tick & 1) * ints[plan.SLOT_BYTES]


@kernel(
    "const int64[:]",
    "const int32[:, :]",
    "int64[:, :]",
    "const int64[:]",
    "const int64[:]",
    "const int64[:, :]",
    "uint8[:]",
    "int32[:, :]",
    "int64[:]",
)
def admit(ints, int32s, int64s, rows, ticks, request_ids, status, actions, picked):
    """Decide each agent's status by its committed tick, and pick those to apply.

    The actions of the others are set: to the recorded ones, or to -1.

    Returns
    -------
    int64
        How many are picked.
    """
    count = 0
    for i in range(len(rows)):
        record = rows[i]
        committed = int64s[record, 0]
        if ticks[i] == committed + 1:
            status[i] = APPLIED
            picked[count] = i
            count += 1
            if ints[plan.NUM_COUNTS] > 0:
                mark_copy(ints, int64s, record, ticks[i])
            continue
        slot = _slot(ints, committed)
        request = (slot + ints[plan.REQUEST_ID_AT]) // _INT64_BYTES
        if ticks[i] > committed:
            status[i] = TICK_GAP
        elif ticks[i] < committed or ticks[i] < 1:
            status[i] = STALE_TICK
        elif int64s[record, request] == request_ids[i, 0] and int64s[record, request + 1] == request_ids[i, 1]:
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
    for i in range(count):
        int64s[rows[picked[i]], 0] = ticks[picked[i]]


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
    "const int64[:]",
    "int64",
    "const int64[:]",
    "const int64[:]",
    "const int64[:, :]",
    "const int32[:, :]",
    "const real[:, :]",
    "const uint8[:]",
    "const int32[:, :]",
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
    picked,
    count,
    rows,
    ticks,
    request_ids,
    indices,
    distributions,
    reset,
    executed,
    actions,
    vfe,
    beliefs,
    q_pi,
    neg_efe,
    parts,
):
    """Step the picked agents: each leaves its new state in its idle slot and its results in the outputs."""
    observed = marks[MARK_ROWS : MARK_ROWS + ints[plan.NUM_MODALITIES]]
    previous = marks[
        MARK_ROWS + ints[plan.NUM_MODALITIES] : MARK_ROWS + ints[plan.NUM_MODALITIES] + ints[plan.NUM_FACTORS]
    ]
    chosen_at = MARK_ROWS + ints[plan.NUM_MODALITIES] + ints[plan.NUM_FACTORS]
    seen_at = chosen_at + ints[plan.NUM_CONTROL_FACTORS]
    moved_at = seen_at + ints[plan.WINDOW] * ints[plan.NUM_MODALITIES]
    chosen, seen, moved = marks[chosen_at:seen_at], marks[seen_at:moved_at], marks[moved_at:]
    free_energy_row = ints[plan.MESSAGE_ROW]  # free after inference
    earliest, latest = 0, 0
    for start in range(0, count, LANES):
        used = min(LANES, count - start)
        _place_agents(ints, lanes, picked, start, used, rows, ticks)
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
        _write_slots(ints, lanes, marks, used, int32s, int64s, request_ids, chosen, reset, executed, actions)


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
    """Put the next agents into the lanes. Those beyond `used` repeat the first agent, and are never written."""
    for lane in range(LANES):
        item = picked[start + lane if lane < used else start]
        tick = ticks[item]
        lanes[_ITEM, lane] = item
        lanes[_RECORD, lane] = rows[item]
        lanes[_TICK, lane] = tick
        lanes[_READ_SLOT, lane] = _slot(ints, tick - 1)
        lanes[_WRITE_SLOT, lane] = _slot(ints, tick)
        lanes[_PLACE, lane] = 0


@inline
def _gather(ints, work, lanes, marks, int32s, records, indices, reset, executed):
    """Bring previous beliefs into the rows of now, and observations and previous actions into the marks."""
    real_bytes = work.itemsize
    for lane in range(LANES):
        item, record, slot = lanes[_ITEM, lane], lanes[_RECORD, lane], lanes[_READ_SLOT, lane]
        starts_over = len(reset) > 0 and reset[item] != 0
        marks[_FRESH, lane] = lanes[_TICK, lane] == 1 or starts_over
        for m in range(ints[plan.NUM_MODALITIES]):
            marks[MARK_ROWS + m, lane] = indices[item, m]
        action_at = (slot + ints[plan.ACTION_AT]) // _INT32_BYTES
        for f in range(ints[plan.NUM_FACTORS]):
            move = 0
            start = ints[plan.MOVE_CONTROLS_START] + f
            for i in range(ints[start], ints[start + 1]):
                c = ints[ints[plan.MOVE_CONTROLS] + i]
                told = len(executed) > 0 and executed[item, c] >= 0
                action = executed[item, c] if told else int32s[record, action_at + c]
                move = move * ints[ints[plan.NUM_CONTROLS] + c] + action
            marks[MARK_ROWS + ints[plan.NUM_MODALITIES] + f, lane] = move
        beliefs_at = (slot + ints[plan.BELIEFS_AT]) // real_bytes
        for s in range(ints[plan.TOTAL_STATES]):
            work[s, lane] = records[record, beliefs_at + s]


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
    real_bytes = work.itemsize
    for lane in range(used):
        item, record, slot = lanes[_ITEM, lane], lanes[_RECORD, lane], lanes[_WRITE_SLOT, lane]
        records[record, (slot + ints[plan.VFE_AT]) // real_bytes] = work[free_energy_row, lane]
        if len(vfe) > 0:
            vfe[item] = work[free_energy_row, lane]
        beliefs_at = (slot + ints[plan.BELIEFS_AT]) // real_bytes
        for s in range(ints[plan.TOTAL_STATES]):
            records[record, beliefs_at + s] = work[s, lane]
        if len(beliefs) > 0:
            for s in range(ints[plan.TOTAL_STATES]):
                beliefs[item, s] = work[s, lane]
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
def _write_slots(ints, lanes, marks, used, int32s, int64s, request_ids, chosen, reset, executed, actions):
    for lane in range(used):
        item, record, slot = lanes[_ITEM, lane], lanes[_RECORD, lane], lanes[_WRITE_SLOT, lane]
        int64s[record, slot // _INT64_BYTES] = lanes[_TICK, lane]
        request_at = (slot + ints[plan.REQUEST_ID_AT]) // _INT64_BYTES
        int64s[record, request_at] = request_ids[item, 0]
        int64s[record, request_at + 1] = request_ids[item, 1]
        flags = FLAG_RESET if len(reset) > 0 and reset[item] != 0 else 0
        if _was_told(ints, executed, item):
            flags |= FLAG_EXECUTED
        before = int32s[record, (lanes[_READ_SLOT, lane] + ints[plan.FLAGS_AT]) // _INT32_BYTES]
        if lanes[_TICK, lane] > 1 and (before & FLAG_MOVED) != 0:
            flags |= FLAG_MOVED | FLAG_MOVED_BEFORE
        elif marks[_FRESH, lane] == 0:
            flags |= FLAG_MOVED
        int32s[record, (slot + ints[plan.FLAGS_AT]) // _INT32_BYTES] = flags
        observation_at = (slot + ints[plan.OBSERVATION_AT]) // _INT32_BYTES
        for m in range(ints[plan.NUM_MODALITIES]):
            int32s[record, observation_at + m] = marks[MARK_ROWS + m, lane]
        action_at = (slot + ints[plan.ACTION_AT]) // _INT32_BYTES
        for c in range(ints[plan.NUM_CONTROL_FACTORS]):
            int32s[record, action_at + c] = chosen[c, lane]
            actions[item, c] = chosen[c, lane]


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
