"""State inference and information gain over all modalities together, for the profiles "legacy" and "spm".

The product of their likelihoods stands over the states of all factors; see `beliefd.engine.ensemble`. Where it or a
belief is the argument of a logarithm it is raised by 1e-16. Fixed point iteration of "legacy" ends for an agent where
free energy changes by less than 1e-3 nats from one sweep to the next: Heins et al. (2022), pymdp 0.0.7. Information
gain is that of SPM: over observations of all modalities, for states whose probability is above e^-16.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.learning import hold_observation
from beliefd.engine.perception import infer_states, keep_before_last, pass_messages, set_uniform
from beliefd.engine.plan import INFO_GAIN, LANES
from beliefd.engine.rowmath import RAISE, RAISE_CERTAINTY, softmax_rows, write_raised_logs
from beliefd.engine.rows import add_row_products, multiply_rows, weigh_some_rows
from beliefd.engine.tile import fill, multiply_joints

_SETTLED = 1e-3
"""The change of free energy, in nats, under which legacy ends its sweeps."""


@inline
def observe_jointly(ints, reals, work, observed, distributions, items, places):
    """Set the likelihood rows of all factors' joint to the logarithm of what all modalities say.

    Or add it to the base rows, where there is one factor. Arguments as in `beliefd.engine.perception.observe`.
    """
    joint = ints[plan.EVERY_STATE]
    size = ints[ints[plan.JOINT_SIZE] + joint]
    single = ints[plan.NUM_FACTORS] == 1
    said = ints[plan.PREDICTION_ROW]
    target = said + size if single else ints[plan.LIKELIHOOD_ROW] + ints[ints[plan.JOINT_LIKELIHOOD] + joint]
    multiply_likelihoods(ints, reals, work, observed, distributions, items, places, target, said)
    _log_likelihood(ints, work, target)


@inline
def imagine_jointly(ints, reals, work, seen):
    """As `observe_jointly`, where all modalities are observed: `seen` is int64 (modalities, LANES)."""
    joint = ints[plan.EVERY_STATE]
    size, single = ints[ints[plan.JOINT_SIZE] + joint], ints[plan.NUM_FACTORS] == 1
    target = (
        ints[plan.PREDICTION_ROW] if single else ints[plan.LIKELIHOOD_ROW] + ints[ints[plan.JOINT_LIKELIHOOD] + joint]
    )
    for row in range(target, target + size):
        fill(work, row, work.dtype.type(1))
    for m in range(ints[plan.NUM_MODALITIES]):
        states = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
        own, start = ints[ints[plan.OWN_A] + m], ints[plan.LOG_A] + ints[ints[plan.LOG_A_START] + m]
        for k in range(size):
            state = ints[ints[plan.STATES_OF] + m * size + k]
            for lane in range(LANES):
                at = seen[m, lane] * states + state
                work[target + k, lane] *= work[own + at, lane] if own >= 0 else reals[start + at]
    _log_likelihood(ints, work, target)


@inline
def _log_likelihood(ints, work, target):
    """Make the likelihood in rows from `target` on its logarithm; and add it to the base rows of the one factor."""
    size = ints[ints[plan.JOINT_SIZE] + ints[plan.EVERY_STATE]]
    write_raised_logs(work, target, target, 1, size, work.dtype.type(RAISE))
    if ints[plan.NUM_FACTORS] == 1:
        base = ints[plan.BASE_ROW]
        for k in range(size):
            for lane in range(LANES):
                work[base + k, lane] += work[target + k, lane]


@inline
def multiply_likelihoods(ints, reals, work, observed, distributions, items, places, target, said):
    """Set rows from `target` on to the likelihood of all modalities' observations, per state of all factors.

    Rows from `said` on are overwritten; a missing observation is as likely in all states.
    """
    size = ints[ints[plan.JOINT_SIZE] + ints[plan.EVERY_STATE]]
    for row in range(target, target + size):
        fill(work, row, work.dtype.type(1))
    for m in range(ints[plan.NUM_MODALITIES]):
        _likelihoods(ints, reals, work, observed, distributions, items, places, m, said)
        states = ints[plan.STATES_OF] + m * size
        for k in range(size):
            multiply_rows(work, target + k, target + k, said + ints[states + k])


@inline
def _likelihoods(ints, reals, work, observed, distributions, items, places, m, target):
    """Set rows from `target` on to the likelihood of modality m's observation, per state of its joint."""
    zero, one = work.dtype.type(0), work.dtype.type(1)
    size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
    num_obs, own = ints[ints[plan.NUM_OBS] + m], ints[ints[plan.OWN_A] + m]
    hold_observation(ints, work, observed, distributions, items, places, m)
    for k in range(size):
        if own >= 0:
            add_row_products(work, target + k, -1, ints[plan.OBSERVATION_ROW], 1, own + k, size, num_obs)
        else:
            fill(work, target + k, zero)
            for o in range(num_obs):
                probability = reals[ints[plan.LOG_A] + ints[ints[plan.LOG_A_START] + m] + o * size + k]
                for lane in range(LANES):
                    work[target + k, lane] += probability * work[ints[plan.OBSERVATION_ROW] + o, lane]
        for lane in range(LANES):
            if observed[m, lane] == -1:
                work[target + k, lane] = one


