"""Sophisticated inference: a tree over actions and observations, for all agents of a tile at once.

A belief branches into actions, an action into what could then be observed, and that into the beliefs after it: Friston
et al. (2021), Sophisticated inference, Neural Computation 33(3). An action is worth its own step and the average of
what follows its observations; a belief is worth the average of its actions under softmax(gamma times their worth).
What is at most as probable as 1/16 is not followed. The tree is deepened one step at a time, and after each step the
actions that have become improbable are cut off for good; when a root's choice is clear, its search ends.

Memory is that of one path: a level of scratch per depth holds one belief and its actions. A belief is searched to depth
1, 2, .. in turn, from the one before it anew; with many branches the last of these is nearly all of the work. All lanes
walk through the tree together. A lane takes part in a branch with the probability that it gives it, and where that is
cut with 0: it goes through the motions, and adds nothing. So no lane's result depends on the others.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

import numpy as np

from beliefd.engine import plan
from beliefd.engine.imagined import (
    choose_softly,
    copy_rows,
    predict_observations,
    predict_states,
    prepare_search,
    restore,
    result_row,
)
from beliefd.engine.jit import allocating, inline
from beliefd.engine.jointly import imagine_jointly, infer_present
from beliefd.engine.learning import prepare_own
from beliefd.engine.perception import log_priors
from beliefd.engine.plan import ALL_PARTS, LANES, PARTS
from beliefd.engine.policy import evaluate_prepared
from beliefd.engine.rowmath import add_entropy, add_log_row
from beliefd.engine.rows import add_row_products
from beliefd.engine.tile import fill

PRUNE = 1.0 / 16.0
"""At or under this probability an imagined action or observation is not followed."""

_CLEAR = 0.5
"""The entropy of a root's actions, in nats, at or under which its search ends."""

_PENALTY = 512.0
"""What an action is worth below zero that is cut, or that nothing probable follows."""

_STEPS, _PASS, _POLICY, _MODALITY, _CHOSEN = range(5)
"""Of a level on the path: how many steps deep it is searched, how many this pass goes, the action, the modality whose
observation is counted (-1: none), and from there on per modality the observation."""


@allocating
def search_tree(ints, reals, work, told):
    """Set the result rows to what each policy of one step is worth, given the beliefs of now and their joints.

    These are as before afterwards. The result rows of parts of G up to number `told` are set too: what is told of an
    action follows from its followers as all that it is worth does, with the same probabilities.
    """
    prepare_search(ints, reals, work)
    path = np.empty((ints[plan.TREE_DEPTH], _CHOSEN + ints[plan.NUM_MODALITIES]), dtype=np.int64)
    root = ints[plan.TREE_ROW]
    fill(work, _active(ints, root), work.dtype.type(1))
    depth = 0
    _begin(ints, reals, work, path, depth, ints[plan.TREE_DEPTH], told)
    while depth >= 0:
        if _go_on(ints, reals, work, path, depth, told):
            depth += 1
            _begin(ints, reals, work, path, depth, path[depth - 1, _PASS] - 1, told)
        else:
            depth -= 1
            if depth >= 0:
                _add_worth(ints, work, root + depth * ints[plan.LEVEL_ROWS], path[depth, _POLICY], told)
    restore(ints, work, root, ints[plan.ALL_JOINTS])


# Where the parts of a level stand that begins at row `level`. What is there per part of G is that of all of it first.


@inline
def _following(ints, level):
    return level + ints[plan.TOTAL_STATES]


@inline
def _observations(ints, level):
    return level + 2 * ints[plan.TOTAL_STATES]


@inline
def _partial(ints, level):
    m = ints[plan.NUM_MODALITIES] - 1
    return _observations(ints, level) + ints[ints[plan.OBS_START] + m] + ints[ints[plan.NUM_OBS] + m]


@inline
def _active(ints, level):
    return _partial(ints, level) + ints[plan.NUM_MODALITIES] + 1


@inline
def _worth(ints, level):
    return _active(ints, level) + 1


@inline
def _alive(ints, level):
    return _worth(ints, level) + PARTS


