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

from beliefd.engine import plan
from beliefd.engine.action import infer_policies, score_policies
from beliefd.engine.admission import admit, commit, record_of, slot_at, take_tiles
from beliefd.engine.conditioned import infer_under_policies, start_from_prior
from beliefd.engine.decision import evaluate, plan_and_act, write_scores
from beliefd.engine.habits import learn_preferences_and_habits, load_preferences_and_habits
from beliefd.engine.inference import infer_again, infer_from_present
from beliefd.engine.jit import kernel
from beliefd.engine.lanes import (
    CHOICE,
    FIRST,
    FRESH,
    FROM_START,
    ITEM,
    MARK_ROWS,
    PLACE,
    READ_SLOT,
    RECORD,
    SOURCE,
    TICK,
    place_agents,
    place_numbers,
)
from beliefd.engine.layout import FLAG_MOVED, FLAG_MOVED_BEFORE
from beliefd.engine.learning import learn, load_own
from beliefd.engine.novelty import load_novelty
from beliefd.engine.perception import predict_prior
from beliefd.engine.plan import LANES
from beliefd.engine.precision import load_precision
from beliefd.engine.recordmath import fetch_ahead, keep_order
from beliefd.engine.refinement import refine_window
from beliefd.engine.sequence import infer_window, log_own_transitions, observe_window, take_present, window_free_energy
from beliefd.engine.slots import gather, read_slots, start_from_given, write_beliefs, write_slots
from beliefd.engine.tile import multiply_joints
from beliefd.engine.window import keep_step, load_beliefs, load_steps
from beliefd.engine.windowlearning import learn_window


