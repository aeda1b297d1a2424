"""Policy evaluation: the negative expected free energy G of every policy of a tile.

G sums, over the steps of a policy and the modalities, expected preference (utility) and expected information gain about
hidden states: Parr, Pezzulo, Friston (2022), Active Inference, equation 4.10 and appendix B. All of it but the
entropy of the predicted observations is linear in the beliefs, and comes with the plan as one vector per modality.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.induction import find_off_path, find_ways, value_goal
from beliefd.engine.jit import inline
from beliefd.engine.jointly import prepare_combined, value_jointly
from beliefd.engine.learning import prepare_own
from beliefd.engine.novelty import value_novelty_of_likelihood, value_novelty_of_transition
from beliefd.engine.plan import (
    ALL_PARTS,
    CONTRACT,
    INFO_GAIN,
    JOIN,
    MOVE,
    MOVE_OWN,
    NODE_INTS,
    SUM,
    UTILITY,
    VALUE,
    VALUE_GIVEN,
    VALUE_GOAL,
    VALUE_JOINTLY,
    VALUE_LIKELIHOOD,
    VALUE_OWN,
    VALUE_TRANSITION,
)
from beliefd.engine.rowmath import add_entropy
from beliefd.engine.rows import add_row_products, add_rows, multiply_rows, weigh_row, weigh_rows_by_rows
from beliefd.engine.tile import fill, predict_factor, weigh_rows
from beliefd.engine.together import move_together, predict_together


@inline
def evaluate_policies(ints, reals, work, part):
    """Set the score rows to a part of G of each policy, or all of it, given the beliefs of now and their joints."""
    if ints[plan.NUM_COUNTS] + ints[plan.NUM_PARAMETERS] > 0:
        prepare_own(ints, reals, work, part)
        prepare_combined(ints, reals, work)
        find_ways(ints, reals, work)
    evaluate_prepared(ints, reals, work, part, 0)


@inline
def evaluate_prepared(ints, reals, work, part, begun):
    """As `evaluate_policies`, where the rows of the agents' own A and B are up to date for this part.

    `begun` steps were taken before, for preferences that change over the steps.
    """
    if ints[plan.INDUCTIVE]:
        find_off_path(ints, reals, work)
    _predict(ints, reals, work, part, begun)
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
def _predict(ints, reals, work, part, begun):
    """Do the operations of the plan: predict beliefs, and what a node with these beliefs adds to G."""
    at = ints[plan.OPERATIONS]
    for _ in range(ints[plan.NUM_OPERATIONS]):
        operation, target = ints[at], ints[at + 1]
        if operation == MOVE:
            predict_factor(ints, reals, work, ints[at + 2], target, ints[at + 3], ints[at + 4])
            at += 5
        elif operation == VALUE:
            time = preference_time(ints, ints[at + 3], ints[at + 4] + begun)
            value_modality(ints, reals, work, ints[at + 2], ints[at + 3], time, part, target)
            at += 5
        elif operation == VALUE_GIVEN:
            time = preference_time(ints, ints[at + 3], ints[at + 4] + begun)
            value_given(ints, work, ints[at + 2], ints[at + 3], time, ints[at + 5], part, target)
            at += 6
        elif operation == VALUE_GOAL:
            value_goal(ints, work, ints[at + 2], ints[at + 3], part, target)
            at += 4
        elif operation == VALUE_JOINTLY:
            value_jointly(ints, reals, work, ints[at + 2], part, target)
            at += 3
        elif operation == VALUE_LIKELIHOOD:
            value_novelty_of_likelihood(ints, reals, work, ints[at + 2], ints[at + 3], part, target)
            at += 4
        elif operation == VALUE_TRANSITION:
            first, f, action, after = ints[at + 2], ints[at + 3], ints[at + 4], ints[at + 5]
            value_novelty_of_transition(ints, reals, work, first, f, action, after, part, target)
            at += 6
        elif operation == MOVE_OWN:
            move_together(ints, work, target, ints[at + 2], ints[at + 3], ints[at + 4], at + 5)
            at += 5 + ints[at + 2]
        elif operation == VALUE_OWN:
            count, time = ints[at + 2], preference_time(ints, ints[at + 3], ints[at + 4] + begun)
            value_together(ints, work, target, count, ints[at + 3], time, at + 5, part)
            at += 6 + count
        elif operation == SUM:
            _add_rows(ints, work, target, at + 3, ints[at + 2])
            at += 3 + ints[at + 2]
        elif operation == JOIN:
            _join(ints, work, target, ints[at + 2], at + 3)
            at += 3 + ints[ints[plan.JOINT_ARITY] + ints[at + 2]]
        elif operation == CONTRACT:
            _contract(ints, reals, work, ints[at + 2], ints[at + 3], part, target)
            at += 4


@inline
def preference_time(ints, m, time):
    """Which of the preferences of modality m hold at a step."""
    return min(time, ints[ints[plan.PREFERENCE_TIMES] + m] - 1)


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
def value_modality(ints, reals, work, first, m, time, part, target):
    """Set row `target` to what modality m adds to G under the predicted joint from row `first` on."""
    if part > INFO_GAIN:
        fill(work, target, work.dtype.type(0))
        return
    size, own_c = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]], ints[ints[plan.OWN_C] + m]
    set_ = _linear_part(own_c, part) * ints[ints[plan.PREFERENCE_TIMES] + m] + time
    weigh_row(work, target, reals, ints[plan.LINEAR] + ints[ints[plan.LINEAR_START] + m] + set_ * size, size, first)
    if own_c < 0 and (part == UTILITY or not ints[plan.USE_STATES_INFO_GAIN]):
        return
    predicted, count = ints[plan.OBSERVATION_ROW], ints[ints[plan.NUM_OBS] + m]
    pointer = ints[plan.A_ROWS] + ints[ints[plan.OBS_START] + m]
    width = ints[ints[plan.A_WIDTH] + m]
    weigh_rows(ints, reals, work, predicted, count, first, ints[plan.A_COLUMNS], ints[plan.A_VALUES], pointer, width)
    _value_observations(ints, work, m, own_c, time, part, predicted, target)


@inline
def _linear_part(own_c, part):
    """Which part of what is linear in the states' beliefs counts: without utility, where C is the agent's own."""
    return INFO_GAIN if own_c >= 0 and part == ALL_PARTS else part


@inline
def _value_observations(ints, work, m, own_c, time, part, predicted, target):
    """Add to row `target` what modality m's predicted observations, in rows from `predicted` on, add to G."""
    count = ints[ints[plan.NUM_OBS] + m]
    if own_c >= 0 and part == UTILITY:
        fill(work, target, work.dtype.type(0))
    if own_c >= 0 and part != INFO_GAIN and ints[plan.USE_UTILITY]:
        add_row_products(work, target, target, predicted, 1, own_c + time * count, 1, count)
    if part != UTILITY and ints[plan.USE_STATES_INFO_GAIN]:
        add_entropy(work, target, predicted, count)