@inline
def _followed(ints, level):
    return _alive(ints, level) + ints[plan.NUM_POLICIES]


@inline
def _own_step(ints, level, part):
    return _followed(ints, level) + (1 + part) * ints[plan.NUM_POLICIES]


@inline
def _values(ints, level, part):
    return _own_step(ints, level, PARTS + part)


@inline
def _any(work, row):
    """Whether a row is not zero in any lane."""
    largest = work[row, 0]
    for lane in range(1, LANES):
        largest = max(largest, work[row, lane])
    return largest > work.dtype.type(0)


@inline
def _begin(ints, reals, work, path, depth, steps, told):
    """Begin to search the belief of now this many steps deep, in the lanes that its level has as active."""
    level = ints[plan.TREE_ROW] + depth * ints[plan.LEVEL_ROWS]
    copy_rows(work, level, 0, ints[plan.TOTAL_STATES])
    _expand(ints, reals, work, level, depth, told)
    path[depth, _STEPS] = steps
    path[depth, _PASS] = 0
    path[depth, _POLICY] = ints[plan.NUM_POLICIES]
    path[depth, _MODALITY] = -1


@inline
def _go_on(ints, reals, work, path, depth, told):
    """Go on with the search of a level until it has to wait for the belief of now; False where it ended.

    Every pass goes through all actions that are alive, and is a step deeper than the one before it.
    """
    level, policies = ints[plan.TREE_ROW] + depth * ints[plan.LEVEL_ROWS], ints[plan.NUM_POLICIES]
    while not _next_observations(ints, reals, work, path, depth, level):
        p = path[depth, _POLICY] + 1
        while p < policies and not _any(work, _alive(ints, level) + p):
            p += 1
        if p >= policies:
            if path[depth, _PASS] > 0:
                _back_up(ints, reals, work, level, told)
                if depth == 0:
                    _close(ints, reals, work, level, told)
            if path[depth, _PASS] == path[depth, _STEPS] or not _any(work, _active(ints, level)):
                return False
            path[depth, _PASS] += 1
            path[depth, _POLICY] = -1
            for row in range(_values(ints, level, ALL_PARTS), _values(ints, level, told + 1)):
                fill(work, row, work.dtype.type(0))
            continue
        path[depth, _POLICY] = p
        _take_action(ints, reals, work, level, p)
        if path[depth, _PASS] == 1:
            _look_ahead(ints, reals, work, level, p)
        else:
            path[depth, _MODALITY] = 0
            path[depth, _CHOSEN] = -1
    return True


@inline
def _next_observations(ints, reals, work, path, depth, level):
    """Set the beliefs of now to those after the action and the next observations that are probable in any lane.

    Counts through the observations of the modalities, the last one fastest, and leaves out what is cut. False where
    there are no more.
    """
    m = path[depth, _MODALITY]
    while m >= 0:
        path[depth, _CHOSEN + m] += 1
        o = path[depth, _CHOSEN + m]
        if o == ints[ints[plan.NUM_OBS] + m]:
            m -= 1
        elif _imagine(ints, reals, work, level, m, o):
            if m == ints[plan.NUM_MODALITIES] - 1:
                path[depth, _MODALITY] = m
                _observe(ints, reals, work, level, path, depth)
                return True
            m += 1
            path[depth, _CHOSEN + m] = -1
    path[depth, _MODALITY] = -1
    return False


@inline
def _expand(ints, reals, work, level, depth, told):
    """Evaluate the own step of every action, and let live those that are probable by it."""
    # All of G comes last: its scores are what actions live by, and what is prepared for it stays.
    zero, one = work.dtype.type(0), work.dtype.type(1)
    policies, score = ints[plan.NUM_POLICIES], ints[plan.SCORE_ROW]
    threshold = work.dtype.type(PRUNE) * (one + reals[ints[plan.TOLERANCE]])
    for part in range(told, ALL_PARTS - 1, -1):
        if (depth == 0 or told > ALL_PARTS) and ints[plan.NUM_COUNTS] + ints[plan.NUM_PARAMETERS] > 0:
            prepare_own(ints, reals, work, part)
        evaluate_prepared(ints, reals, work, part, depth)
        copy_rows(work, _own_step(ints, level, part), score, policies)
    choose_softly(ints, reals, work, score)
    alive, active, followed = _alive(ints, level), _active(ints, level), _followed(ints, level)
    for p in range(policies):
        fill(work, followed + p, zero)
        for lane in range(LANES):
            probable = work[score + p, lane] > threshold
            work[alive + p, lane] = work[active, lane] if probable else zero


