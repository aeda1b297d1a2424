"""Operations on a tile: 64 agents in the columns of a scratch array, one row per state.

Every innermost loop runs over all lanes with a constant bound, so that LLVM vectorises it and no lane's result
depends on its place in the tile. `work` is the scratch, shape (rows, LANES), of the model's dtype.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.plan import LANES
from beliefd.engine.vectormath import exp


@inline
def fill(work, row, value):
    """Set a row to one value."""
    for lane in range(LANES):
        work[row, lane] = value


@inline
def weigh_rows(ints, reals, work, target, count, first, columns, values, pointer):
    """Set `count` rows from `target` on to sparse sums: of reals[values + i] times row first + ints[columns + i].

    i runs from ints[pointer] to ints[pointer + 1] for the first of them, and so on. A pass over the target costs as
    much as one over a source, so a pass takes four sources, and the first one what is over.
    """
    for row in range(target, target + count):
        i, end = ints[pointer], ints[pointer + 1]
        pointer += 1
        over = (end - i) % 4
        if over == 0:
            fill(work, row, work.dtype.type(0))
        elif over == 1:
            a, u = first + ints[columns + i], reals[values + i]
            for lane in range(LANES):
                work[row, lane] = u * work[a, lane]
        else:
            # With two sources the third is the second again, at no weight.
            last = i + over - 1
            a, b, c = first + ints[columns + i], first + ints[columns + i + 1], first + ints[columns + last]
            u, v, w = reals[values + i], reals[values + i + 1], reals[values + last]
            if over == 2:
                w = work.dtype.type(0)
            for lane in range(LANES):
                work[row, lane] = u * work[a, lane] + v * work[b, lane] + w * work[c, lane]
        i += over
        while i < end:
            a, b = first + ints[columns + i], first + ints[columns + i + 1]
            c, d = first + ints[columns + i + 2], first + ints[columns + i + 3]
            u, v, w, x = reals[values + i], reals[values + i + 1], reals[values + i + 2], reals[values + i + 3]
            for lane in range(LANES):
                work[row, lane] += u * work[a, lane] + v * work[b, lane] + w * work[c, lane] + x * work[d, lane]
            i += 4


@inline
def weigh_all_rows(reals, work, target, first, values, count):
    """As `weigh_rows`, with `count` adjacent rows and values."""
    u = reals[values]
    for lane in range(LANES):
        work[target, lane] = u * work[first, lane]
    i = 1
    while i + 4 <= count:
        a = first + i
        u, v, w, x = reals[values + i], reals[values + i + 1], reals[values + i + 2], reals[values + i + 3]
        for lane in range(LANES):
            work[target, lane] += (
                u * work[a, lane] + v * work[a + 1, lane] + w * work[a + 2, lane] + x * work[a + 3, lane]
            )
        i += 4
    while i < count:
        a, u = first + i, reals[values + i]
        for lane in range(LANES):
            work[target, lane] += u * work[a, lane]
        i += 1


@inline
def multiply_joints(ints, work, block, mask):
    """Compute the joints in the mask from the beliefs of the block that begins at row `block`."""
    factors = ints[plan.NUM_FACTORS]
    for j in range(factors, ints[plan.NUM_JOINTS]):
        if not (mask >> (j - factors)) & 1:
            continue
        arity = ints[ints[plan.JOINT_ARITY] + j]
        at = ints[plan.JOINT_INDEX] + ints[ints[plan.JOINT_INDEX_START] + j]
        first = block + ints[ints[plan.JOINT_ROW] + j]
        for target in range(first, first + ints[ints[plan.JOINT_SIZE] + j]):
            a, b = block + ints[at], block + ints[at + 1]
            for lane in range(LANES):
                work[target, lane] = work[a, lane] * work[b, lane]
            for i in range(at + 2, at + arity):
                c = block + ints[i]
                for lane in range(LANES):
                    work[target, lane] *= work[c, lane]
            at += arity


@inline
def predict_factor(ints, reals, work, source, target, factor, action):
    """Move one factor's beliefs: rows from `target` on become B(action) times the parents of the block at `source`."""
    parents = source + ints[ints[plan.JOINT_ROW] + ints[ints[plan.B_JOINT] + factor]]
    states = ints[ints[plan.NUM_STATES] + factor]
    pointer = ints[plan.B_ROWS] + ints[ints[plan.B_START] + factor] + action * states
    weigh_rows(ints, reals, work, target, states, parents, ints[plan.B_COLUMNS], ints[plan.B_VALUES], pointer)


@inline
def maximum_of_rows(work, first, count, target):
    """Set row `target` to the maximum of `count` rows from `first` on."""
    for lane in range(LANES):
        work[target, lane] = work[first, lane]
    for row in range(first + 1, first + count):
        for lane in range(LANES):
            work[target, lane] = max(work[target, lane], work[row, lane])


@inline
def softmax(work, first, target, count, spare):
    """Write the softmax of `count` rows from `first` on to those from `target` on; uses three rows from `spare` on.

    The source rows lose their content. The same rows may be source and target.

    Returns
    -------
    bool
        Whether any bit of the target changed in any lane; of no meaning where source and target are the same.
    """
    zero, one = work.dtype.type(0), work.dtype.type(1)
    total, change = spare + 1, spare + 2
    maximum_of_rows(work, first, count, spare)
    fill(work, total, zero)
    fill(work, change, zero)
    for row in range(first, first + count):
        for lane in range(LANES):
            e = exp(work[row, lane] - work[spare, lane])
            work[row, lane] = e
            work[total, lane] += e
    for lane in range(LANES):
        work[total, lane] = one / work[total, lane]
    for i in range(count):
        for lane in range(LANES):
            q = work[first + i, lane] * work[total, lane]
            # Two distinct floats have a nonzero difference, so the sum of its magnitude tells what bits would.
            work[change, lane] += abs(q - work[target + i, lane])
            work[target + i, lane] = q
    largest = zero
    for lane in range(LANES):
        largest = max(largest, work[change, lane])
    return largest > zero
