"""Message passing over a window of steps: beliefs about all of them, given all observations of the window.

All steps and factors at once, `num_iter` times:

    q_t <- softmax(ln A_t + forward_t + backward_t)

Marginal message passing (Parr, Markovic, Kiebel, Friston (2019), Sci. Rep. 9, 13889): forward_t = L(B q_{t-1}), halved
except at the last step; backward_t = 1/2 L(B~' q_{t+1}), B~ being B normalised over the state that it starts from.
Variational message passing: forward_t = E[L(B)], backward_t = L(B)' q_{t+1}. Before the first step stands the prior.

Agents of a tile did different things: see `beliefd.engine.windowplan` for how one matrix moves them all. Steps are
numbered as in `beliefd.engine.window`.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

import math

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.jointly import multiply_likelihoods
from beliefd.engine.perception import observe, pass_messages, set_uniform
from beliefd.engine.plan import LANES
from beliefd.engine.rowmath import (
    RAISE,
    add_divergence,
    add_log_share,
    add_sparse_log_share,
    add_sparse_share,
    log_rows,
    softmax_rows,
    write_raised_logs,
)
from beliefd.engine.rows import add_chosen, add_row_products, add_share, mask_rows, multiply_rows, weigh_rows_by_rows
from beliefd.engine.tile import fill, multiply_joints, weigh_rows
from beliefd.engine.vectormath import FLOOR
from beliefd.engine.window import place_distributions

_LOG_ZERO, _LOG_RAISE = math.log(FLOOR), math.log(RAISE)


@inline
def observe_window(ints, reals, work, lanes, record, tick, seen, places, earliest, records):
    """Set what the observations of every step say. `seen` as in `beliefd.engine.window.load_steps`."""
    modalities, zero = ints[plan.NUM_MODALITIES], work.dtype.type(0)
    for step in range(earliest, ints[plan.WINDOW]):
        base, likelihood = base_row(ints, step), likelihood_row(ints, step)
        for s in range(ints[plan.TOTAL_STATES]):
            fill(work, base + s, zero)
        observed = seen[step * modalities : (step + 1) * modalities]
        place_distributions(ints, lanes, tick, step, observed, places, records)
        if ints[plan.TOGETHER]:
            joint, said = ints[plan.EVERY_STATE], ints[plan.PREDICTION_ROW]
            single = ints[plan.NUM_FACTORS] == 1
            target = base if single else likelihood + ints[ints[plan.JOINT_LIKELIHOOD] + joint]
            multiply_likelihoods(ints, reals, work, observed, records, lanes[record], places, target, said)
            write_raised_logs(work, target, target, 1, ints[ints[plan.JOINT_SIZE] + joint], work.dtype.type(RAISE))
        else:
            observe(ints, reals, work, observed, records, lanes[record], places, base, likelihood)


@inline
def log_own_transitions(ints, work):
    """Set the logarithms of the agents' own B."""
    for f in range(ints[plan.NUM_FACTORS]):
        target, own = ints[ints[plan.OWN_LOG_B] + f], ints[ints[plan.OWN_B] + f]
        if target >= 0:
            size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + f]]
            count = ints[ints[plan.NUM_MOVES] + f] * ints[ints[plan.NUM_STATES] + f] * size
            for i in range(count):
                for lane in range(LANES):
                    work[target + i, lane] = work[own + i, lane]
            if ints[plan.TOGETHER]:
                write_raised_logs(work, target, target, 1, count, work.dtype.type(RAISE))
            else:
                log_rows(work, target, target, count)


@inline
def keep_transitions(ints, reals, work, moved, earliest):
    """Set the rows of each agent's own transitions of every step, for the factors that have such rows."""
    for f in range(ints[plan.NUM_FACTORS]):
        states = ints[ints[plan.NUM_STATES] + f]
        size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + f]]
        if ints[ints[plan.KEPT_FORWARD] + f] >= 0:
            _keep(ints, reals, work, f, moved, earliest, ints[plan.KEPT_FORWARD] + f, plan.FORWARD_ENTRIES, states)
            _keep(ints, reals, work, f, moved, earliest, ints[plan.KEPT_BACKWARD] + f, plan.BACKWARD_ENTRIES, size)