@inline
def infer_present(ints, work):
    """Set the beliefs of now to the posterior, and their joints, by as many sweeps as the profile has it.

    Returns
    -------
    bool
        Whether they may have to be refined; see `beliefd.engine.refinement`.
    """
    changed = infer_until_settled(ints, work) if ints[plan.SETTLES] else infer_states(ints, work)
    return changed and ints[plan.BEFORE_ROW] >= 0


@inline
def infer_until_settled(ints, work):
    """Set the beliefs of now to the posterior, and their joints; each lane by as many sweeps as it takes alone.

    Returns
    -------
    bool
        Whether any took all sweeps; the beliefs before the last one are as `infer_states` leaves them.
    """
    zero, one = work.dtype.type(0), work.dtype.type(1)
    factors = ints[plan.NUM_FACTORS]
    message, base = ints[plan.MESSAGE_ROW], ints[plan.BASE_ROW]
    before, after, open_ = ints[plan.SPARE_ROW], ints[plan.SPARE_ROW] + 1, ints[plan.SPARE_ROW] + 2
    set_uniform(ints, work, 0)
    fill(work, before, zero)
    add_raised_divergence(ints, work, before)
    fill(work, open_, one)
    for sweep in range(ints[plan.NUM_ITER]):
        keep_before_last(ints, work, sweep)
        informed = pass_messages(ints, work, 0, base, message, ints[plan.LIKELIHOOD_ROW])
        for f in range(factors):
            start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
            source = message if (informed >> f) & 1 else base
            softmax_rows(work, source + start, message + start, message + start, states)
        for s in range(ints[plan.TOTAL_STATES]):
            for lane in range(LANES):
                work[s, lane] = work[message + s, lane] if work[open_, lane] != zero else work[s, lane]
        multiply_joints(ints, work, ints[plan.ALL_JOINTS])
        joint_free_energy(ints, work, after)
        left = 0
        for lane in range(LANES):
            if abs(work[before, lane] - work[after, lane]) < work.dtype.type(_SETTLED):
                work[open_, lane] = zero
            work[before, lane] = work[after, lane]
            left += work[open_, lane] != zero
        if left == 0:
            return sweep == ints[plan.NUM_ITER] - 1
    return True


@inline
def joint_free_energy(ints, work, target):
    """Set row `target` to the variational free energy of the beliefs of now; the message rows are overwritten."""
    fill(work, target, work.dtype.type(0))
    if ints[plan.NUM_FACTORS] > 1:
        joint = ints[plan.EVERY_STATE]
        first, size = ints[ints[plan.JOINT_ROW] + joint], ints[ints[plan.JOINT_SIZE] + joint]
        likelihood = ints[plan.LIKELIHOOD_ROW] + ints[ints[plan.JOINT_LIKELIHOOD] + joint]
        add_row_products(work, target, -1, first, 1, likelihood, 1, size)
        for lane in range(LANES):
            work[target, lane] = -work[target, lane]
    add_raised_divergence(ints, work, target)


