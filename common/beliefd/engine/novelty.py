"""Novelty: what a policy would tell an agent about A and B, as part of G.

Counts a of a column with the sum a0 have the information, per count,

    I = (psi(a + 1) - ln a) - (psi(a0 + 1) - ln a0)          (profiles "legacy" and "spm": I = 1 / a - 1 / a0)

and 0 where the count is 0; psi is the digamma function. A step that leads from beliefs q to q' and to observations
q_o adds sum_m q_o . I_m q' + sum_f q'_f . I_f(u) q. Heins et al. (2022), JOSS 7(73); Friston et al. (2017), Active
inference, curiosity and insight, Neural Comput. 29(10).

Where agents learn, I is made from the counts of each, in rows beside its A and B; else it comes with the plan.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.copies import counts_place
from beliefd.engine.jit import inline
from beliefd.engine.learning import first_count
from beliefd.engine.plan import ALL_PARTS, LANES, NOVELTY
from beliefd.engine.recordmath import gather_rows
from beliefd.engine.rowmath import inform_rows, inform_rows_raised
from beliefd.engine.rows import add_row_products
from beliefd.engine.tile import fill, weigh_rows


@inline
def load_novelty(ints, reals, work, lanes, record, tick, source, records, given):
    """Bring the counts before a tick into rows, for every lane, as information about A and B."""
    for m in range(ints[plan.NUM_MODALITIES]):
        start = ints[ints[plan.OWN_NOVELTY_A] + m]
        if start >= 0:
            size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
            count = ints[ints[plan.NUM_OBS] + m]
            first, parameter = ints[ints[plan.OWN_A_COUNTS] + m], ints[ints[plan.GIVEN_PA] + m]
            _load(ints, reals, work, lanes, record, tick, source, first, parameter, start, count * size, records, given)
            _inform(ints, work, start, size, count)
    for f in range(ints[plan.NUM_FACTORS]):
        start = ints[ints[plan.OWN_NOVELTY_B] + f]
        if start >= 0:
            size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + f]]
            states, moves = ints[ints[plan.NUM_STATES] + f], ints[ints[plan.NUM_MOVES] + f]
            first, parameter = ints[ints[plan.OWN_B_COUNTS] + f], ints[ints[plan.GIVEN_PB] + f]
            count = moves * states * size
            _load(ints, reals, work, lanes, record, tick, source, first, parameter, start, count, records, given)
            for action in range(moves):
                _inform(ints, work, start + action * states * size, size, states)


@inline
def _load(ints, reals, work, lanes, record, tick, source, first, parameter, target, count, records, given):
    """Bring counts into rows: those from number `first` on, or from `parameter` on where they are not learned."""
    if first < 0:
        for lane in range(LANES):
            lanes[source, lane] = lanes[record, lane] * given.shape[1]
        gather_rows(work, target, given, lanes[source], parameter, count)
        return
    for lane in range(LANES):
        at = counts_place(ints, lanes[tick, lane] - 1, work.itemsize)
        lanes[source, lane] = lanes[record, lane] * records.shape[1] + at
    gather_rows(work, target, records, lanes[source], first, count)
    for lane in range(LANES):
        if lanes[tick, lane] == 1:
            for i in range(count):
                work[target + i, lane] = first_count(ints, reals, given, lanes[record, lane], first + i)


@inline
def _inform(ints, work, start, size, count):
    """Replace the counts of `size` columns by their information."""
    for k in range(size):
        if ints[plan.TOGETHER]:
            inform_rows_raised(work, start + k, size, count)
        else:
            inform_rows(work, start + k, size, count)


@inline
def value_novelty_of_likelihood(ints, reals, work, first, m, part, target):
    """Set row `target` to what is expected to be told about A of modality m, under its joint from row `first` on."""
    if part != ALL_PARTS and part != NOVELTY:
        fill(work, target, work.dtype.type(0))
        return
    size, count = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]], ints[ints[plan.NUM_OBS] + m]
    predicted, own = ints[plan.OBSERVATION_ROW], ints[ints[plan.OWN_A] + m]
    if own >= 0:
        for o in range(count):
            add_row_products(work, predicted + o, -1, own + o * size, 1, first, 1, size)
    else:
        pointer = ints[plan.A_ROWS] + ints[ints[plan.OBS_START] + m]
        width = ints[ints[plan.A_WIDTH] + m]
        weigh_rows(
            ints, reals, work, predicted, count, first, ints[plan.A_COLUMNS], ints[plan.A_VALUES], pointer, width
        )
    own, start = ints[ints[plan.OWN_NOVELTY_A] + m], ints[ints[plan.NOVELTY_A] + m]
    _weigh_information(ints, reals, work, predicted + count, own, start, size, count, first)
    add_row_products(work, target, -1, predicted, 1, predicted + count, 1, count)


@inline
def value_novelty_of_transition(ints, reals, work, first, f, action, after, part, target):
    """Set row `target` to what is expected to be told about B of factor f, under an action.

    The joint of its parents stands from row `first` on, its beliefs after the action from row `after` on.
    """
    if part != ALL_PARTS and part != NOVELTY:
        fill(work, target, work.dtype.type(0))
        return
    size, states = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + f]], ints[ints[plan.NUM_STATES] + f]
    told = ints[plan.OBSERVATION_ROW]
    own, start = ints[ints[plan.OWN_NOVELTY_B] + f], ints[ints[plan.NOVELTY_B] + f]
    own += action * states * size if own >= 0 else 0
    _weigh_information(ints, reals, work, told, own, start + action * states, size, states, first)
    add_row_products(work, target, -1, after, 1, told, 1, states)


@inline
def _weigh_information(ints, reals, work, target, own, start, size, count, first):
    """Set `count` rows from `target` on to information weighed by the joint from row `first` on."""
    if own >= 0:
        for o in range(count):
            add_row_products(work, target + o, -1, own + o * size, 1, first, 1, size)
    else:
        columns, values = ints[plan.NOVELTY_COLUMNS], ints[plan.NOVELTY_VALUES]
        weigh_rows(ints, reals, work, target, count, first, columns, values, ints[plan.NOVELTY_ROWS] + start, 0)