@inline
def _keep(ints, reals, work, f, moved, earliest, kept, section, count):
    pointer = ints[plan.KEPT_ROWS] + ints[ints[section] + f]
    actions, most = ints[ints[plan.NUM_MOVES] + f], ints[plan.MOST_MOVES]
    first, entries = ints[pointer], ints[pointer + count] - ints[pointer]
    for step in range(earliest + 1, ints[plan.WINDOW]):
        rows, row = ints[kept] + step * entries, step * ints[plan.NUM_FACTORS] + f
        for i in range(entries):
            fill(work, rows + i, work.dtype.type(0))
        values = ints[plan.KEPT_VALUES] + first * most
        add_chosen(work, rows, entries, reals, values, most, 1, actions, moved, row)


@inline
def _weigh_kept(ints, work, f, step, source, target, kept, section, count):
    """Set `count` rows from `target` on to each agent's own transition of a step times the rows from `source` on."""
    pointer = ints[plan.KEPT_ROWS] + ints[ints[section] + f]
    entries = ints[pointer + count] - ints[pointer]
    weights, columns = kept + step * entries - ints[pointer], ints[plan.KEPT_COLUMNS]
    for row in range(count):
        i = ints[pointer + row]
        number = ints[pointer + row + 1] - i
        weigh_rows_by_rows(work, target + row, weights + i, ints, columns + i, number, source)


@inline
def infer_window(ints, reals, work, first, moved, earliest, latest):
    """Set the beliefs of every step. The base rows hold the ln prior of the first steps.

    Stops after a sweep that changes no bit of the tile: all later sweeps would give the same.

    Returns
    -------
    bool
        Whether the last sweep changed any bit. How much the last two together changed each lane stands then in a row,
        if the plan has it: many windows end in beliefs that take turns, where what is rounded off does not grow.
    """
    steps, factors, changed = ints[plan.WINDOW], ints[plan.NUM_FACTORS], False
    measured = ints[plan.MOVES_ROW] >= 0
    keep_transitions(ints, reals, work, moved, earliest)
    for step in range(earliest, steps):
        set_uniform(ints, work, beliefs_row(ints, step))
    for sweep in range(ints[plan.NUM_ITER]):
        for step in range(earliest, steps):
            _sum_messages(ints, reals, work, first, moved, step, earliest, latest)
        if measured and sweep == ints[plan.NUM_ITER] - 2:
            for step in range(earliest, steps):
                _copy_states(ints, work, _before_row(ints, step), beliefs_row(ints, step))
        changed = False
        for step in range(earliest, steps):
            beliefs, message = beliefs_row(ints, step), message_row(ints, step)
            for f in range(factors):
                start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
                changed |= softmax_rows(work, message + start, message + start, beliefs + start, states)
        if not changed:
            break
    if changed and measured:
        _measure_moves(ints, work, first, earliest)
    return changed


@inline
def _copy_states(ints, work, target, first):
    for s in range(ints[plan.TOTAL_STATES]):
        for lane in range(LANES):
            work[target + s, lane] = work[first + s, lane]


@inline
def _before_row(ints, step):
    return ints[plan.BEFORE_ROW] + step * ints[plan.TOTAL_STATES]


@inline
def _measure_moves(ints, work, first, earliest):
    """Set the moves to the largest difference from the beliefs that were kept, over the steps that a lane has."""
    moves = ints[plan.MOVES_ROW]
    fill(work, moves, work.dtype.type(0))
    for step in range(earliest, ints[plan.WINDOW]):
        before, beliefs = _before_row(ints, step), beliefs_row(ints, step)
        for s in range(ints[plan.TOTAL_STATES]):
            for lane in range(LANES):
                move = abs(work[beliefs + s, lane] - work[before + s, lane])
                work[moves, lane] = max(work[moves, lane], move if first[lane] <= step else work.dtype.type(0))