@inline
def add_raised_divergence(ints, work, target):
    """Add to row `target` the sum over all states of q (ln q - base row); the message rows are overwritten.

    `target` may be the first of these.
    """
    message, base, states = ints[plan.MESSAGE_ROW], ints[plan.BASE_ROW], ints[plan.TOTAL_STATES]
    total = ints[plan.SPARE_ROW] + 1
    for lane in range(LANES):
        work[total, lane] = work[target, lane]
    write_raised_logs(work, message, 0, 1, states, work.dtype.type(RAISE))
    for s in range(states):
        for lane in range(LANES):
            work[message + s, lane] -= work[base + s, lane]
    add_row_products(work, total, total, 0, 1, message, 1, states)
    for lane in range(LANES):
        work[target, lane] = work[total, lane]


@inline
def prepare_combined(ints, reals, work):
    """Set the rows of the agents' own joint A, and of what is linear after them."""
    own = ints[plan.OWN_COMBINED]
    if own < 0:
        return
    size = ints[ints[plan.JOINT_SIZE] + ints[plan.EVERY_STATE]]
    combinations, modalities = ints[plan.NUM_COMBINATIONS], ints[plan.NUM_MODALITIES]
    for c in range(combinations):
        for k in range(size):
            row, rest = own + c * size + k, c
            fill(work, row, work.dtype.type(1))
            for m in range(modalities - 1, -1, -1):
                num_obs = ints[ints[plan.NUM_OBS] + m]
                o, rest = rest % num_obs, rest // num_obs
                state = ints[ints[plan.STATES_OF] + m * size + k]
                states = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
                if ints[ints[plan.OWN_A] + m] >= 0:
                    multiply_rows(work, row, row, ints[ints[plan.OWN_A] + m] + o * states + state)
                else:
                    start = ints[plan.LOG_A] + ints[ints[plan.LOG_A_START] + m]
                    for lane in range(LANES):
                        work[row, lane] *= reals[start + o * states + state]
    logs, certainty = ints[plan.OBSERVATION_ROW], own + combinations * size
    for k in range(size):
        write_raised_logs(work, logs, own + k, size, combinations, work.dtype.type(RAISE_CERTAINTY))
        add_row_products(work, certainty + k, -1, logs, 1, own + k, size, combinations)


@inline
def value_jointly(ints, reals, work, first, part, target):
    """Set row `target` to the information gain about states under the joint of all factors from row `first` on."""
    zero = work.dtype.type(0)
    fill(work, target, zero)
    if part != plan.ALL_PARTS and part != INFO_GAIN:
        return
    size = ints[ints[plan.JOINT_SIZE] + ints[plan.EVERY_STATE]]
    combinations, weights, own = ints[plan.NUM_COMBINATIONS], ints[plan.WEIGHT_ROW], ints[plan.OWN_COMBINED]
    for k in range(size):
        for lane in range(LANES):
            weight = work[first + k, lane]
            work[weights + k, lane] = weight if weight > work.dtype.type(RAISE_CERTAINTY) else zero
    predicted = ints[plan.OBSERVATION_ROW]
    logs = predicted + combinations
    for c in range(combinations):
        if own >= 0:
            add_row_products(work, predicted + c, -1, own + c * size, 1, weights, 1, size)
        else:
            at = ints[ints[plan.COMBINED_ROWS] + c]
            entries = ints[ints[plan.COMBINED_ROWS] + c + 1] - at
            columns = ints[plan.COMBINED_COLUMNS] + at
            weigh_some_rows(
                work, predicted + c, reals, ints[plan.COMBINED_VALUES] + at, ints, columns, entries, weights
            )
    write_raised_logs(work, logs, predicted, 1, combinations, work.dtype.type(RAISE))
    add_row_products(work, target, -1, predicted, 1, logs, 1, combinations)
    for lane in range(LANES):
        work[target, lane] = -work[target, lane]
    if own >= 0:
        add_row_products(work, target, target, weights, 1, own + combinations * size, 1, size)
    else:
        for k in range(size):
            certainty = reals[ints[plan.CERTAINTY] + k]
            for lane in range(LANES):
                work[target, lane] += certainty * work[weights + k, lane]
