"""Beliefs under each policy, about the past and what the policy leads to: the profiles "legacy" and "spm" with "mmp".

Marginal message passing (Parr, Markovic, Kiebel, Friston (2019), Sci. Rep. 9, 13889) as pymdp 0.0.7 and SPM have it,
one step and one factor after the other, `num_iter` times:

    err = c ln A_t + ln(B q_{t-1}) + ln(B~' q_{t+1}) - c ln q_t,    ln q_t <- ln q_t + (err - mean err) / 4

B is that of the action taken, or of the policy; B~ is normalised over the state that it starts from. c is 2, and 1 from
the last step but one on, where nothing comes back either. Before the first step stands the prior. Logarithms are of
x + 1e-16. Where factors depend on others, B is averaged over the beliefs about those, and what comes back is summed
over all factors that depend on this one. The evidence F of a policy is the sum of q . err / 2 of the last sweep, q
before its update, of which between the first step and the last (NF - 1)/NF ln A is left out.

Then q_pi = softmax(gamma G - F + ln E), G is summed over the beliefs from now to the end of the policy, and an agent's
beliefs are the average of those under its policies. Preferences that change over time begin with those of now; a path
to a goal begins at the likeliest state of now under the policy.

Steps are numbered as in `beliefd.engine.window`; those of a policy follow the present.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.induction import find_off_path, find_ways, value_goal
from beliefd.engine.jit import inline
from beliefd.engine.jointly import multiply_likelihoods, prepare_combined, value_jointly
from beliefd.engine.learning import prepare_own
from beliefd.engine.novelty import value_novelty_of_likelihood
from beliefd.engine.plan import LANES
from beliefd.engine.policy import preference_time, value_given, value_modality
from beliefd.engine.rowmath import RAISE, softmax_rows, write_raised_logs
from beliefd.engine.rows import add_row_products, add_rows
from beliefd.engine.sequence import (
    backward,
    beliefs_row,
    forward,
    joint_row,
    multiply_without,
    origin_row,
    outcome_row,
    sum_out_others,
    take_present,
    weight_row,
)
from beliefd.engine.tile import fill, multiply_joints
from beliefd.engine.window import load_beliefs, place_distributions

_RATE = 0.25


@inline
def start_from_prior(ints, reals, work, lanes, record, tick, from_start, records):
    """Set the base rows to the ln prior of the first step: D, or what was believed of the step that left the window."""
    base, states = ints[plan.BASE_ROW], ints[plan.TOTAL_STATES]
    load_beliefs(ints, work, lanes, record, tick, 1, base, records)
    for f in range(ints[plan.NUM_FACTORS]):
        start, own = ints[ints[plan.STATE_START] + f], ints[ints[plan.OWN_D] + f]
        for s in range(ints[ints[plan.NUM_STATES] + f]):
            for lane in range(LANES):
                if from_start[lane]:
                    of_model = reals[ints[plan.D] + start + s]
                    work[base + start + s, lane] = work[own + s, lane] if own >= 0 else of_model
    write_raised_logs(work, base, base, 1, states, work.dtype.type(RAISE))


@inline
def infer_under_policies(ints, reals, work, lanes, record, tick, first, seen, moved, places, earliest, records):
    """Set the beliefs under every policy, and the evidence rows. The base rows hold the ln prior of the first steps.

    `moved` has room for what policies do after what was done; other arguments as in `beliefd.engine.window`.
    """
    window, end = ints[plan.WINDOW], ints[plan.WINDOW] + ints[plan.FUTURE]
    factors, modalities = ints[plan.NUM_FACTORS], ints[plan.NUM_MODALITIES]
    for step in range(earliest, window):
        observed = seen[step * modalities : (step + 1) * modalities]
        place_distributions(ints, lanes, tick, step, observed, places, records)
        said, target = ints[plan.PREDICTION_ROW], _likelihood_row(ints, step)
        multiply_likelihoods(ints, reals, work, observed, records, lanes[record], places, target, said)
        if step > earliest:
            _find_reached(ints, reals, work, moved, step)
    for p in range(ints[plan.NUM_POLICIES]):
        for step in range(window, end):
            for f in range(factors):
                move = ints[ints[plan.MOVES_OF_POLICIES] + (p * ints[plan.FUTURE] + step - window) * factors + f]
                for lane in range(LANES):
                    moved[step * factors + f, lane] = move
            _find_reached(ints, reals, work, moved, step)
        _infer_under_policy(ints, reals, work, p, first, moved, earliest, end)


@inline
def _find_reached(ints, reals, work, moved, step):
    """Set what each next state of the transition to a step is reached from: the sum of its row of B.

    For factors with several parents it depends on beliefs, and is found where they are.
    """
    ones = joint_row(ints)
    for row in range(ones, ones + ints[plan.LARGEST_JOINT]):
        fill(work, row, work.dtype.type(1))
    for f in range(ints[plan.NUM_FACTORS]):
        if ints[ints[plan.B_JOINT] + f] < ints[plan.NUM_FACTORS]:
            _move(ints, reals, work, f, moved, step, ones, _reached_row(ints, step) + ints[ints[plan.STATE_START] + f])


@inline
def _move(ints, reals, work, f, moved, step, source, target):
    own = ints[ints[plan.OWN_B] + f]
    forward(ints, reals, work, f, moved, step, source, target, plan.FORWARD_START, plan.FORWARD_WIDTH, own, -1)


@inline
def _infer_under_policy(ints, reals, work, p, first, moved, earliest, end):
    evidence, zero = ints[plan.EVIDENCE_ROW] + p, work.dtype.type(0)
    for step in range(earliest, end):
        for f in range(ints[plan.NUM_FACTORS]):
            start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
            for s in range(start, start + states):
                fill(work, _believed_row(ints, p, step) + s, work.dtype.type(1) / work.dtype.type(states))
    for _ in range(ints[plan.NUM_ITER]):
        fill(work, evidence, zero)
        for step in range(earliest, end):
            for f in range(ints[plan.NUM_FACTORS]):
                _update(ints, reals, work, p, f, first, moved, step, earliest, end, evidence)


@inline
def _update(ints, reals, work, p, f, first, moved, step, earliest, end, evidence):
    """Move the beliefs about one factor at one step, and add what they say to the evidence."""
    start, states = ints[ints[plan.STATE_START] + f], ints[ints[plan.NUM_STATES] + f]
    believed = _believed_row(ints, p, step) + start
    late = step >= end - 2
    c = work.dtype.type(1 if late else 2)
    said, past, back = ints[plan.SAID_ROW], ints[plan.PAST_ROW], ints[plan.BACK_ROW]
    _expect_likelihood(ints, work, p, f, step, said)
    for s in range(states):
        fill(work, past + s, work.dtype.type(0))
    if step > earliest:
        before = _believed_row(ints, p, step - 1)
        joint = ints[ints[plan.B_JOINT] + f]
        if joint < ints[plan.NUM_FACTORS]:
            before += ints[ints[plan.STATE_START] + joint]
        else:
            multiply_without(ints, work, joint, before, -1, joint_row(ints))
            before = joint_row(ints)
        _move(ints, reals, work, f, moved, step, before, past)
        write_raised_logs(work, past, past, 1, states, work.dtype.type(RAISE))
    for s in range(states):
        for lane in range(LANES):
            if first[lane] == step:
                work[past + s, lane] = work[ints[plan.BASE_ROW] + start + s, lane]
    returned = False
    if not late:
        for child in range(ints[plan.NUM_FACTORS]):
            returned = _return_from_next(ints, reals, work, p, f, child, moved, step, back, returned)
    if not returned:
        for s in range(states):
            fill(work, back + s, work.dtype.type(0))
    logs = ints[plan.MESSAGE_ROW] + start
    write_raised_logs(work, logs, believed, 1, states, work.dtype.type(RAISE))
    mean, weight = ints[plan.SPARE_ROW], ints[plan.SPARE_ROW] + 1
    fill(work, mean, work.dtype.type(0))
    fill(work, weight, work.dtype.type(0))
    share = work.dtype.type((ints[plan.NUM_FACTORS] - 1) / ints[plan.NUM_FACTORS])
    half = work.dtype.type(0.5)
    for s in range(states):
        for lane in range(LANES):
            inner = first[lane] != step and step != end - 1
            error = c * work[said + s, lane] + work[past + s, lane] + work[back + s, lane] - c * work[logs + s, lane]
            left_out = share * work[said + s, lane] if inner else work.dtype.type(0)
            work[weight, lane] += work[believed + s, lane] * half * (error - left_out)
            work[mean, lane] += error
            work[back + s, lane] = error
    rate, count = work.dtype.type(_RATE), work.dtype.type(states)
    for lane in range(LANES):
        work[evidence, lane] += work[weight, lane] if first[lane] <= step else work.dtype.type(0)
    for s in range(states):
        for lane in range(LANES):
            work[logs + s, lane] += rate * (work[back + s, lane] - work[mean, lane] / count)
    softmax_rows(work, logs, logs, believed, states)


@inline
def _expect_likelihood(ints, work, p, f, step, target):
    """Set rows to the logarithm of what the observations of a step say of factor f, on average over the others."""
    states = ints[ints[plan.NUM_STATES] + f]
    for s in range(states):
        fill(work, target + s, work.dtype.type(0))
    if step >= ints[plan.WINDOW]:
        return
    joint, beliefs = ints[plan.EVERY_STATE], _believed_row(ints, p, step)
    arity = ints[ints[plan.JOINT_ARITY] + joint]
    at = ints[plan.JOINT_INDEX] + ints[ints[plan.JOINT_INDEX_START] + joint]
    start, product = ints[ints[plan.STATE_START] + f], ints[plan.SPARE_ROW]
    for k in range(ints[ints[plan.JOINT_SIZE] + joint]):
        for lane in range(LANES):
            work[product, lane] = work[_likelihood_row(ints, step) + k, lane]
        for i in range(arity):
            if i != f:
                for lane in range(LANES):
                    work[product, lane] *= work[beliefs + ints[at + i], lane]
        row = target + ints[at + f] - start
        add_rows(work, row, row, product)
        at += arity
    write_raised_logs(work, target, target, 1, states, work.dtype.type(RAISE))


@inline
def _return_from_next(ints, reals, work, p, f, child, moved, step, target, returned):
    """Add to rows the logarithm of what the beliefs about the next step of a factor say of factor f at this one.

    Nothing where it does not depend on f. `returned` is whether there is anything in these rows; what is now, is
    returned.
    """
    joint, own = ints[ints[plan.B_JOINT] + child], ints[ints[plan.OWN_B] + child]
    arity, members = ints[ints[plan.JOINT_ARITY] + joint], ints[ints[plan.JOINT_FACTORS_START] + joint]
    place = 0
    while place < arity and ints[ints[plan.JOINT_FACTORS] + members + place] != f:
        place += 1
    if place == arity:
        return returned
    following = _believed_row(ints, p, step + 1) + ints[ints[plan.STATE_START] + child]
    reached = _reached_row(ints, step + 1) + ints[ints[plan.STATE_START] + child]
    others, origin, outcome = joint_row(ints), origin_row(ints), outcome_row(ints)
    if arity > 1:
        multiply_without(ints, work, joint, _believed_row(ints, p, step), place, others)
        _move(ints, reals, work, child, moved, step + 1, others, outcome)
        reached = outcome
    states, weights, total = ints[ints[plan.NUM_STATES] + f], weight_row(ints, child), ints[plan.SPARE_ROW]
    tiny = work.dtype.type(RAISE)
    fill(work, total, work.dtype.type(0))
    for s in range(ints[ints[plan.NUM_STATES] + child]):
        for lane in range(LANES):
            raised = work[reached + s, lane] + tiny * work.dtype.type(states)
            work[weights + s, lane] = work[following + s, lane] / raised
            work[total, lane] += tiny * work[weights + s, lane]
    backward(ints, reals, work, child, moved, step + 1, weights, origin, own)
    if arity > 1:
        sum_out_others(ints, work, joint, place, others, origin, outcome)
        origin = outcome
    for s in range(states):
        add_rows(work, origin + s, origin + s, total)
    write_raised_logs(work, origin if returned else target, origin, 1, states, tiny)
    if returned:
        for s in range(states):
            add_rows(work, target + s, target + s, origin + s)
    return True


@inline
def evaluate_under_policies(ints, reals, work, part):
    """Set the score rows to a part of G of each policy, or all of it, from the beliefs under it.

    The beliefs of now, and their joints, are overwritten.
    """
    if ints[plan.NUM_COUNTS] + ints[plan.NUM_PARAMETERS] > 0:
        prepare_own(ints, reals, work, part)
        prepare_combined(ints, reals, work)
        find_ways(ints, reals, work)
    adds, now = ints[plan.SPARE_ROW] + 2, ints[plan.WINDOW] - 1
    for p in range(ints[plan.NUM_POLICIES]):
        score = ints[plan.SCORE_ROW] + p
        fill(work, score, work.dtype.type(0))
        for step in range(now, ints[plan.WINDOW] + ints[plan.FUTURE]):
            believed = _believed_row(ints, p, step)
            for s in range(ints[plan.TOTAL_STATES]):
                for lane in range(LANES):
                    work[s, lane] = work[believed + s, lane]
            multiply_joints(ints, work, ints[plan.ALL_JOINTS])
            for m in range(ints[plan.NUM_MODALITIES]):
                joint, own = ints[ints[plan.JOINT_ROW] + ints[ints[plan.A_JOINT] + m]], ints[ints[plan.OWN_A] + m]
                time = preference_time(ints, m, step - now)
                if own >= 0:
                    value_given(ints, work, joint, m, time, own, part, adds)
                else:
                    value_modality(ints, reals, work, joint, m, time, part, adds)
                add_rows(work, score, score, adds)
                if ints[ints[plan.OWN_NOVELTY_A] + m] >= 0 or ints[ints[plan.NOVELTY_A] + m] >= 0:
                    value_novelty_of_likelihood(ints, reals, work, joint, m, part, adds)
                    add_rows(work, score, score, adds)
            if ints[plan.NUM_COMBINATIONS] > 0:
                value_jointly(ints, reals, work, ints[ints[plan.JOINT_ROW] + ints[plan.EVERY_STATE]], part, adds)
                add_rows(work, score, score, adds)
            if ints[plan.INDUCTIVE]:
                _value_goals(ints, reals, work, step == now, part, score)


@inline
def _value_goals(ints, reals, work, is_now, part, score):
    """Find what is off the path to the goal from the beliefs of now; or add what that says of those of a later step."""
    if is_now:
        find_off_path(ints, reals, work)
        return
    adds = ints[plan.SPARE_ROW] + 2
    for f in range(ints[plan.NUM_FACTORS]):
        if ints[ints[plan.GOAL_START] + f] >= 0:
            value_goal(ints, work, ints[ints[plan.STATE_START] + f], f, part, adds)
            add_rows(work, score, score, adds)


@inline
def average_over_policies(ints, work, free_energy_row):
    """Set the beliefs of the window's steps, and of now, to their average over policies; the score rows hold q_pi.

    The variational free energy is the average of the evidence.
    """
    score, policies = ints[plan.SCORE_ROW], ints[plan.NUM_POLICIES]
    add_row_products(work, free_energy_row, -1, score, 1, ints[plan.EVIDENCE_ROW], 1, policies)
    apart = _believed_row(ints, 1, 0) - _believed_row(ints, 0, 0)
    for step in range(ints[plan.WINDOW]):
        for s in range(ints[plan.TOTAL_STATES]):
            first = _believed_row(ints, 0, step) + s
            add_row_products(work, beliefs_row(ints, step) + s, -1, score, 1, first, apart, policies)
    take_present(ints, work)


@inline
def _likelihood_row(ints, step):
    """The first row of the likelihood of a step's observations, per state of all factors."""
    return ints[plan.CONDITIONED_ROW] + step * ints[ints[plan.JOINT_SIZE] + ints[plan.EVERY_STATE]]


@inline
def _reached_row(ints, step):
    return ints[plan.REACHED_ROW] + step * ints[plan.TOTAL_STATES]


@inline
def _believed_row(ints, p, step):
    """The first row of the beliefs about a step under policy p."""
    steps = ints[plan.WINDOW] + ints[plan.FUTURE]
    return ints[plan.BELIEVED_ROW] + (p * steps + step) * ints[plan.TOTAL_STATES]