@inline
def _take_action(ints, reals, work, level, p):
    """Set the level's rows of what follows action p: beliefs, and the probabilities of observations.

    The rows of now are the same beliefs, with their joints.
    """
    restore(ints, work, level, ints[plan.TRANSITION_JOINTS])
    following = _following(ints, level)
    predict_states(ints, reals, work, following, p)
    restore(ints, work, following, ints[plan.ALL_JOINTS])
    predict_observations(ints, reals, work, _observations(ints, level))
    # A lane takes part in what follows an action that is alive in it.
    partial, alive = _partial(ints, level), _alive(ints, level) + p
    copy_rows(work, partial, alive, 1)
    log_priors(ints, work, following, following)


@inline
def _look_ahead(ints, reals, work, level, p):
    """Mark the lanes in which anything probable follows action p. One step deep, that is all there is to know."""
    zero, one = work.dtype.type(0), work.dtype.type(1)
    partial, followed = _partial(ints, level), _followed(ints, level) + p
    for m in range(ints[plan.NUM_MODALITIES]):
        first = _observations(ints, level) + ints[ints[plan.OBS_START] + m]
        fill(work, followed, zero)
        for row in range(first, first + ints[ints[plan.NUM_OBS] + m]):
            for lane in range(LANES):
                work[followed, lane] = max(work[followed, lane], work[row, lane])
        for lane in range(LANES):
            work[partial, lane] *= work[followed, lane]
    threshold = work.dtype.type(PRUNE) * (one + reals[ints[plan.TOLERANCE]])
    for lane in range(LANES):
        work[followed, lane] = one if work[partial, lane] > threshold else zero


@inline
def _imagine(ints, reals, work, level, m, o):
    """Set how probable what is imagined is with observation o of modality m; whether it is probable in any lane."""
    zero, one = work.dtype.type(0), work.dtype.type(1)
    threshold = work.dtype.type(PRUNE) * (one + reals[ints[plan.TOLERANCE]])
    before = _partial(ints, level) + m
    row = _observations(ints, level) + ints[ints[plan.OBS_START] + m] + o
    for lane in range(LANES):
        probability = work[before, lane] * work[row, lane]
        work[before + 1, lane] = probability if probability > threshold else zero
    return _any(work, before + 1)


@inline
def _observe(ints, reals, work, level, path, depth):
    """Set the beliefs of now to those after an action and the observations chosen, and activate the next level."""
    zero, one = work.dtype.type(0), work.dtype.type(1)
    modalities, base = ints[plan.NUM_MODALITIES], ints[plan.BASE_ROW]
    probability, active = _partial(ints, level) + modalities, _active(ints, level + ints[plan.LEVEL_ROWS])
    for lane in range(LANES):
        work[active, lane] = one if work[probability, lane] > zero else zero
    copy_rows(work, base, _following(ints, level), ints[plan.TOTAL_STATES])
    if ints[plan.TOGETHER]:
        _imagine_jointly(ints, reals, work, path, depth)
    else:
        _add_what_is_seen(ints, reals, work, path, depth)
    infer_present(ints, work)


@allocating
def _imagine_jointly(ints, reals, work, path, depth):
    """Add what the observations chosen say, all modalities together."""
    seen = np.empty((ints[plan.NUM_MODALITIES], LANES), dtype=np.int64)
    for m in range(ints[plan.NUM_MODALITIES]):
        for lane in range(LANES):
            seen[m, lane] = path[depth, _CHOSEN + m]
    imagine_jointly(ints, reals, work, seen)