@inline
def _contract(ints, reals, work, first, m, part, target):
    """Set rows from `target` on to A' of modality m and what is linear, given the joint from row `first` on."""
    if part > INFO_GAIN:
        return
    entries = ints[ints[plan.GIVEN_COUNT] + m]
    pointer = ints[plan.GIVEN_ROWS] + ints[ints[plan.GIVEN_START] + m]
    columns, values = ints[plan.GIVEN_COLUMNS], ints[plan.GIVEN_VALUES]
    weigh_rows(ints, reals, work, target, entries, first, columns, values, pointer, 0)
    states = ints[ints[plan.GIVEN_WIDTH] + m]
    linear = ints[ints[plan.PREFERENCE_TIMES] + m] * states
    pointer += entries + _linear_part(ints[ints[plan.OWN_C] + m], part) * linear
    weigh_rows(ints, reals, work, target + entries, linear, first, columns, values, pointer, 0)


@inline
def value_given(ints, work, first, m, time, given, part, target):
    """As `value_modality`, with A' from row `given` on and the beliefs of the factor that it keeps from `first` on.

    Or the agent's own A, and its whole joint.
    """
    if part > INFO_GAIN:
        fill(work, target, work.dtype.type(0))
        return
    states = ints[ints[plan.GIVEN_WIDTH] + m]
    linear = given + ints[ints[plan.GIVEN_COUNT] + m] + time * states
    add_row_products(work, target, -1, linear, 1, first, 1, states)
    own_c = ints[ints[plan.OWN_C] + m]
    if own_c < 0 and (part == UTILITY or not ints[plan.USE_STATES_INFO_GAIN]):
        return
    predicted, count = ints[plan.OBSERVATION_ROW], ints[ints[plan.NUM_OBS] + m]
    entries = ints[plan.GIVEN_ENTRIES] + ints[ints[plan.OBS_START] + m]
    start = ints[entries]
    for o in range(count):
        at, end = ints[entries + o], ints[entries + o + 1]
        weigh_rows_by_rows(work, predicted + o, given + at - start, ints, ints[plan.GIVEN_STATES] + at, end - at, first)
    _value_observations(ints, work, m, own_c, time, part, predicted, target)


@inline
def value_together(ints, work, target, count, m, time, sources, part):
    """Set `count` rows from `target` on to what modality m adds to G by the agents' own A; see `plan.VALUE_OWN`."""
    if part > INFO_GAIN:
        for p in range(count):
            fill(work, target + p, work.dtype.type(0))
        return
    observations, states = ints[ints[plan.NUM_OBS] + m], ints[ints[plan.GIVEN_WIDTH] + m]
    own, own_c = ints[sources + count], ints[ints[plan.OWN_C] + m]
    for p in range(count):
        linear = own + (observations + time) * states
        add_row_products(work, target + p, -1, linear, 1, ints[sources + p], 1, states)
    if own_c < 0 and (part == UTILITY or not ints[plan.USE_STATES_INFO_GAIN]):
        return
    predict_together(ints, work, count, m, own, sources)
    for p in range(count):
        predicted = ints[plan.OBSERVATION_ROW] + p * observations
        _value_observations(ints, work, m, own_c, time, part, predicted, target + p)