@inline
def window_free_energy(ints, reals, work, first, moved, earliest, latest, target):
    """Set row `target` to the variational free energy of the window, in nats."""
    part, expected = ints[plan.SPARE_ROW], outcome_row(ints)
    fill(work, target, work.dtype.type(0))
    for step in range(earliest, ints[plan.WINDOW]):
        beliefs = beliefs_row(ints, step)
        fill(work, part, work.dtype.type(0))
        _add_accuracy(ints, work, step, part)
        for lane in range(LANES):
            work[part, lane] = -work[part, lane]
        for f in range(ints[plan.NUM_FACTORS]):
            start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
            if step > earliest:
                log_zero = _expect_transition(ints, reals, work, f, moved, step)
                for s in range(states):
                    for lane in range(LANES):
                        work[expected + s, lane] += work.dtype.type(log_zero)
            _begin_with_prior(ints, work, first, step, latest, start, states)
            add_divergence(work, part, beliefs + start, expected, states)
        for lane in range(LANES):
            work[target, lane] += work[part, lane] if first[lane] <= step else work.dtype.type(0)


@inline
def take_present(ints, work):
    """Set the beliefs of now to those of the last step, and their joints."""
    _copy_states(ints, work, 0, beliefs_row(ints, ints[plan.WINDOW] - 1))
    multiply_joints(ints, work, ints[plan.ALL_JOINTS])


@inline
def beliefs_row(ints, step):
    """The first row of a step's frame: its beliefs."""
    return ints[plan.FRAME_ROW] + step * ints[plan.FRAME_ROWS]


@inline
def base_row(ints, step):
    return beliefs_row(ints, step) + ints[plan.TOTAL_STATES]


@inline
def message_row(ints, step):
    return beliefs_row(ints, step) + 2 * ints[plan.TOTAL_STATES]


@inline
def likelihood_row(ints, step):
    return beliefs_row(ints, step) + 3 * ints[plan.TOTAL_STATES]


@inline
def joint_row(ints):
    """Room for a joint that a transition depends on."""
    return ints[plan.PREDICTION_ROW] + ints[plan.MASKED_ROWS]


@inline
def origin_row(ints):
    """Room for what comes back to the states of such a joint."""
    return joint_row(ints) + ints[plan.LARGEST_JOINT]


@inline
def outcome_row(ints):
    """Room for what comes to the next states of a factor; as much again follows."""
    return origin_row(ints) + ints[plan.LARGEST_JOINT]


@inline
def weight_row(ints, f):
    """Room for as many rows as factor f has states, after those of its outcome."""
    return outcome_row(ints) + ints[ints[plan.NUM_STATES] + f]


@inline
def _sum_messages(ints, reals, work, first, moved, step, earliest, latest):
    """Set the message rows of a step to the unnormalised logarithm of its next beliefs."""
    beliefs, base, message = beliefs_row(ints, step), base_row(ints, step), message_row(ints, step)
    last, marginal = ints[plan.WINDOW] - 1, ints[plan.MESSAGES] == plan.MMP
    informed = pass_messages(ints, work, beliefs, base, message, likelihood_row(ints, step))
    share = work.dtype.type(0.5 if marginal and step < last else 1.0)
    outcome = outcome_row(ints)
    for f in range(ints[plan.NUM_FACTORS]):
        start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
        source = (message if (informed >> f) & 1 else base) + start
        kept, joint = ints[ints[plan.KEPT_FORWARD] + f], ints[ints[plan.B_JOINT] + f]
        if kept >= 0 and step > latest and joint < ints[plan.NUM_FACTORS]:
            # What a call takes is more than what so few rows take, so nothing is called here.
            pointer = ints[plan.KEPT_ROWS] + ints[ints[plan.FORWARD_ENTRIES] + f]
            weights = kept + step * (ints[pointer + states] - ints[pointer]) - ints[pointer]
            parents, columns = (
                beliefs - ints[plan.FRAME_ROWS] + ints[ints[plan.STATE_START] + joint],
                ints[plan.KEPT_COLUMNS],
            )
            if marginal:
                add_sparse_log_share(
                    work, message + start, source, share, weights, ints, pointer, columns, states, parents
                )
            else:
                add_sparse_share(work, message + start, source, share, weights, ints, pointer, columns, states, parents)
            continue
        if marginal and step > latest:
            move_parents(ints, reals, work, f, moved, step)
            add_log_share(work, message + start, source, share, outcome, states)
            continue
        if step > earliest:
            if marginal:
                move_parents(ints, reals, work, f, moved, step)
                log_rows(work, outcome, outcome, states)
            else:
                _expect_transition(ints, reals, work, f, moved, step)
        _begin_with_prior(ints, work, first, step, latest, start, states)
        add_share(work, message + start, source, share, outcome, states)
    if step < last:
        for child in range(ints[plan.NUM_FACTORS]):
            kept, joint = ints[ints[plan.KEPT_BACKWARD] + child], ints[ints[plan.B_JOINT] + child]
            if kept >= 0 and joint < ints[plan.NUM_FACTORS]:
                size, target = ints[ints[plan.NUM_STATES] + joint], message + ints[ints[plan.STATE_START] + joint]
                pointer = ints[plan.KEPT_ROWS] + ints[ints[plan.BACKWARD_ENTRIES] + child]
                weights = kept + (step + 1) * (ints[pointer + size] - ints[pointer]) - ints[pointer]
                now = beliefs + ints[plan.FRAME_ROWS] + ints[ints[plan.STATE_START] + child]
                columns = ints[plan.KEPT_COLUMNS]
                if marginal:
                    add_sparse_log_share(work, target, target, share, weights, ints, pointer, columns, size, now)
                else:
                    add_sparse_share(work, target, target, share, weights, ints, pointer, columns, size, now)
                continue
            if marginal:
                _return_marginal(ints, reals, work, child, moved, step)
            else:
                _return_variational(ints, reals, work, child, moved, step)


