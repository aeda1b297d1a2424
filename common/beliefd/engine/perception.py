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
from beliefd.engine.rows import add_chosen, add_row_products, multiply_rows
from beliefd.engine.tile import fill, multiply_joints, predict_factor

_FEW_OBSERVATIONS = 16
"""Up to so many, looking at each of them in all lanes is faster than looking up that of each lane."""


@inline
def predict_prior(ints, reals, work, fresh, previous):
    """Set the prior rows to D for fresh lanes, else to B(previous action) times the beliefs of now; then log them.

    Their logarithm is in the base rows. `fresh` is int32 (LANES,), `previous` int32 (factors, LANES) on the joint axes
    of B. Rows of predictions are overwritten.
    """
    multiply_joints(ints, work, ints[plan.TRANSITION_JOINTS])
    moved = ints[plan.PREDICTION_ROW]
    for f in range(ints[plan.NUM_FACTORS]):
        start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
        prior = ints[plan.PRIOR_ROW] + start
        own = ints[ints[plan.OWN_D] + f]
        for s in range(states):
            if own >= 0:
                for lane in range(LANES):
                    work[prior + s, lane] = work[own + s, lane]
            else:
                fill(work, prior + s, reals[ints[plan.D] + start + s])
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
                        work[prior + s, lane] = work[moved + s, lane]
    log_priors(ints, work, ints[plan.BASE_ROW], ints[plan.PRIOR_ROW])


@inline
def log_priors(ints, work, target, first):
    """Set rows from `target` on to the logarithm of beliefs about all states, in rows from `first` on."""
    states = ints[plan.TOTAL_STATES]
    if ints[plan.TOGETHER]:
        write_raised_logs(work, target, first, 1, states, work.dtype.type(RAISE))
    else:
        log_rows(work, target, first, states)


@inline
def observe(ints, reals, work, observed, distributions, items, places, base, likelihood):
    """Add what every modality says: of one factor to its rows from `base` on, of several to those of their joint.

    The latter stand from `likelihood` on, and begin with zeros. `observed` is int32 (modalities, LANES); -1 adds
    nothing, -2 takes the row items[lane] of `distributions`, from column places[lane] on.
    """
    zero = work.dtype.type(0)
    for row in range(likelihood, likelihood + ints[plan.INDUCTIVE_ROW] - ints[plan.LIKELIHOOD_ROW]):
        fill(work, row, zero)
    for m in range(ints[plan.NUM_MODALITIES]):
        joint = ints[ints[plan.A_JOINT] + m]
        size = ints[ints[plan.JOINT_SIZE] + joint]
        log_a = ints[plan.LOG_A] + ints[ints[plan.LOG_A_START] + m]
        if joint < ints[plan.NUM_FACTORS]:
            target = base + ints[ints[plan.STATE_START] + joint]
        else:
            target = likelihood + ints[ints[plan.JOINT_LIKELIHOOD] + joint]
        if ints[ints[plan.OWN_A] + m] >= 0:
            observe_own(ints, work, observed, distributions, items, places, m, target)
            continue
        if ints[ints[plan.NUM_OBS] + m] <= _FEW_OBSERVATIONS:
            add_chosen(work, target, size, reals, log_a, 1, size, ints[ints[plan.NUM_OBS] + m], observed, m)
        else:
            for k in range(size):
                for lane in range(LANES):
                    o = observed[m, lane]
                    said = reals[log_a + max(o, 0) * size + k]
                    work[target + k, lane] += said if o >= 0 else zero
        for lane in range(LANES):
            if observed[m, lane] == -2:
                place = places[lane] + ints[ints[plan.OBS_START] + m]
                _observe_distribution(
                    ints, reals, work, m, lane, target, size, log_a, distributions, items[lane], place
                )


@inline
def _observe_distribution(ints, reals, work, m, lane, target, size, log_a, distributions, item, first):
    for k in range(size):
        total = work.dtype.type(0)
        for o in range(ints[ints[plan.NUM_OBS] + m]):
            total += distributions[item, first + o] * reals[log_a + o * size + k]
        work[target + k, lane] += total


