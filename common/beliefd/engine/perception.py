"""State inference: from the prior and the observations of a tile to beliefs and their free energy.

Mean-field fixed point iteration after Heins et al. (2022), JOSS 7(73), with simultaneous (Jacobi) updates; for a factor
that shares no modality with another it is the exact posterior of Bayes' rule. Variational free energy as in Da Costa et
al. (2020), J. Math. Psychol. 99, section 3, for the factorised posterior.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

import numpy as np

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.learning import observe_own
from beliefd.engine.plan import LANES
from beliefd.engine.rowmath import RAISE, add_divergence, log_rows, softmax_rows, write_raised_logs
from beliefd.engine.rows import add_row_products, multiply_rows
from beliefd.engine.tile import fill, multiply_joints, predict_factor


@inline
def predict_prior(ints, reals, work, fresh, previous):
    """Set the base rows to the ln prior: of D for fresh lanes, else of B(previous action) times the beliefs of now.

    `fresh` is int32 (LANES,), `previous` int32 (factors, LANES) on the joint axes of B. Rows of predictions are
    overwritten.
    """
    multiply_joints(ints, work, ints[plan.TRANSITION_JOINTS])
    moved = ints[plan.PREDICTION_ROW]
    for f in range(ints[plan.NUM_FACTORS]):
        start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
        base = ints[plan.BASE_ROW] + start
        own = ints[ints[plan.OWN_D] + f]
        for s in range(states):
            if own >= 0:
                for lane in range(LANES):
                    work[base + s, lane] = work[own + s, lane]
            else:
                fill(work, base + s, reals[ints[plan.D] + start + s])
        parents = ints[ints[plan.JOINT_ROW] + ints[ints[plan.B_JOINT] + f]]
        for action in range(ints[ints[plan.NUM_MOVES] + f]):
            takes = 0
            for lane in range(LANES):
                takes += (fresh[lane] == 0) & (previous[f, lane] == action)
            if takes == 0:
                continue
            predict_factor(ints, reals, work, parents, moved, f, action)
            for s in range(states):
                for lane in range(LANES):
                    if (fresh[lane] == 0) & (previous[f, lane] == action):
                        work[base + s, lane] = work[moved + s, lane]
    base, states = ints[plan.BASE_ROW], ints[plan.TOTAL_STATES]
    if ints[plan.TOGETHER]:
        write_raised_logs(work, base, base, 1, states, work.dtype.type(RAISE))
    else:
        log_rows(work, base, states)


@inline
def observe(ints, reals, work, observed, distributions, items):
    """Add what every modality says: of one factor to its base rows, of several to the likelihood rows of their joint.

    `observed` is int32 (modalities, LANES); -1 adds nothing, -2 takes the row items[lane] of `distributions`.
    """
    zero = work.dtype.type(0)
    for row in range(ints[plan.LIKELIHOOD_ROW], ints[plan.INDUCTIVE_ROW]):
        fill(work, row, zero)
    for m in range(ints[plan.NUM_MODALITIES]):
        joint = ints[ints[plan.A_JOINT] + m]
        size = ints[ints[plan.JOINT_SIZE] + joint]
        log_a = ints[plan.LOG_A] + ints[ints[plan.LOG_A_START] + m]
        if joint < ints[plan.NUM_FACTORS]:
            target = ints[plan.BASE_ROW] + ints[ints[plan.STATE_START] + joint]
        else:
            target = ints[plan.LIKELIHOOD_ROW] + ints[ints[plan.JOINT_LIKELIHOOD] + joint]
        if ints[ints[plan.OWN_A] + m] >= 0:
            observe_own(ints, work, observed, distributions, items, m, target)
            continue
        for k in range(size):
            for lane in range(LANES):
                o = observed[m, lane]
                said = reals[log_a + max(o, 0) * size + k]
                work[target + k, lane] += said if o >= 0 else zero
        for lane in range(LANES):
            if observed[m, lane] == -2:
                _observe_distribution(ints, reals, work, m, lane, target, size, log_a, distributions, items[lane])


@inline
def _observe_distribution(ints, reals, work, m, lane, target, size, log_a, distributions, item):
    first = ints[ints[plan.OBS_START] + m]
    for k in range(size):
        total = work.dtype.type(0)
        for o in range(ints[ints[plan.NUM_OBS] + m]):
            total += distributions[item, first + o] * reals[log_a + o * size + k]
        work[target + k, lane] += total


@inline
def infer_states(ints, work):
    """Set the beliefs of now to the posterior, and their joints.

    Stops after a sweep that changes no bit of the tile: all later sweeps would give the same.
    """
    one = work.dtype.type(1)
    factors = ints[plan.NUM_FACTORS]
    for f in range(factors):
        start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
        for s in range(start, start + states):
            fill(work, s, one / work.dtype.type(states))
    message, base = ints[plan.MESSAGE_ROW], ints[plan.BASE_ROW]
    for sweep in range(ints[plan.NUM_ITER]):
        informed = np.int64(0)
        for j in range(factors, ints[plan.NUM_JOINTS]):
            if ints[ints[plan.JOINT_LIKELIHOOD] + j] >= 0:
                informed = pass_messages(ints, work, j, informed)
        changed = False
        for f in range(factors):
            # A factor that no other informs is final after the first sweep.
            if sweep == 0 or ints[ints[plan.COUPLED] + f]:
                start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
                source = message if (informed >> f) & 1 else base
                changed |= softmax_rows(work, source + start, message + start, start, states)
        if not changed:
            break
    multiply_joints(ints, work, ints[plan.ALL_JOINTS])


@inline
def pass_messages(ints, work, j, informed):
    """Add to the message rows of joint j's factors its ln likelihood, as expected under the other factors.

    From the last factor to the first: its message is what remains when the product of those before it is summed out;
    then it is summed out itself, and the one before it is the last.

    `informed` is the mask of factors that have a message in this sweep; the message of the others begins with their
    base rows. Returned with the factors of this joint.
    """
    members = ints[plan.JOINT_FACTORS] + ints[ints[plan.JOINT_FACTORS_START] + j]
    arity = ints[ints[plan.JOINT_ARITY] + j]
    product, size, free = _multiply_prefixes(ints, work, members, arity)
    rest = ints[plan.LIKELIHOOD_ROW] + ints[ints[plan.JOINT_LIKELIHOOD] + j]
    for i in range(arity - 1, 0, -1):
        f, first = ints[members + i], ints[members]
        start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
        begin, message = _message_rows(ints, f, informed)
        for s in range(states):
            add_row_products(work, message + s, begin + s, rest + s, states, product, 1, size)
        if i > 1:
            for k in range(size):
                add_row_products(work, free + k, -1, rest + k * states, 1, start, 1, states)
        else:
            begin, message = _message_rows(ints, first, informed)
            for k in range(size):
                add_row_products(work, message + k, begin + k, rest + k * states, 1, start, 1, states)
        informed |= np.int64(1) << f
        rest, free = free, free + size
        size //= ints[ints[plan.NUM_STATES] + ints[members + i - 1]]
        product = product - size if i > 2 else ints[ints[plan.STATE_START] + first]
    return informed | (np.int64(1) << ints[members])


@inline
def _message_rows(ints, f, informed):
    """The row that the sum of a factor's messages has come to, and the row where it is to stand."""
    start = ints[ints[plan.STATE_START] + f]
    message = ints[plan.MESSAGE_ROW] + start
    return message if (informed >> f) & 1 else ints[plan.BASE_ROW] + start, message