@inline
def _begin_with_prior(ints, work, first, step, latest, start, states):
    """Replace the outcome rows by the ln prior in the lanes whose first step this is."""
    outcome, prior = outcome_row(ints), ints[plan.BASE_ROW] + start
    if step > latest:
        return
    for s in range(states):
        for lane in range(LANES):
            if first[lane] >= step:
                work[outcome + s, lane] = work[prior + s, lane]


@inline
def move_parents(ints, reals, work, f, moved, step):
    """Set the outcome rows to B of factor f times the beliefs about its parents one step before."""
    parents = join_parents(ints, work, f, step)
    section, width, own = plan.FORWARD_START, plan.FORWARD_WIDTH, ints[ints[plan.OWN_B] + f]
    kept = ints[ints[plan.KEPT_FORWARD] + f]
    forward(ints, reals, work, f, moved, step, parents, outcome_row(ints), section, width, own, kept)


@inline
def _expect_transition(ints, reals, work, f, moved, step):
    """Set the outcome rows to the expected ln B of factor f under the beliefs one step before, less what is returned.

    That is ln 0 where the logarithms are those of the model, which keeps what they are above it.
    """
    parents, own = join_parents(ints, work, f, step), ints[ints[plan.OWN_LOG_B] + f]
    kept = ints[ints[plan.KEPT_FORWARD] + f] if ints[plan.MESSAGES] == plan.VMP else -1
    forward(ints, reals, work, f, moved, step, parents, outcome_row(ints), plan.LOG_START, plan.LOG_WIDTH, own, kept)
    log_zero = _LOG_RAISE if ints[plan.TOGETHER] else _LOG_ZERO
    return log_zero if own < 0 else 0.0


@inline
def join_parents(ints, work, f, step):
    """The first row of the joint beliefs about the parents of factor f, one step before `step`."""
    joint, beliefs = ints[ints[plan.B_JOINT] + f], beliefs_row(ints, step - 1)
    if joint < ints[plan.NUM_FACTORS]:
        return beliefs + ints[ints[plan.STATE_START] + joint]
    multiply_without(ints, work, joint, beliefs, -1, joint_row(ints))
    return joint_row(ints)


@inline
def multiply_without(ints, work, joint, beliefs, left_out, target):
    """Set rows from `target` on to the product of a joint's beliefs, but for those of its factor number `left_out`."""
    arity = ints[ints[plan.JOINT_ARITY] + joint]
    at = ints[plan.JOINT_INDEX] + ints[ints[plan.JOINT_INDEX_START] + joint]
    for row in range(target, target + ints[ints[plan.JOINT_SIZE] + joint]):
        fill(work, row, work.dtype.type(1))
        for i in range(arity):
            if i != left_out:
                multiply_rows(work, row, row, beliefs + ints[at + i])
        at += arity