@inline
def infer_states(ints, work):
    """Set the beliefs of now to the posterior, and their joints.

    Stops after a sweep that changes no bit of the tile: all later sweeps would give the same.

    Returns
    -------
    bool
        Whether the last sweep changed any bit; the beliefs before it stand in rows of their own, if the plan has these.
    """
    factors, changed = ints[plan.NUM_FACTORS], False
    set_uniform(ints, work, 0)
    message, base = ints[plan.MESSAGE_ROW], ints[plan.BASE_ROW]
    for sweep in range(ints[plan.NUM_ITER]):
        keep_before_last(ints, work, sweep)
        informed = pass_messages(ints, work, 0, base, message, ints[plan.LIKELIHOOD_ROW])
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
    return changed


@inline
def keep_before_last(ints, work, sweep):
    """Before the last sweep, set the rows of beliefs before it, if the plan has these."""
    if sweep == ints[plan.NUM_ITER] - 1 and ints[plan.BEFORE_ROW] >= 0:
        for s in range(ints[plan.TOTAL_STATES]):
            for lane in range(LANES):
                work[ints[plan.BEFORE_ROW] + s, lane] = work[s, lane]


@inline
def set_uniform(ints, work, beliefs):
    """Set the beliefs from row `beliefs` on to uniform ones."""
    one = work.dtype.type(1)
    for f in range(ints[plan.NUM_FACTORS]):
        start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
        for s in range(start, start + states):
            fill(work, beliefs + s, one / work.dtype.type(states))


@inline
def pass_messages(ints, work, beliefs, base, message, likelihood):
    """Set the message rows of every factor that others inform to its base rows and what the others' joints say.

    The arguments are the first rows of beliefs, of base, of messages, and of the joints' ln likelihoods.

    Returns
    -------
    int64
        The mask of factors that have a message; those of the others are as they were.
    """
    informed = np.int64(0)
    for j in range(ints[plan.NUM_FACTORS], ints[plan.NUM_JOINTS]):
        if ints[ints[plan.JOINT_LIKELIHOOD] + j] >= 0:
            rest = likelihood + ints[ints[plan.JOINT_LIKELIHOOD] + j]
            informed = _inform_factors(ints, work, j, informed, beliefs, base, message, rest)
    return informed


@inline
def _inform_factors(ints, work, j, informed, beliefs, base, message, rest):
    """Add to the message rows of joint j's factors its ln likelihood, as expected under the other factors.

    From the last factor to the first: its message is what remains when the product of those before it is summed out;
    then it is summed out itself, and the one before it is the last.

    `informed` is the mask of factors that have a message in this sweep; the message of the others begins with their
    base rows. Returned with the factors of this joint. `rest` is the first row of the joint's ln likelihood.
    """
    members = ints[plan.JOINT_FACTORS] + ints[ints[plan.JOINT_FACTORS_START] + j]
    arity = ints[ints[plan.JOINT_ARITY] + j]
    product, size, free = _multiply_prefixes(ints, work, members, arity, beliefs)
    for i in range(arity - 1, 0, -1):
        f, first = ints[members + i], ints[members]
        start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
        begin = (message if (informed >> f) & 1 else base) + start
        for s in range(states):
            add_row_products(work, message + start + s, begin + s, rest + s, states, product, 1, size)
        if i > 1:
            for k in range(size):
                add_row_products(work, free + k, -1, rest + k * states, 1, beliefs + start, 1, states)
        else:
            head = ints[ints[plan.STATE_START] + first]
            begin = (message if (informed >> first) & 1 else base) + head
            for k in range(size):
                row = message + head + k
                add_row_products(work, row, begin + k, rest + k * states, 1, beliefs + start, 1, states)
        informed |= np.int64(1) << f
        rest, free = free, free + size
        size //= ints[ints[plan.NUM_STATES] + ints[members + i - 1]]
        product = product - size if i > 2 else beliefs + ints[ints[plan.STATE_START] + first]
    return informed | (np.int64(1) << ints[members])


@inline
def _multiply_prefixes(ints, work, members, arity, beliefs):
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
    row, free = beliefs + ints[ints[plan.STATE_START] + f], ints[plan.PREDICTION_ROW]
    size = ints[ints[plan.NUM_STATES] + f]
    for i in range(1, arity - 1):
        f = ints[members + i]
        start, states = beliefs + ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
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
