"""What agents do: policies evaluated as the model's planner does it, and actions by what they are worth."""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.action import (
    choose_best_policies,
    choose_marginal_actions,
    choose_tied_policies,
    draw_policies,
    infer_policies,
    score_policies,
    take_first_actions,
)
from beliefd.engine.conditioned import average_over_policies, evaluate_under_policies
from beliefd.engine.habits import keep_policies
from beliefd.engine.imagined import copy_rows, result_row
from beliefd.engine.jit import inline
from beliefd.engine.lanes import ITEM, RECORD, TICK
from beliefd.engine.mcts import sample_tree
from beliefd.engine.plan import ALL_PARTS
from beliefd.engine.policy import evaluate_policies
from beliefd.engine.precision import update_precision
from beliefd.engine.sophisticated import search_tree


@inline
def plan_and_act(ints, reals, work, lanes, choice, chosen, seed, used, q_pi, neg_efe, parts):
    """Evaluate policies and set `chosen`, int32 (controls, LANES), to the actions."""
    tolerance = ints[plan.BASE_ROW]  # free after inference
    evaluate(ints, reals, work, lanes, seed, used, parts)
    write_scores(ints, work, lanes, used, neg_efe)
    if ints[plan.PRECISION_ROW] >= 0:
        update_precision(ints, reals, work)
    score_policies(ints, reals, work, tolerance)
    by_maximum = ints[plan.MARGINAL] == 0 and ints[plan.STOCHASTIC] == 0 and ints[plan.RANDOM_TIES] == 0
    if by_maximum:
        choose_best_policies(ints, work, tolerance, choice)
    per_policy = ints[plan.MESSAGES] == plan.PER_POLICY
    if not by_maximum or len(q_pi) > 0 or ints[plan.PE_COUNTS] >= 0 or per_policy:
        infer_policies(ints, work)
        keep_policies(ints, work)
        write_scores(ints, work, lanes, used, q_pi)
    if per_policy:
        average_over_policies(ints, work, ints[plan.MESSAGE_ROW])
    if ints[plan.MARGINAL]:
        choose_marginal_actions(ints, reals, work, tolerance, choice, chosen, seed, lanes[RECORD], lanes[TICK])
        return
    if ints[plan.RANDOM_TIES] and not ints[plan.STOCHASTIC]:
        choose_tied_policies(ints, work, tolerance, choice, seed, lanes[RECORD], lanes[TICK])
    if ints[plan.STOCHASTIC]:
        draw_policies(ints, reals, work, choice, seed, lanes[RECORD], lanes[TICK])
    take_first_actions(ints, choice, chosen)


@inline
def evaluate(ints, reals, work, lanes, seed, used, parts):
    """Set the score rows to G of each policy, as the model's planner has it; write its parts, where they are wanted."""
    # All of G is the part that comes last, and stays.
    last = len(parts) if parts.shape[1] > 0 else ALL_PARTS
    if ints[plan.SEARCHES]:
        search_tree(ints, reals, work, last)
    elif ints[plan.SIMULATIONS] > 0:
        sample_tree(ints, reals, work, seed, lanes[RECORD], lanes[TICK], last)
    for part in range(last, ALL_PARTS - 1, -1):
        if ints[plan.TREE_DEPTH] > 0:
            copy_rows(work, ints[plan.SCORE_ROW], result_row(ints, part), ints[plan.NUM_POLICIES])
        elif ints[plan.MESSAGES] == plan.PER_POLICY:
            evaluate_under_policies(ints, reals, work, part)
        else:
            evaluate_policies(ints, reals, work, part)
        if part != ALL_PARTS:
            write_scores(ints, work, lanes, used, parts[part - 1])


@inline
def write_scores(ints, work, lanes, used, scores):
    """Bring the score rows into an output of the call, if it is wanted."""
    if len(scores) > 0:
        for lane in range(used):
            for p in range(ints[plan.NUM_POLICIES]):
                scores[lanes[ITEM, lane], p] = work[ints[plan.SCORE_ROW] + p, lane]
