"""Posterior over policies, and the selection of an action from it.

q_pi = softmax(gamma G + ln E); see Da Costa et al. (2020), J. Math. Psychol. 99, section 5. An action is that of
the best policy, or the best sum of policies by first action, or a draw from either.

Ties: values within a relative tolerance of the best count as equal to it, and the first of them is taken. A strict
maximum would be decided by rounding wherever policies tie. The profile "legacy" draws one of those whose probabilities
are within 1e-8, or that tolerance, of the best.

In all of this `choice` is int32 (LANES,), `agents` and `ticks` int64 (LANES,), and `tolerance` the row with what counts
as a tie.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

import numpy as np

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.occam import drop_policies, log_probabilities
from beliefd.engine.plan import LANES
from beliefd.engine.random import PURPOSE_ACTION, uniform
from beliefd.engine.rowmath import exp_rows, largest_of_rows, softmax_rows
from beliefd.engine.rows import add_rows
from beliefd.engine.tile import fill

_TIED = 1e-8
"""The difference of probabilities under which legacy takes them for tied."""

_WHOLE_POLICIES = np.int64(0)
"""Stands for the control in a draw of whole policies."""


@inline
def score_policies(ints, reals, work, tolerance):
    """Turn the score rows from G into gamma G + ln E, less the policies' evidence, and set the tolerance row.

    What Occam's window leaves out is far under the others then.
    """
    one = work.dtype.type(1)
    gamma, relative = reals[ints[plan.GAMMA]], reals[ints[plan.TOLERANCE]]
    first, count = ints[plan.SCORE_ROW], ints[plan.NUM_POLICIES]
    updated, own_e = ints[plan.PRECISION_ROW], ints[plan.OWN_E]
    own_gamma = updated if updated >= 0 else ints[plan.OWN_GAMMA]
    for p in range(count):
        log_e = reals[ints[plan.LOG_E] + p]
        if own_gamma < 0 and own_e < 0:
            for lane in range(LANES):
                work[first + p, lane] = gamma * work[first + p, lane] + log_e
        else:
            for lane in range(LANES):
                precision = work[own_gamma, lane] if own_gamma >= 0 else gamma
                habit = work[own_e + p, lane] if own_e >= 0 else log_e
                work[first + p, lane] = precision * work[first + p, lane] + habit
    if ints[plan.MESSAGES] == plan.PER_POLICY:
        for p in range(count):
            for lane in range(LANES):
                work[first + p, lane] -= work[ints[plan.EVIDENCE_ROW] + p, lane]
    largest = ints[plan.SPARE_ROW]
    largest_of_rows(work, largest, first, count)
    for lane in range(LANES):
        work[tolerance, lane] = relative * max(one, abs(work[largest, lane]))
    if reals[ints[plan.OCCAM_WINDOW]] > work.dtype.type(0):
        drop_policies(ints, reals, work, largest, tolerance)


@inline
def choose_best_policies(ints, work, tolerance, choice):
    """Choose the first of the best policies from the score rows before their softmax."""
    _choose_best(work, ints[plan.SCORE_ROW], ints[plan.NUM_POLICIES], tolerance, ints[plan.SPARE_ROW], choice)


@inline
def infer_policies(ints, work):
    """Turn the score rows into q_pi."""
    score = ints[plan.SCORE_ROW]
    softmax_rows(work, score, score, score, ints[plan.NUM_POLICIES])


@inline
def draw_policies(ints, reals, work, choice, seed, agents, ticks):
    """Choose policies by a draw from q_pi to the power alpha. The score rows lose their content."""
    first, count = ints[plan.SCORE_ROW], ints[plan.NUM_POLICIES]
    log_probabilities(ints, reals, work, first, count)
    _choose_drawn(ints, reals, work, first, count, choice, seed, agents, ticks, _WHOLE_POLICIES)


@inline
def take_first_actions(ints, choice, actions):
    """Set `actions`, int32 (controls, LANES), to the first actions of the chosen policies."""
    controls, first = ints[plan.NUM_CONTROL_FACTORS], ints[plan.FIRST_ACTIONS]
    for c in range(controls):
        for lane in range(LANES):
            actions[c, lane] = ints[first + choice[lane] * controls + c]


@inline
def choose_marginal_actions(ints, reals, work, tolerance, choice, actions, seed, agents, ticks):
    """Set `actions` control by control from the probability, under q_pi, of each of its first actions."""
    controls = ints[plan.NUM_CONTROL_FACTORS]
    first, score = ints[plan.MARGINAL_ROW], ints[plan.SCORE_ROW]
    for c in range(controls):
        if not ints[ints[plan.CONTROLLED] + c]:
            for lane in range(LANES):
                actions[c, lane] = 0
            continue
        count = ints[ints[plan.NUM_CONTROLS] + c]
        for row in range(first, first + count):
            fill(work, row, work.dtype.type(0))
        for p in range(ints[plan.NUM_POLICIES]):
            row = first + ints[ints[plan.FIRST_ACTIONS] + p * controls + c]
            add_rows(work, row, row, score + p)
        if ints[plan.RANDOM_TIES] and not ints[plan.STOCHASTIC]:
            _choose_tied(work, first, count, tolerance, ints[plan.SPARE_ROW], choice, seed, agents, ticks, c)
            for lane in range(LANES):
                actions[c, lane] = choice[lane]
            continue
        log_probabilities(ints, reals, work, first, count)
        if ints[plan.STOCHASTIC]:
            _choose_drawn(ints, reals, work, first, count, choice, seed, agents, ticks, c)
        else:
            _choose_best(work, first, count, tolerance, ints[plan.SPARE_ROW], choice)
        for lane in range(LANES):
            actions[c, lane] = choice[lane]


@inline
def _choose_best(work, first, count, tolerance, spare, choice):
    largest_of_rows(work, spare, first, count)
    for lane in range(LANES):
        work[spare, lane] -= work[tolerance, lane]
    # Downwards, so that the first of them is the last to be written.
    for i in range(count - 1, -1, -1):
        for lane in range(LANES):
            if work[first + i, lane] >= work[spare, lane]:
                choice[lane] = i


@inline
def _scale_rows(work, first, count, largest, factor):
    """Multiply by row `factor` what rows are above row `largest`, which becomes 0."""
    for row in range(first, first + count):
        for lane in range(LANES):
            work[row, lane] = work[factor, lane] * (work[row, lane] - work[largest, lane])
    fill(work, largest, work.dtype.type(0))


@inline
def choose_tied_policies(ints, work, tolerance, choice, seed, agents, ticks):
    """Choose one of the best policies from q_pi: a draw among those that are tied."""
    score, count, spare = ints[plan.SCORE_ROW], ints[plan.NUM_POLICIES], ints[plan.SPARE_ROW]
    _choose_tied(work, score, count, tolerance, spare, choice, seed, agents, ticks, _WHOLE_POLICIES)


@inline
def _choose_tied(work, first, count, tolerance, spare, choice, seed, agents, ticks, control):
    """Draw one of the rows whose probability is within 1e-8, or the tolerance, of the largest."""
    largest_of_rows(work, spare, first, count)
    for lane in range(LANES):
        work[spare, lane] -= max(work.dtype.type(_TIED), work[tolerance, lane] * work[spare, lane])
        tied = 0
        for i in range(count):
            tied += work[first + i, lane] >= work[spare, lane]
        left = np.int64(uniform(seed, agents[lane], ticks[lane], PURPOSE_ACTION, control) * tied)
        i = 0
        while work[first + i, lane] < work[spare, lane] or left > 0:
            left -= work[first + i, lane] >= work[spare, lane]
            i += 1
        choice[lane] = i


@inline
def _choose_drawn(ints, reals, work, first, count, choice, seed, agents, ticks, control):
    """Draw an index with weight exp(alpha times row); the rows lose their content."""
    alpha, largest = reals[ints[plan.ALPHA]], ints[plan.SPARE_ROW]
    largest_of_rows(work, largest, first, count)
    if ints[plan.OWN_ALPHA] >= 0:
        _scale_rows(work, first, count, largest, ints[plan.OWN_ALPHA])
        alpha = work.dtype.type(1)
    exp_rows(work, first, count, largest, alpha)
    for lane in range(LANES):
        total = 0.0
        for row in range(first, first + count):
            total += np.float64(work[row, lane])
        target = uniform(seed, agents[lane], ticks[lane], PURPOSE_ACTION, control) * total
        running = 0.0
        # Where rounding keeps the sum at or under the target, the last index with any weight is the one.
        chosen = 0
        for i in range(count):
            weight = np.float64(work[first + i, lane])
            if weight > 0.0:
                chosen = i
            running += weight
            if running > target:
                break
        choice[lane] = chosen
