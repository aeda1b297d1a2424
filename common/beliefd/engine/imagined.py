"""What planners that grow a tree share: what an action leads to, what could then be observed, and rows moved about."""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.induction import find_ways
from beliefd.engine.jit import inline
from beliefd.engine.jointly import prepare_combined
from beliefd.engine.plan import LANES
from beliefd.engine.rowmath import softmax_rows
from beliefd.engine.rows import add_row_products
from beliefd.engine.tile import multiply_joints, predict_factor, weigh_rows


@inline
def prepare_search(ints, reals, work):
    """Bring the rows of what agents have of their own up to date, but for `prepare_own` of a part of G.

    Then actions can be evaluated one by one.
    """
    if ints[plan.NUM_COUNTS] + ints[plan.NUM_PARAMETERS] > 0:
        prepare_combined(ints, reals, work)
        find_ways(ints, reals, work)


@inline
def result_row(ints, part):
    """The first of the rows, one per policy, with what a part of G is at the root: they follow the tree."""
    levels = ints[plan.SIMULATIONS] + 1 if ints[plan.SIMULATIONS] > 0 else ints[plan.TREE_DEPTH]
    return ints[plan.TREE_ROW] + levels * ints[plan.LEVEL_ROWS] + part * ints[plan.NUM_POLICIES]


@inline
def copy_rows(work, target, source, count):
    """Set `count` rows from `target` on to those from `source` on."""
    for row in range(count):
        for lane in range(LANES):
            work[target + row, lane] = work[source + row, lane]


@inline
def restore(ints, work, first, joints):
    """Set the beliefs of now, and these joints of them, from the rows from `first` on."""
    copy_rows(work, 0, first, ints[plan.TOTAL_STATES])
    multiply_joints(ints, work, joints)


@inline
def predict_states(ints, reals, work, target, p):
    """Set rows from `target` on to what follows action p of the beliefs of now, whose joints are there."""
    factors = ints[plan.NUM_FACTORS]
    for f in range(factors):
        parents = ints[ints[plan.JOINT_ROW] + ints[ints[plan.B_JOINT] + f]]
        move = ints[ints[plan.POLICY_MOVES] + p * factors + f]
        predict_factor(ints, reals, work, parents, target + ints[ints[plan.STATE_START] + f], f, move)


@inline
def predict_observations(ints, reals, work, target):
    """Set rows from `target` on to how probable observations are by the beliefs of now, whose joints are there."""
    for m in range(ints[plan.NUM_MODALITIES]):
        joint = ints[ints[plan.A_JOINT] + m]
        first, size = ints[ints[plan.JOINT_ROW] + joint], ints[ints[plan.JOINT_SIZE] + joint]
        start, count = ints[ints[plan.OBS_START] + m], ints[ints[plan.NUM_OBS] + m]
        own = ints[ints[plan.OWN_A] + m]
        if own >= 0:
            for o in range(count):
                add_row_products(work, target + start + o, -1, own + o * size, 1, first, 1, size)
        else:
            pointer, width = ints[plan.A_ROWS] + start, ints[ints[plan.A_WIDTH] + m]
            columns, values = ints[plan.A_COLUMNS], ints[plan.A_VALUES]
            weigh_rows(ints, reals, work, target + start, count, first, columns, values, pointer, width)


@inline
def choose_softly(ints, reals, work, first):
    """Turn values of actions, in rows from `first` on, into probabilities: softmax(gamma values)."""
    gamma, own, policies = reals[ints[plan.GAMMA]], ints[plan.OWN_GAMMA], ints[plan.NUM_POLICIES]
    for row in range(first, first + policies):
        for lane in range(LANES):
            work[row, lane] *= work[own, lane] if own >= 0 else gamma
    softmax_rows(work, first, first, first, policies)
