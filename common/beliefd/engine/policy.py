"""Policy evaluation: the negative expected free energy G of every policy of a tile.

G sums, over the steps of a policy and the modalities, expected preference (utility) and expected information gain about
hidden states: Parr, Pezzulo, Friston (2022), Active Inference, equation 4.10 and appendix B. All of it but the
entropy of the predicted observations is linear in the beliefs, and comes with the plan as one vector per modality.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.plan import CONTRACT, JOIN, MOVE, NODE_INTS, SUM, VALUE, VALUE_GIVEN
from beliefd.engine.rows import add_entropy, add_row_products, add_rows, multiply_rows, weigh_row, weigh_rows_by_rows
from beliefd.engine.tile import fill, predict_factor, weigh_rows


@inline
def evaluate_policies(ints, reals, work):
    """Set the score rows to G of each policy, given the beliefs of now and their joints."""
    _predict(ints, reals, work)
    node = ints[plan.NODES]
    fill(work, ints[plan.NEG_EFE_ROW], work.dtype.type(0))
    for _ in range(ints[plan.NUM_NODES]):
        before, adds = ints[plan.NEG_EFE_ROW] + ints[node], ints[node + 1]
        leaf, end = ints[node + 2], ints[node + 3]
        if leaf == end:
            add_rows(work, before + 1, before, adds)
        while leaf < end:
            score = ints[plan.SCORE_ROW] + ints[ints[plan.LEAF_POLICIES] + leaf]
            add_rows(work, score, before, adds)
            leaf += 1
        node += NODE_INTS


@inline
def _predict(ints, reals, work):
    """Do the operations of the plan: predict beliefs, and what a node with these beliefs adds to G."""
    at = ints[plan.OPERATIONS]
    for _ in range(ints[plan.NUM_OPERATIONS]):
        operation, target = ints[at], ints[at + 1]
        if operation == MOVE:
            predict_factor(ints, reals, work, ints[at + 2], target, ints[at + 3], ints[at + 4])
            at += 5
        elif operation == VALUE:
            _value_modality(ints, reals, work, ints[at + 2], ints[at + 3], target)
            at += 4
        elif operation == VALUE_GIVEN:
            _value_given(ints, work, ints[at + 2], ints[at + 3], ints[at + 4], target)
            at += 5
        elif operation == SUM:
            _add_rows(ints, work, target, at + 3, ints[at + 2])
            at += 3 + ints[at + 2]
        elif operation == JOIN:
            _join(ints, work, target, ints[at + 2], at + 3)
            at += 3 + ints[ints[plan.JOINT_ARITY] + ints[at + 2]]
        elif operation == CONTRACT:
            _contract(ints, reals, work, ints[at + 2], ints[at + 3], target)
            at += 4


@inline
def _add_rows(ints, work, target, rows, count):
    """Set row `target` to the sum of the rows ints[rows] .. ints[rows + count - 1], of which there are two or more."""
    add_rows(work, target, ints[rows], ints[rows + 1])
    for i in range(rows + 2, rows + count):
        add_rows(work, target, target, ints[i])


@inline
def _join(ints, work, target, j, offsets):
    """Set rows from `target` on to joint j of the beliefs that `offsets` points to."""
    arity = ints[ints[plan.JOINT_ARITY] + j]
    at = ints[plan.JOINT_INDEX] + ints[ints[plan.JOINT_INDEX_START] + j]
    for row in range(target, target + ints[ints[plan.JOINT_SIZE] + j]):
        multiply_rows(work, row, ints[at] + ints[offsets], ints[at + 1] + ints[offsets + 1])
        for i in range(2, arity):
            multiply_rows(work, row, row, ints[at + i] + ints[offsets + i])
        at += arity


@inline
def _value_modality(ints, reals, work, first, m, target):
    """Set row `target` to what modality m adds to G under the predicted joint from row `first` on."""
    linear = ints[plan.LINEAR] + ints[ints[plan.LINEAR_START] + m]
    weigh_row(work, target, reals, linear, ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]], first)
    if not ints[plan.USE_STATES_INFO_GAIN]:
        return
    predicted, count = ints[plan.OBSERVATION_ROW], ints[ints[plan.NUM_OBS] + m]
    pointer = ints[plan.A_ROWS] + ints[ints[plan.OBS_START] + m]
    width = ints[ints[plan.A_WIDTH] + m]
    weigh_rows(ints, reals, work, predicted, count, first, ints[plan.A_COLUMNS], ints[plan.A_VALUES], pointer, width)
    add_entropy(work, target, predicted, count)


@inline
def _contract(ints, reals, work, first, m, target):
    """Set rows from `target` on to A' of modality m and its linear part, given the joint from row `first` on."""
    count = ints[ints[plan.GIVEN_COUNT] + m] + ints[ints[plan.NUM_STATES] + ints[ints[plan.GIVEN_KEPT] + m]]
    pointer = ints[plan.GIVEN_ROWS] + ints[ints[plan.GIVEN_START] + m]
    columns, values = ints[plan.GIVEN_COLUMNS], ints[plan.GIVEN_VALUES]
    weigh_rows(ints, reals, work, target, count, first, columns, values, pointer, 0)


@inline
def _value_given(ints, work, first, m, given, target):
    """As `_value_modality`, with the beliefs of the kept factor from row `first` on, and A' from row `given` on."""
    linear = given + ints[ints[plan.GIVEN_COUNT] + m]
    states = ints[ints[plan.NUM_STATES] + ints[ints[plan.GIVEN_KEPT] + m]]
    add_row_products(work, target, -1, linear, 1, first, 1, states)
    if not ints[plan.USE_STATES_INFO_GAIN]:
        return
    predicted, count = ints[plan.OBSERVATION_ROW], ints[ints[plan.NUM_OBS] + m]
    entries = ints[plan.GIVEN_ENTRIES] + ints[ints[plan.OBS_START] + m]
    start = ints[entries]
    for o in range(count):
        at, end = ints[entries + o], ints[entries + o + 1]
        weigh_rows_by_rows(work, predicted + o, given + at - start, ints, ints[plan.GIVEN_STATES] + at, end - at, first)
    add_entropy(work, target, predicted, count)
