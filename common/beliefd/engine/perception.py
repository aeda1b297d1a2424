"""State inference: from the prior and the observations of a tile to beliefs and their free energy.

Mean-field fixed point iteration after Heins et al. (2022), JOSS 7(73), with simultaneous (Jacobi) updates; for a factor
that shares no modality with another it is the exact posterior of Bayes' rule. Variational free energy as in Da Costa et
al. (2020), J. Math. Psychol. 99, section 3, for the factorised posterior.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.plan import LANES
from beliefd.engine.rows import add_row_products
from beliefd.engine.tile import fill, multiply_joints, predict_factor, softmax
from beliefd.engine.vectormath import log_floor


@inline
def predict_prior(ints, reals, work, fresh, previous):
    """Set the base rows to the ln prior: of D for fresh lanes, else of B(previous action) times the beliefs of now.

    `fresh` is int32 (LANES,), `previous` int32 (factors, LANES). Rows of predictions are overwritten.
    """
    multiply_joints(ints, work, ints[plan.TRANSITION_JOINTS])
    moved = ints[plan.PREDICTION_ROW]
    for f in range(ints[plan.NUM_FACTORS]):
        start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
        base = ints[plan.BASE_ROW] + start
        for s in range(states):
            fill(work, base + s, reals[ints[plan.D] + start + s])
        parents = ints[ints[plan.JOINT_ROW] + ints[ints[plan.B_JOINT] + f]]
        for action in range(ints[ints[plan.NUM_CONTROLS] + f]):
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
    for row in range(ints[plan.BASE_ROW], ints[plan.BASE_ROW] + ints[plan.TOTAL_STATES]):
        for lane in range(LANES):
            work[row, lane] = log_floor(work[row, lane])


@inline
def observe(ints, reals, work, observed, distributions, items):
    """Add what every modality says: of one factor to its base rows, of several to the likelihood rows of their joint.

    `observed` is int32 (modalities, LANES); -1 adds nothing, -2 takes the row items[lane] of `distributions`.
    """
    zero = work.dtype.type(0)
    for row in range(ints[plan.LIKELIHOOD_ROW], ints[plan.PREDICTION_ROW]):
        fill(work, row, zero)
    for m in range(ints[plan.NUM_MODALITIES]):
        joint = ints[ints[plan.A_JOINT] + m]
        size = ints[ints[plan.JOINT_SIZE] + joint]
        log_a = ints[plan.LOG_A] + ints[ints[plan.LOG_A_START] + m]
        if joint < ints[plan.NUM_FACTORS]:
            target = ints[plan.BASE_ROW] + ints[ints[plan.STATE_START] + joint]
        else:
            target = ints[plan.LIKELIHOOD_ROW] + ints[ints[plan.JOINT_LIKELIHOOD] + joint]
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
        for s in range(ints[plan.TOTAL_STATES]):
            for lane in range(LANES):
                work[message + s, lane] = work[base + s, lane]
        for j in range(factors, ints[plan.NUM_JOINTS]):
            if ints[ints[plan.JOINT_LIKELIHOOD] + j] >= 0:
                _pass_messages(ints, work, j)
        changed = False
        for f in range(factors):
            # A factor that no other informs is final after the first sweep.
            if sweep == 0 or ints[ints[plan.COUPLED] + f]:
                start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
                changed |= softmax(work, message + start, start, states, ints[plan.SPARE_ROW])
        if not changed:
            break
    multiply_joints(ints, work, ints[plan.ALL_JOINTS])


@inline
def _pass_messages(ints, work, j):
    """Add to the message rows of joint j's factors its ln likelihood, as expected under the other factors.

    From the last factor to the first: its message is what remains when the product of those before it is summed out;
    then it is summed out itself, and the one before it is the last.
    """
    members = ints[plan.JOINT_FACTORS] + ints[ints[plan.JOINT_FACTORS_START] + j]
    arity = ints[ints[plan.JOINT_ARITY] + j]
    first = ints[ints[plan.STATE_START] + ints[members]]
    product, size, free = _multiply_prefixes(ints, work, members, arity)
    rest = ints[plan.LIKELIHOOD_ROW] + ints[ints[plan.JOINT_LIKELIHOOD] + j]
    for i in range(arity - 1, 0, -1):
        f = ints[members + i]
        start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
        message = ints[plan.MESSAGE_ROW] + start
        for s in range(states):
            add_row_products(work, message + s, message + s, rest + s, states, product, 1, size)
        target = free if i > 1 else ints[plan.MESSAGE_ROW] + first
        for k in range(size):
            if i > 1:
                fill(work, target + k, work.dtype.type(0))
            add_row_products(work, target + k, target + k, rest + k * states, 1, start, 1, states)
        rest, free = target, free + size
        size //= ints[ints[plan.NUM_STATES] + ints[members + i - 1]]
        product = product - size if i > 2 else first


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
                for lane in range(LANES):
                    work[target, lane] = work[k, lane] * work[s, lane]
                target += 1
        row, size, free = free, size * states, target
    return row, size, free


@inline
def free_energy(ints, work, target):
    """Set row `target` to the variational free energy of the beliefs of now, in nats."""
    fill(work, target, work.dtype.type(0))
    base = ints[plan.BASE_ROW]
    for s in range(ints[plan.TOTAL_STATES]):
        for lane in range(LANES):
            q = work[s, lane]
            work[target, lane] += q * (log_floor(q) - work[base + s, lane])
    for j in range(ints[plan.NUM_FACTORS], ints[plan.NUM_JOINTS]):
        if ints[ints[plan.JOINT_LIKELIHOOD] + j] >= 0:
            likelihood = ints[plan.LIKELIHOOD_ROW] + ints[ints[plan.JOINT_LIKELIHOOD] + j]
            joint = ints[ints[plan.JOINT_ROW] + j]
            for k in range(ints[ints[plan.JOINT_SIZE] + j]):
                for lane in range(LANES):
                    work[target, lane] -= work[joint + k, lane] * work[likelihood + k, lane]