@kernel("int64[:, :]", "const int64[:]", "const int64[:]", "const int64[:]", "int64")
def publish(int64s, rows, ticks, picked, count):
    """Commit: from here on the slots that `advance` wrote are the state."""
    commit(int64s, rows, ticks, picked, 0, count)


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
            at, end = take_tiles(tally, tiles, taken, part[0] != 0)
            if at == end:
                break
            taken += end - at
        first = at * LANES
        at += 1
        for following in range(first + LANES, min(first + 2 * LANES, n)):
            fetch_ahead(int64s, record_of(rows, following), slots_end_bytes)
        start, last = 0 if commits != 0 else count, min(first + LANES, n)
        used = admit(ints, int32s, int64s, rows, ticks, request_ids, status, actions, picked, first, last, start)
        if used == 0:
            continue
        count += used
        if ints[plan.NUM_COUNTS] > 0:
            keep_order()  # copies are marked before anything of them is written
        place_agents(ints, lanes, picked, start, used, rows, ticks)
        place_numbers(ints, lanes, int32s, records)
        gather(ints, work, lanes, marks, int32s, records, indices, reset, executed)
        if ints[plan.NUM_COUNTS] + ints[plan.NUM_PARAMETERS] > 0:
            load_own(ints, reals, work, lanes, READ_SLOT, RECORD, TICK, SOURCE, FLAG_MOVED, int32s, records, given)
            load_novelty(ints, reals, work, lanes, RECORD, TICK, SOURCE, records, given)
            load_preferences_and_habits(ints, reals, work, lanes, RECORD, TICK, given)
        if ints[plan.WINDOW] > 0:
            keep_step(
                ints,
                lanes,
                RECORD,
                TICK,
                marks[FRESH],
                previous,
                observed,
                distributions,
                lanes[ITEM],
                used,
                int32s,
                records,
            )
            earliest, latest = load_steps(
                ints, lanes, RECORD, TICK, marks[FRESH], marks[FIRST], marks[FROM_START], seen, moved, int32s
            )
        if ints[plan.MESSAGES] == plan.PER_POLICY:
            start_from_prior(ints, reals, work, lanes, RECORD, TICK, marks[FROM_START], records)
            infer_under_policies(
                ints,
                reals,
                work,
                lanes,
                RECORD,
                TICK,
                marks[FIRST],
                seen,
                moved,
                lanes[PLACE],
                earliest,
                records,
            )
            if ints[plan.PRECISION_ROW] >= 0:
                load_precision(ints, reals, work, lanes, RECORD, READ_SLOT, marks[FRESH], records)
        elif ints[plan.MESSAGES] != plan.NO_MESSAGES:
            load_beliefs(ints, work, lanes, RECORD, TICK, 1, 0, records)
            predict_prior(ints, reals, work, marks[FROM_START], moved)
            observe_window(ints, reals, work, lanes, RECORD, TICK, seen, lanes[PLACE], earliest, records)
            log_own_transitions(ints, work)
            changed = infer_window(ints, reals, work, marks[FIRST], moved, earliest, latest)
            if changed and ints[plan.MOVES_ROW] >= 0:
                refine_window(
                    ints,
                    reals,
                    work,
                    lanes,
                    RECORD,
                    TICK,
                    marks[FIRST],
                    seen,
                    moved,
                    lanes[PLACE],
                    earliest,
                    latest,
                    records,
                )
            window_free_energy(ints, reals, work, marks[FIRST], moved, earliest, latest, free_energy_row)
            take_present(ints, work)
        else:
            predict_prior(ints, reals, work, marks[FRESH], previous)
            infer_from_present(ints, reals, work, observed, distributions, lanes[ITEM], lanes[PLACE], free_energy_row)
        if ints[plan.MESSAGES] != plan.PER_POLICY:
            write_beliefs(ints, work, lanes, marks, used, records, free_energy_row, vfe, beliefs)
        plan_and_act(ints, reals, work, lanes, marks[CHOICE], chosen, seed, used, q_pi, neg_efe, parts)
        if ints[plan.MESSAGES] == plan.PER_POLICY:
            write_beliefs(ints, work, lanes, marks, used, records, free_energy_row, vfe, beliefs)
        if ints[plan.NUM_COUNTS] > 0 and ints[plan.WINDOW] > 0:
            learn_window(
                ints,
                reals,
                work,
                lanes,
                RECORD,
                TICK,
                marks[FRESH],
                marks[FIRST],
                seen,
                moved,
                lanes[PLACE],
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
                READ_SLOT,
                RECORD,
                TICK,
                marks[FRESH],
                previous,
                observed,
                distributions,
                lanes[ITEM],
                lanes[PLACE],
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
                RECORD,
                TICK,
                observed,
                distributions,
                lanes[ITEM],
                lanes[PLACE],
                used,
                records,
            )
        write_slots(ints, lanes, marks, int32s, int64s, request_ids, chosen, reset, executed, actions)
        if commits != 0:
            keep_order()
            commit(int64s, rows, ticks, picked, start, start + used)
    part[1] = taken
    return count


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
            slot = slot_at(ints, tick)
            lanes[ITEM, lane] = item
            lanes[RECORD, lane] = record
            lanes[TICK, lane] = tick
            lanes[READ_SLOT, lane] = slot
            beliefs_at = (slot + ints[plan.BELIEFS_AT]) // real_bytes
            for s in range(ints[plan.TOTAL_STATES]):
                work[s, lane] = records[record, beliefs_at + s] if tick > 0 else reals[ints[plan.D] + s]
            if tick == 0:
                start_from_given(ints, work, given, record, lane)
        read_slots(ints, work, lanes, used, int32s, records, ticks, actions, observations, vfe, beliefs)
        if len(q_pi) > 0 or len(neg_efe) > 0 or parts.shape[1] > 0:
            if ints[plan.NUM_COUNTS] + ints[plan.NUM_PARAMETERS] > 0:
                # Policies were judged by the counts before the step; an agent that never stepped is before its first.
                for lane in range(LANES):
                    lanes[TICK, lane] = max(lanes[TICK, lane], 1)
                load_own(
                    ints,
                    reals,
                    work,
                    lanes,
                    READ_SLOT,
                    RECORD,
                    TICK,
                    SOURCE,
                    FLAG_MOVED_BEFORE,
                    int32s,
                    records,
                    given,
                )
                load_novelty(ints, reals, work, lanes, RECORD, TICK, SOURCE, records, given)
                load_preferences_and_habits(ints, reals, work, lanes, RECORD, TICK, given)
            if ints[plan.MESSAGES] == plan.PER_POLICY:
                infer_again(ints, reals, work, lanes, marks, int32s, int64s, records)
            multiply_joints(ints, work, ints[plan.ALL_JOINTS])
            evaluate(ints, reals, work, lanes, seed, used, parts)
            write_scores(ints, work, lanes, used, neg_efe)
            score_policies(ints, reals, work, ints[plan.BASE_ROW])
            infer_policies(ints, work)
            write_scores(ints, work, lanes, used, q_pi)