@inline
def forward(ints, reals, work, f, moved, step, source, target, section, width, own, kept):
    """Set rows from `target` on to each agent's matrix of factor f times the rows from `source` on.

    `section` and `width` name the plan's sections of the matrix that agents share; `own` is the first row of their own,
    if they have one; `kept` the first of its entries as `keep_transitions` has them, if it has.
    """
    row, actions = step * ints[plan.NUM_FACTORS] + f, ints[ints[plan.NUM_MOVES] + f]
    states, size = ints[ints[plan.NUM_STATES] + f], ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + f]]
    masked = ints[plan.PREDICTION_ROW]
    if kept >= 0:
        _weigh_kept(ints, work, f, step, source, target, kept, plan.FORWARD_ENTRIES, states)
        return
    if own < 0:
        first = source if actions == 1 else _mask(work, masked, source, size, moved, row, actions)
        pointer = ints[plan.STEP_ROWS] + ints[ints[section] + f]
        columns, values = ints[plan.STEP_COLUMNS], ints[plan.STEP_VALUES]
        weigh_rows(ints, reals, work, target, states, first, columns, values, pointer, ints[ints[width] + f])
        return
    for s in range(states):
        fill(work, target + s, work.dtype.type(0))
    for action in range(actions):
        if _is_taken(moved, row, action):
            mask_rows(work, masked, source, size, moved, row, action)
            for s in range(states):
                at = own + (action * states + s) * size
                add_row_products(work, target + s, target + s, at, 1, masked, 1, size)


@inline
def backward(ints, reals, work, f, moved, step, source, target, own):
    """As `forward`, with what goes back from the next states of factor f at a step to the states of its joint."""
    row, actions = step * ints[plan.NUM_FACTORS] + f, ints[ints[plan.NUM_MOVES] + f]
    states, size = ints[ints[plan.NUM_STATES] + f], ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + f]]
    masked, kept = ints[plan.PREDICTION_ROW], ints[ints[plan.KEPT_BACKWARD] + f]
    if kept >= 0:
        _weigh_kept(ints, work, f, step, source, target, kept, plan.BACKWARD_ENTRIES, size)
        return
    if own < 0:
        first = source if actions == 1 else _mask(work, masked, source, states, moved, row, actions)
        pointer, width = ints[plan.STEP_ROWS] + ints[ints[plan.BACKWARD_START] + f], ints[plan.BACKWARD_WIDTH] + f
        columns, values = ints[plan.STEP_COLUMNS], ints[plan.STEP_VALUES]
        weigh_rows(ints, reals, work, target, size, first, columns, values, pointer, ints[width])
        return
    for k in range(size):
        fill(work, target + k, work.dtype.type(0))
    for action in range(actions):
        if _is_taken(moved, row, action):
            mask_rows(work, masked, source, states, moved, row, action)
            for k in range(size):
                at = own + action * states * size + k
                add_row_products(work, target + k, target + k, at, size, masked, 1, states)


@inline
def _mask(work, target, source, count, moved, row, actions):
    """Put `count` rows in the place of the action that each agent took, zeros in those of the other actions."""
    for action in range(actions):
        mask_rows(work, target + action * count, source, count, moved, row, action)
    return target


@inline
def _is_taken(moved, row, action):
    """Whether any agent took an action."""
    taken = 0
    for lane in range(LANES):
        taken += moved[row, lane] == action
    return taken > 0