@inline
def _add_what_is_seen(ints, reals, work, path, depth):
    """Add to the base and likelihood rows what the observations chosen say, each modality by itself."""
    modalities, base, zero = ints[plan.NUM_MODALITIES], ints[plan.BASE_ROW], work.dtype.type(0)
    for row in range(ints[plan.LIKELIHOOD_ROW], ints[plan.INDUCTIVE_ROW]):
        fill(work, row, zero)
    for m in range(modalities):
        joint = ints[ints[plan.A_JOINT] + m]
        size, own = ints[ints[plan.JOINT_SIZE] + joint], ints[ints[plan.OWN_A] + m]
        log_a = ints[plan.LOG_A] + ints[ints[plan.LOG_A_START] + m] + path[depth, _CHOSEN + m] * size
        if joint < ints[plan.NUM_FACTORS]:
            target = base + ints[ints[plan.STATE_START] + joint]
        else:
            target = ints[plan.LIKELIHOOD_ROW] + ints[ints[plan.JOINT_LIKELIHOOD] + joint]
        for k in range(size):
            if own >= 0:
                add_log_row(work, target + k, own + path[depth, _CHOSEN + m] * size + k)
            else:
                said = reals[log_a + k]
                for lane in range(LANES):
                    work[target + k, lane] += said


@inline
def _add_worth(ints, work, level, p, told):
    """Add the next level's worth to what action p is worth, as much as it is probable."""
    probability = _partial(ints, level) + ints[plan.NUM_MODALITIES]
    for part in range(told + 1):
        worth, value = _worth(ints, level + ints[plan.LEVEL_ROWS]) + part, _values(ints, level, part) + p
        for lane in range(LANES):
            work[value, lane] += work[probability, lane] * work[worth, lane]


@inline
def _back_up(ints, reals, work, level, told):
    """Set what the actions are worth and what their belief is; then cut the actions that turned out improbable."""
    zero, one = work.dtype.type(0), work.dtype.type(1)
    policies, score, worth = ints[plan.NUM_POLICIES], ints[plan.SCORE_ROW], _worth(ints, level)
    threshold = work.dtype.type(PRUNE) * (one - reals[ints[plan.TOLERANCE]])
    alive, followed = _alive(ints, level), _followed(ints, level)
    for part in range(told + 1):
        own, values = _own_step(ints, level, part), _values(ints, level, part)
        nothing = work.dtype.type(-_PENALTY if part == ALL_PARTS else 0.0)
        for p in range(policies):
            for lane in range(LANES):
                grows = work[alive + p, lane] * work[followed + p, lane] > zero
                value = work[values + p, lane] + work[own + p, lane]
                work[values + p, lane] = value if grows else nothing
    copy_rows(work, score, _values(ints, level, ALL_PARTS), policies)
    choose_softly(ints, reals, work, score)
    for part in range(told + 1):
        add_row_products(work, worth + part, -1, score, 1, _values(ints, level, part), 1, policies)
    for p in range(policies):
        for lane in range(LANES):
            work[alive + p, lane] = zero if work[score + p, lane] < threshold else work[alive + p, lane]


@inline
def _close(ints, reals, work, root, told):
    """Keep what the root's actions are worth where its search goes on, and end it where its choice is clear.

    The score rows hold their probabilities.
    """
    zero = work.dtype.type(0)
    policies, active, alive = ints[plan.NUM_POLICIES], _active(ints, root), _alive(ints, root)
    entropy = ints[plan.SPARE_ROW]
    for part in range(told + 1):
        result, values = result_row(ints, part), _values(ints, root, part)
        for p in range(policies):
            for lane in range(LANES):
                kept = work[active, lane] == zero
                work[result + p, lane] = work[result + p, lane] if kept else work[values + p, lane]
    fill(work, entropy, zero)
    add_entropy(work, entropy, ints[plan.SCORE_ROW], policies)
    for lane in range(LANES):
        work[active, lane] = zero if work[entropy, lane] <= work.dtype.type(_CLEAR) else work[active, lane]
    for p in range(policies):
        for lane in range(LANES):
            work[alive + p, lane] *= work[active, lane]
