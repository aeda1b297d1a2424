"""Operations on a tile: 64 agents in the columns of a scratch array, one row per state.

Every innermost loop runs over all lanes with a constant bound, so that LLVM vectorises it and no lane's result
depends on its place in the tile. `work` is the scratch, shape (rows, LANES), of the model's dtype.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.plan import LANES
from beliefd.engine.rows import add_row_products, multiply_rows, weigh_four_rows, weigh_row, weigh_some_rows


@inline
def fill(work, row, value):
    """Set a row to one value."""
    for lane in range(LANES):
        work[row, lane] = value


@inline
def weigh_rows(ints, reals, work, target, count, first, columns, values, pointer, width):
    """Set `count` rows from `target` on to sums of reals[values + i] times row first + ints[columns + i].

    i runs from ints[pointer] to ints[pointer + 1] for the first of them, and so on. Where `width` is not 0, all rows
    have that many entries, in the order of the columns.
    """
    row = 0
    if width > 0:
        at = values + ints[pointer]
        while row + 4 <= count:
            weigh_four_rows(work, target + row, reals, at + row * width, width, first)
            row += 4
        while row < count:
            weigh_row(work, target + row, reals, at + row * width, width, first)
            row += 1
        return
    while row < count:
        i = ints[pointer + row]
        entries = ints[pointer + row + 1] - i
        weigh_some_rows(work, target + row, reals, values + i, ints, columns + i, entries, first)
        row += 1


@inline
def multiply_joints(ints, work, mask):
    """Compute the joints in the mask from the beliefs of now."""
    factors = ints[plan.NUM_FACTORS]
    for j in range(factors, ints[plan.NUM_JOINTS]):
        if not (mask >> (j - factors)) & 1:
            continue
        arity = ints[ints[plan.JOINT_ARITY] + j]
        at = ints[plan.JOINT_INDEX] + ints[ints[plan.JOINT_INDEX_START] + j]
        first = ints[ints[plan.JOINT_ROW] + j]
        for target in range(first, first + ints[ints[plan.JOINT_SIZE] + j]):
            multiply_rows(work, target, ints[at], ints[at + 1])
            for i in range(at + 2, at + arity):
                multiply_rows(work, target, target, ints[i])
            at += arity


@inline
def predict_factor(ints, reals, work, parents, target, factor, action):
    """Move one factor's beliefs: rows from `target` on become B(action) times the joint of its parents."""
    states, own = ints[ints[plan.NUM_STATES] + factor], ints[ints[plan.OWN_B] + factor]
    if own >= 0:
        size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + factor]]
        for s in range(states):
            add_row_products(work, target + s, -1, own + (action * states + s) * size, 1, parents, 1, size)
        return
    pointer = ints[plan.B_ROWS] + ints[ints[plan.B_START] + factor] + action * states
    width = ints[ints[plan.B_WIDTH] + factor]
    weigh_rows(ints, reals, work, target, states, parents, ints[plan.B_COLUMNS], ints[plan.B_VALUES], pointer, width)
