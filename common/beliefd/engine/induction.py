"""Inductive inference: which states are off an agent's path to its goal, and what that adds to G."""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.plan import ALL_PARTS, INDUCTIVE_VALUE, LANES
from beliefd.engine.rows import add_row_products
from beliefd.engine.tile import fill


@inline
def find_ways(ints, reals, work):
    """Set, for every factor with a goal and a B of the agents' own, the rows of their ways to it."""
    if ints[plan.INDUCTIVE]:
        for f in range(ints[plan.NUM_FACTORS]):
            if ints[ints[plan.OWN_GOAL] + f] >= 0:
                _find_ways_of(ints, reals, work, f)


@inline
def _find_ways_of(ints, reals, work, f):
    """Set the rows from `plan.OWN_GOAL` of factor f on: by the agent's own B, which states lead where, and to the goal.

    One state leads to another if some action and some states of the other parents make it likelier than the threshold.
    """
    zero, one = work.dtype.type(0), work.dtype.type(1)
    states, steps = ints[ints[plan.NUM_STATES] + f], ints[ints[plan.OWN_GOAL] + f]
    joint = ints[ints[plan.B_JOINT] + f]
    size, arity = ints[ints[plan.JOINT_SIZE] + joint], ints[ints[plan.JOINT_ARITY] + joint]
    index = ints[plan.JOINT_INDEX] + ints[ints[plan.JOINT_INDEX_START] + joint]
    first = ints[ints[plan.STATE_START] + f]
    for i in range(states * states):
        fill(work, steps + i, zero)
    for k in range(size):
        # Without itself among its parents a factor comes from any state.
        lowest, highest = 0, states
        for i in range(arity):
            s = ints[index + k * arity + i] - first
            if s >= 0 and s < states:
                lowest, highest = s, s + 1
        for move in range(ints[ints[plan.NUM_MOVES] + f]):
            for following in range(states):
                row = ints[ints[plan.OWN_B] + f] + (move * states + following) * size + k
                for s in range(lowest, highest):
                    target = steps + following * states + s
                    for lane in range(LANES):
                        if work[row, lane] > reals[ints[plan.THRESHOLD]]:
                            work[target, lane] = one
    goal, paths = ints[plan.GOAL_PATHS] + ints[ints[plan.GOAL_START] + f], steps + states * states
    for s in range(states):
        fill(work, paths + s, one if ints[goal + s] != 0 else zero)
    for n in range(1, ints[plan.GOAL_STEPS]):
        before, target = paths + (n - 1) * states, paths + n * states
        for s in range(states):
            fill(work, target + s, zero)
            for following in range(states):
                step = steps + following * states + s
                for lane in range(LANES):
                    reached = min(work[step, lane], work[before + following, lane])
                    work[target + s, lane] = max(work[target + s, lane], reached)


@inline
def find_off_path(ints, reals, work):
    """Set the inductive rows: ln epsilon for each state that is not on the agent's path to its goal, else 0.

    The path: with n steps at the fewest from the likeliest state to the goal, the states from which n - 1 steps can
    lead there. Where no number of steps does, nothing is on a path or off it. Of states that tie the first is the
    likeliest.
    """
    zero, off, tolerance = work.dtype.type(0), reals[ints[plan.LOG_EPSILON]], reals[ints[plan.TOLERANCE]]
    for f in range(ints[plan.NUM_FACTORS]):
        start = ints[ints[plan.GOAL_START] + f]
        if start < 0:
            continue
        first, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
        paths, rows = ints[plan.GOAL_PATHS] + start, ints[plan.INDUCTIVE_ROW] + first
        own = ints[ints[plan.OWN_GOAL] + f] >= 0
        own_paths = ints[ints[plan.OWN_GOAL] + f] + states * states
        for lane in range(LANES):
            largest = work[first, lane]
            for s in range(1, states):
                largest = max(largest, work[first + s, lane])
            likeliest = 0
            while work[first + likeliest, lane] < largest - tolerance:
                likeliest += 1
            steps = 0
            while steps < ints[plan.GOAL_STEPS]:
                at = steps * states + likeliest
                if (work[own_paths + at, lane] if own else ints[paths + at]) != 0:
                    break
                steps += 1
            path = max(steps - 1, 0) * states
            for s in range(states):
                leads = (work[own_paths + path + s, lane] if own else ints[paths + path + s]) != 0
                work[rows + s, lane] = zero if leads or steps == ints[plan.GOAL_STEPS] else off


@inline
def value_goal(ints, work, first, f, part, target):
    """Set row `target` to what inductive inference adds to G under the beliefs of factor f from row `first` on."""
    if part != ALL_PARTS and part != INDUCTIVE_VALUE:
        fill(work, target, work.dtype.type(0))
        return
    weights = ints[plan.INDUCTIVE_ROW] + ints[ints[plan.STATE_START] + f]
    add_row_products(work, target, -1, weights, 1, first, 1, ints[ints[plan.NUM_STATES] + f])