@inline
def _multiply_prefixes(ints, work, members, arity):
    """Multiply the beliefs of the first two factors of a joint, the first three, and so on; the last is left out.

    The products stand one after the other in the rows of predictions.

    Returns
    -------
    row : int
        The first of the last product, or of the first factor's beliefs where there is no other.
    size : int
        How many rows it has.
    free : int
        The first row after it that is free.
    """
    f = ints[members]
    row, size, free = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f], ints[plan.PREDICTION_ROW]
    for i in range(1, arity - 1):
        f = ints[members + i]
        start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
        target = free
        for k in range(row, row + size):
            for s in range(start, start + states):
                multiply_rows(work, target, k, s)
                target += 1
        row, size, free = free, size * states, target
    return row, size, free


@inline
def free_energy(ints, work, target):
    """Set row `target` to the variational free energy of the beliefs of now, in nats."""
    fill(work, target, work.dtype.type(0))
    for j in range(ints[plan.NUM_FACTORS], ints[plan.NUM_JOINTS]):
        if ints[ints[plan.JOINT_LIKELIHOOD] + j] >= 0:
            likelihood = ints[plan.LIKELIHOOD_ROW] + ints[ints[plan.JOINT_LIKELIHOOD] + j]
            joint, size = ints[ints[plan.JOINT_ROW] + j], ints[ints[plan.JOINT_SIZE] + j]
            add_row_products(work, target, target, joint, 1, likelihood, 1, size)
    for lane in range(LANES):
        work[target, lane] = -work[target, lane]
    add_divergence(work, target, 0, ints[plan.BASE_ROW], ints[plan.TOTAL_STATES])