@inline
def _return_marginal(ints, reals, work, child, moved, step):
    """Add to the messages of a step what the next one says of a factor to its parents, by marginal message passing."""
    following, half = step + 1, work.dtype.type(0.5)
    joint, own = ints[ints[plan.B_JOINT] + child], ints[ints[plan.OWN_B] + child]
    arity, members = ints[ints[plan.JOINT_ARITY] + joint], ints[ints[plan.JOINT_FACTORS_START] + joint]
    now = beliefs_row(ints, following) + ints[ints[plan.STATE_START] + child]
    others, origin, outcome = joint_row(ints), origin_row(ints), outcome_row(ints)
    for i in range(arity):
        parent = ints[ints[plan.JOINT_FACTORS] + members + i]
        start, states = ints[ints[plan.STATE_START] + parent], ints[ints[plan.NUM_STATES] + parent]
        message = message_row(ints, step) + start
        if arity == 1 and own < 0:
            backward(ints, reals, work, child, moved, following, now, origin, own)
            add_log_share(work, message, message, half, origin, states)
            continue
        multiply_without(ints, work, joint, beliefs_row(ints, step), i, others)
        section, width, kept = plan.FORWARD_START, plan.FORWARD_WIDTH, ints[ints[plan.KEPT_FORWARD] + child]
        forward(ints, reals, work, child, moved, following, others, outcome, section, width, own, kept)
        weights = weight_row(ints, child)
        divide_rows(work, weights, now, outcome, ints[ints[plan.NUM_STATES] + child])
        backward(ints, reals, work, child, moved, following, weights, origin, own)
        sum_out_others(ints, work, joint, i, others, origin, outcome)
        add_log_share(work, message, message, half, outcome, states)


@inline
def _return_variational(ints, reals, work, child, moved, step):
    """As `_return_marginal`, by variational message passing."""
    following, one = step + 1, work.dtype.type(1)
    joint, own = ints[ints[plan.B_JOINT] + child], ints[ints[plan.OWN_LOG_B] + child]
    arity, members = ints[ints[plan.JOINT_ARITY] + joint], ints[ints[plan.JOINT_FACTORS_START] + joint]
    now = beliefs_row(ints, following) + ints[ints[plan.STATE_START] + child]
    others, origin, outcome = joint_row(ints), origin_row(ints), outcome_row(ints)
    backward(ints, reals, work, child, moved, following, now, origin, own)
    for i in range(arity):
        parent = ints[ints[plan.JOINT_FACTORS] + members + i]
        start, states = ints[ints[plan.STATE_START] + parent], ints[ints[plan.NUM_STATES] + parent]
        message = message_row(ints, step) + start
        if arity == 1:
            add_share(work, message, message, one, origin, states)
            continue
        multiply_without(ints, work, joint, beliefs_row(ints, step), i, others)
        sum_out_others(ints, work, joint, i, others, origin, outcome)
        add_share(work, message, message, one, outcome, states)


@inline
def sum_out_others(ints, work, joint, i, others, origin, target):
    """Set rows from `target` on, one per state of a joint's factor number i, to the sum of `origin` times `others`."""
    parent = ints[ints[plan.JOINT_FACTORS] + ints[ints[plan.JOINT_FACTORS_START] + joint] + i]
    arity, start = ints[ints[plan.JOINT_ARITY] + joint], ints[ints[plan.STATE_START] + parent]
    at = ints[plan.JOINT_INDEX] + ints[ints[plan.JOINT_INDEX_START] + joint] + i
    for s in range(ints[ints[plan.NUM_STATES] + parent]):
        fill(work, target + s, work.dtype.type(0))
    for k in range(ints[ints[plan.JOINT_SIZE] + joint]):
        row = target + ints[at + k * arity] - start
        add_row_products(work, row, row, origin + k, 1, others + k, 1, 1)


@inline
def divide_rows(work, target, above, below, count):
    """Set `count` rows to those from `above` on, divided by those from `below` on or by the floor."""
    floor = work.dtype.type(FLOOR)
    for i in range(count):
        for lane in range(LANES):
            work[target + i, lane] = work[above + i, lane] / max(work[below + i, lane], floor)


@inline
def _add_accuracy(ints, work, step, target):
    """Add to row `target` the expected ln likelihood of a step's observations."""
    beliefs, base, likelihood = beliefs_row(ints, step), base_row(ints, step), likelihood_row(ints, step)
    add_row_products(work, target, target, beliefs, 1, base, 1, ints[plan.TOTAL_STATES])
    product = ints[plan.PREDICTION_ROW]
    for j in range(ints[plan.NUM_FACTORS], ints[plan.NUM_JOINTS]):
        if ints[ints[plan.JOINT_LIKELIHOOD] + j] >= 0:
            said = likelihood + ints[ints[plan.JOINT_LIKELIHOOD] + j]
            multiply_without(ints, work, j, beliefs, -1, product)
            add_row_products(work, target, target, product, 1, said, 1, ints[ints[plan.JOINT_SIZE] + j])
