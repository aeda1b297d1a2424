"""Monte Carlo tree search over actions and observations, each agent of a tile in a tree of its own.

A belief branches into actions, an action into the observations that were drawn after it. A simulation walks from the
root, by the action of the best score and an observation drawn by its predicted probability, until an observation is
new. The belief after it becomes a node; then, back to the root, with N how often an action was taken,

    Q(a) = G(a) + F(a)        G of the action's own step, and what follows: the average of V(o) by probability
    V    = sum_a pi(a) Q(a)   pi = softmax(gamma Q), as in sophisticated inference
    score(a) = gamma (Q(a) - max Q) / max(1, gamma (max Q - min Q)) + c P(a) sqrt(1 + sum N) / (1 + N(a))

where P = 3/4 softmax(gamma G) + 1/4 uniform, and an action never taken has in place of F the average of the others by
P. With ever more simulations Q becomes that of the whole tree. The score is PUCT: Silver et al. (2017), Mastering the
game of Go without human knowledge, Nature 550; averages by the probability of what was drawn, in place of how often it
was, are those of DP-UCT: Keller, Helmert (2013), Trial-based heuristic tree search for finite horizon MDPs, ICAPS;
values of actions never taken are completed as in Danihelka et al. (2022), Policy improvement by planning with Gumbel,
ICLR.

Scratch has a slot per simulation, and one for the root. Slot i has the node that simulation i made, and the edge: what
follows an action that it took first. Lanes walk alone; beliefs are inferred and evaluated for all lanes at once. A lane
that made no node in a simulation has a slot that nothing points to. Counts, and numbers of slots, are reals: whole ones
of this size are exact also in float32.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

import math

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
from beliefd.engine.plan import ALL_PARTS, LANES
from beliefd.engine.policy import evaluate_prepared
from beliefd.engine.random import search_key, search_uniform
from beliefd.engine.refinement import refine_states
from beliefd.engine.rowmath import add_log_row
from beliefd.engine.rows import add_row_products
from beliefd.engine.tile import fill, multiply_joints

_EXPLORATION = 1.25
"""What the prior counts for in a score, beside what an action is worth."""

_UNIFORM = 0.25
"""The share of the prior that all actions have alike: so none is left out for ever."""

_LEAST = 1e-30
"""What a probability counts as that is smaller: the sum of several such is not zero in float32."""

_TAKEN, _FIRST, _FOLLOW, _PARENT, _EDGE, _ACTION, _DEPTH, _PROBABILITY, _SIBLING, _VALUE, _PART = range(11)
"""The first rows of a slot. Of the edge: how often it was taken, the first of its nodes, F. Of the node: the slots of
the node above and of the edge from there, the action of that, how deep the node is, how probable it is after the
action, the next node of the same edge (0: none), V, and the same of a part of G.
"""

_AT, _TO, _DONE, _MAKES, _WALK = range(5)
"""Of a lane in a simulation: the node where its walk ended; the edge from there to a new node; the action; whether it
made nothing, an edge and a node, or a node; rows of that. After them the observation per modality."""

_NOTHING, _NODE, _EDGE_AND_NODE = range(3)


@allocating
def sample_tree(ints, reals, work, seed, agents, ticks, told):
    """Set the result rows to what each policy of one step is worth, given the beliefs of now and their joints.

    These are as before afterwards. `agents` and `ticks` are int64 (LANES,). The result rows of parts of G up to number
    `told` are set too.
    """
    prepare_search(ints, reals, work)
    if ints[plan.NUM_COUNTS] + ints[plan.NUM_PARAMETERS] > 0:
        prepare_own(ints, reals, work, ALL_PARTS)
    walk = np.zeros((_WALK + ints[plan.NUM_MODALITIES], LANES), dtype=np.int64)
    key = np.empty((2, LANES), dtype=np.uint64)
    for lane in range(LANES):
        key[0, lane], key[1, lane] = search_key(seed, agents[lane], ticks[lane])
        walk[_MAKES, lane] = _NODE
    root = ints[plan.TREE_ROW]
    fill(work, root + _DEPTH, work.dtype.type(0))
    _evaluate(ints, reals, work, root, walk)
    # One step deep there is nothing to walk to.
    simulations = ints[plan.SIMULATIONS] if ints[plan.TREE_DEPTH] > 1 else 0
    for simulation in range(1, simulations + 1):
        slot, makes = _slot(ints, simulation), _NOTHING
        for lane in range(LANES):
            makes = max(makes, _walk(ints, reals, work, walk, key, simulation, lane))
        if makes == _EDGE_AND_NODE:
            _make_edges(ints, reals, work, slot, walk, key, simulation)
        if makes != _NOTHING:
            _make_nodes(ints, reals, work, slot, walk, simulation)
            _back_up(ints, reals, work, walk, simulation)
        else:
            for p in range(ints[plan.NUM_POLICIES]):
                fill(work, _edges(ints, slot) + p, work.dtype.type(0))
    for part in range(told, ALL_PARTS, -1):
        _tell(ints, reals, work, walk, simulations, part)
    copy_rows(work, result_row(ints, ALL_PARTS), _values(ints, root), ints[plan.NUM_POLICIES])
    restore(ints, work, _belief(ints, root), ints[plan.ALL_JOINTS])


# Where the parts of a slot stand that begins at row `slot`.


@inline
def _slot(ints, number):
    return ints[plan.TREE_ROW] + number * ints[plan.LEVEL_ROWS]


@inline
def _belief(ints, slot):
    return slot + 11


@inline
def _following(ints, slot):
    """What follows the action of the edge."""
    return _belief(ints, slot) + ints[plan.TOTAL_STATES]


@inline
def _own_step(ints, slot):
    """G of the actions of the node."""
    return _following(ints, slot) + ints[plan.TOTAL_STATES]


@inline
def _prior(ints, slot):
    return _own_step(ints, slot) + ints[plan.NUM_POLICIES]


@inline
def _values(ints, slot):
    return _prior(ints, slot) + ints[plan.NUM_POLICIES]


@inline
def _edges(ints, slot):
    """The slots of the edges of the node, per action; 0 where it was never taken."""
    return _values(ints, slot) + ints[plan.NUM_POLICIES]


@inline
def _observation(ints, slot):
    """What was observed before the node, per modality."""
    return _edges(ints, slot) + ints[plan.NUM_POLICIES]


@inline
def _predicted(ints, slot):
    """How probable the observations are after the action of the edge."""
    return _observation(ints, slot) + ints[plan.NUM_MODALITIES]


@inline
def _walk(ints, reals, work, walk, key, simulation, lane):
    """Walk one lane from the root to where something is new; what it makes there."""
    node = np.int64(0)
    walk[_MAKES, lane] = _NOTHING
    while np.int64(work[_slot(ints, node) + _DEPTH, lane]) < ints[plan.TREE_DEPTH] - 1:
        slot = _slot(ints, node)
        action = _best_action(ints, reals, work, slot, lane)
        edge = np.int64(work[_edges(ints, slot) + action, lane])
        walk[_AT, lane], walk[_DONE, lane] = node, action
        if edge == 0:
            walk[_TO, lane], walk[_MAKES, lane] = simulation, _EDGE_AND_NODE
            break
        work[_slot(ints, edge) + _TAKEN, lane] += work.dtype.type(1)
        _draw(ints, work, walk, key, simulation, _slot(ints, edge), lane)
        node = _node_after(ints, work, walk, _slot(ints, edge), lane)
        if node == 0:
            walk[_TO, lane], walk[_MAKES, lane] = edge, _NODE
            break
    return walk[_MAKES, lane]


@inline
def _taken(ints, work, slot, action, lane):
    """How often an action of a node was taken."""
    edge = np.int64(work[_edges(ints, slot) + action, lane])
    return np.float64(work[_slot(ints, edge) + _TAKEN, lane]) if edge > 0 else 0.0


@inline
def _best_action(ints, reals, work, slot, lane):
    """The first of the actions with the best score; those within the tolerance of it have it too."""
    values, prior, policies = _values(ints, slot), _prior(ints, slot), ints[plan.NUM_POLICIES]
    own_gamma = ints[plan.OWN_GAMMA]
    gamma = np.float64(work[own_gamma, lane] if own_gamma >= 0 else reals[ints[plan.GAMMA]])
    largest = smallest = np.float64(work[values, lane])
    total = 1.0
    for p in range(policies):
        value = np.float64(work[values + p, lane])
        largest, smallest = max(largest, value), min(smallest, value)
        total += _taken(ints, work, slot, p, lane)
    worth, explored = gamma / max(1.0, gamma * (largest - smallest)), _EXPLORATION * math.sqrt(total)
    chosen, best = 0, 0.0
    for again in range(2):
        for p in range(policies - 1, -1, -1):
            score = worth * (np.float64(work[values + p, lane]) - largest) + explored * np.float64(
                work[prior + p, lane]
            ) / (1.0 + _taken(ints, work, slot, p, lane))
            if again == 0:
                best = score if p == policies - 1 else max(best, score)
            elif score >= best - np.float64(reals[ints[plan.TOLERANCE]]) * max(1.0, abs(best)):
                chosen = p
    return chosen


@inline
def _draw(ints, work, walk, key, simulation, edge, lane):
    """Draw an observation per modality, each by its probability after the action of an edge, whose slot is given."""
    depth = np.int64(work[_slot(ints, walk[_AT, lane]) + _DEPTH, lane])
    for m in range(ints[plan.NUM_MODALITIES]):
        first, count = _predicted(ints, edge) + ints[ints[plan.OBS_START] + m], ints[ints[plan.NUM_OBS] + m]
        total = 0.0
        for o in range(count):
            total += np.float64(work[first + o, lane])
        target = search_uniform(key[0, lane], key[1, lane], simulation, depth, m) * total
        running, drawn = 0.0, 0
        for o in range(count):
            weight = np.float64(work[first + o, lane])
            if weight > 0.0:
                drawn = o
            running += weight
            if running > target:
                break
        walk[_WALK + m, lane] = drawn


@inline
def _node_after(ints, work, walk, edge, lane):
    """The node of an edge, whose slot is given, that has the observation drawn; 0 where there is none yet."""
    node = np.int64(work[edge + _FIRST, lane])
    while node > 0:
        observation, differs = _observation(ints, _slot(ints, node)), False
        for m in range(ints[plan.NUM_MODALITIES]):
            differs |= np.int64(work[observation + m, lane]) != walk[_WALK + m, lane]
        if not differs:
            break
        node = np.int64(work[_slot(ints, node) + _SIBLING, lane])
    return node


@inline
def _make_edges(ints, reals, work, slot, walk, key, simulation):
    """Write what follows actions that are taken for the first time, and draw an observation after each."""
    for s in range(ints[plan.TOTAL_STATES]):
        for lane in range(LANES):
            work[s, lane] = work[_belief(ints, _slot(ints, walk[_AT, lane])) + s, lane]
    multiply_joints(ints, work, ints[plan.TRANSITION_JOINTS])
    following, room = _following(ints, slot), ints[plan.MESSAGE_ROW]
    for p in range(ints[plan.NUM_POLICIES]):
        taken = False
        for lane in range(LANES):
            taken |= walk[_MAKES, lane] == _EDGE_AND_NODE and walk[_DONE, lane] == p
        if not taken:
            continue
        predict_states(ints, reals, work, room, p)
        for s in range(ints[plan.TOTAL_STATES]):
            for lane in range(LANES):
                if walk[_DONE, lane] == p:
                    work[following + s, lane] = work[room + s, lane]
    restore(ints, work, following, ints[plan.ALL_JOINTS])
    predict_observations(ints, reals, work, _predicted(ints, slot))
    fill(work, slot + _TAKEN, work.dtype.type(1))
    fill(work, slot + _FIRST, work.dtype.type(0))
    for lane in range(LANES):
        if walk[_MAKES, lane] == _EDGE_AND_NODE:
            _draw(ints, work, walk, key, simulation, slot, lane)
            at = _edges(ints, _slot(ints, walk[_AT, lane])) + walk[_DONE, lane]
            work[at, lane] = work.dtype.type(simulation)


@inline
def _make_nodes(ints, reals, work, slot, walk, simulation):
    """Infer and evaluate the beliefs after the observations drawn, and hang them under their edges."""
    base, prior, real = ints[plan.BASE_ROW], ints[plan.PRIOR_ROW], work.dtype.type
    for s in range(ints[plan.TOTAL_STATES]):
        for lane in range(LANES):
            edge = _slot(ints, walk[_TO, lane] if walk[_MAKES, lane] != _NOTHING else simulation)
            work[prior + s, lane] = work[_following(ints, edge) + s, lane]
    log_priors(ints, work, base, prior)
    if ints[plan.TOGETHER]:
        imagine_jointly(ints, reals, work, walk[_WALK:])
    else:
        _add_what_is_seen(ints, reals, work, walk)
    if infer_present(ints, work):
        # Something was observed of every modality, and as an index.
        refine_states(ints, reals, work, walk[_WALK:], work, walk[_TO], walk[_TO])
    for lane in range(LANES):
        if walk[_MAKES, lane] != _NOTHING:
            _hang(ints, work, slot, walk, simulation, lane)
        else:
            work[slot + _DEPTH, lane] = real(0)
    _evaluate(ints, reals, work, slot, walk)


@inline
def _hang(ints, work, slot, walk, simulation, lane):
    """Write of a new node where it belongs."""
    real, edge, above = work.dtype.type, _slot(ints, walk[_TO, lane]), _slot(ints, walk[_AT, lane])
    probability = 1.0
    for m in range(ints[plan.NUM_MODALITIES]):
        o = walk[_WALK + m, lane]
        work[_observation(ints, slot) + m, lane] = real(o)
        probability *= np.float64(work[_predicted(ints, edge) + ints[ints[plan.OBS_START] + m] + o, lane])
    work[slot + _PROBABILITY, lane] = real(max(probability, _LEAST))
    work[slot + _DEPTH, lane] = work[above + _DEPTH, lane] + real(1)
    work[slot + _PARENT, lane] = real(walk[_AT, lane])
    work[slot + _EDGE, lane] = real(walk[_TO, lane])
    work[slot + _ACTION, lane] = real(walk[_DONE, lane])
    work[slot + _SIBLING, lane] = work[edge + _FIRST, lane]
    work[edge + _FIRST, lane] = real(simulation)


@inline
def _add_what_is_seen(ints, reals, work, walk):
    """Add to the base and likelihood rows what each lane's observations say; -1 stands for none."""
    base, likelihood, room = ints[plan.BASE_ROW], ints[plan.LIKELIHOOD_ROW], ints[plan.SPARE_ROW]
    for row in range(likelihood, ints[plan.INDUCTIVE_ROW]):
        fill(work, row, work.dtype.type(0))
    for m in range(ints[plan.NUM_MODALITIES]):
        joint = ints[ints[plan.A_JOINT] + m]
        size, own = ints[ints[plan.JOINT_SIZE] + joint], ints[ints[plan.OWN_A] + m]
        log_a = ints[plan.LOG_A] + ints[ints[plan.LOG_A_START] + m]
        if joint < ints[plan.NUM_FACTORS]:
            target = base + ints[ints[plan.STATE_START] + joint]
        else:
            target = likelihood + ints[ints[plan.JOINT_LIKELIHOOD] + joint]
        for k in range(size):
            if own >= 0:
                for lane in range(LANES):
                    work[room, lane] = work[own + walk[_WALK + m, lane] * size + k, lane]
                add_log_row(work, target + k, room)
            else:
                for lane in range(LANES):
                    work[target + k, lane] += reals[log_a + walk[_WALK + m, lane] * size + k]


@inline
def _evaluate(ints, reals, work, slot, walk):
    """Make a node of the beliefs of now, in a slot that has its depth: no action was taken from it yet."""
    policies, real = ints[plan.NUM_POLICIES], work.dtype.type
    own, values, prior = _own_step(ints, slot), _values(ints, slot), _prior(ints, slot)
    copy_rows(work, _belief(ints, slot), 0, ints[plan.TOTAL_STATES])
    _value_own_step(ints, reals, work, slot, walk, ALL_PARTS, own)
    copy_rows(work, values, own, policies)
    copy_rows(work, prior, own, policies)
    choose_softly(ints, reals, work, prior)
    add_row_products(work, slot + _VALUE, -1, prior, 1, own, 1, policies)
    for p in range(policies):
        fill(work, _edges(ints, slot) + p, real(0))
        for lane in range(LANES):
            work[prior + p, lane] = real(1.0 - _UNIFORM) * work[prior + p, lane] + real(_UNIFORM) / real(policies)


@inline
def _value_own_step(ints, reals, work, slot, walk, part, target):
    """Set rows from `target` on to a part of G of every action of a node whose beliefs are those of now."""
    score, policies, times = ints[plan.SCORE_ROW], ints[plan.NUM_POLICIES], 1
    for m in range(ints[plan.NUM_MODALITIES]):
        times = max(times, ints[ints[plan.PREFERENCE_TIMES] + m])
    for time in range(times):
        here = times == 1
        for lane in range(LANES):
            here |= walk[_MAKES, lane] != _NOTHING and np.int64(work[slot + _DEPTH, lane]) == time
        if not here:
            continue
        evaluate_prepared(ints, reals, work, part, time)
        for p in range(policies):
            for lane in range(LANES):
                if times == 1 or np.int64(work[slot + _DEPTH, lane]) == time:
                    work[target + p, lane] = work[score + p, lane]


@inline
def _back_up(ints, reals, work, walk, simulation):
    """Set anew what nodes are worth from the new one up to the root."""
    score, policies, room = ints[plan.SCORE_ROW], ints[plan.NUM_POLICIES], ints[plan.SPARE_ROW]
    # Until the search ends these rows are free.
    values = result_row(ints, ALL_PARTS)
    # `_AT` and `_TO` become the node that is set anew, and the edge of it below which something has changed.
    left = True
    while left:
        for lane in range(LANES):
            if walk[_MAKES, lane] != _NOTHING:
                _complete(ints, work, walk, lane)
            for p in range(policies):
                value = work[_values(ints, _slot(ints, walk[_AT, lane])) + p, lane]
                work[score + p, lane] = value
                work[values + p, lane] = value
        choose_softly(ints, reals, work, score)
        add_row_products(work, room, -1, score, 1, values, 1, policies)
        left = False
        for lane in range(LANES):
            if walk[_MAKES, lane] != _NOTHING:
                node = _slot(ints, walk[_AT, lane])
                work[node + _VALUE, lane] = work[room, lane]
                if walk[_AT, lane] == 0:
                    walk[_MAKES, lane] = _NOTHING
                else:
                    walk[_TO, lane] = np.int64(work[node + _EDGE, lane])
                    walk[_AT, lane] = np.int64(work[node + _PARENT, lane])
                    left = True


@inline
def _complete(ints, work, walk, lane):
    """Set F of an edge below which something has changed, and then Q of all actions of its node."""
    real, edge, slot = work.dtype.type, _slot(ints, walk[_TO, lane]), _slot(ints, walk[_AT, lane])
    work[edge + _FOLLOW, lane] = real(_average(ints, work, edge, _VALUE, lane))
    total = weight = 0.0
    for p in range(ints[plan.NUM_POLICIES]):
        taken = np.int64(work[_edges(ints, slot) + p, lane])
        if taken > 0:
            prior = np.float64(work[_prior(ints, slot) + p, lane])
            total += prior * np.float64(work[_slot(ints, taken) + _FOLLOW, lane])
            weight += prior
    for p in range(ints[plan.NUM_POLICIES]):
        taken = np.int64(work[_edges(ints, slot) + p, lane])
        follow = np.float64(work[_slot(ints, taken) + _FOLLOW, lane]) if taken > 0 else total / weight
        work[_values(ints, slot) + p, lane] = real(np.float64(work[_own_step(ints, slot) + p, lane]) + follow)


@inline
def _average(ints, work, edge, row, lane):
    """The average of a row of the nodes of an edge, whose slot is given, by their probabilities."""
    total = weight = 0.0
    node = np.int64(work[edge + _FIRST, lane])
    while node > 0:
        probability = np.float64(work[_slot(ints, node) + _PROBABILITY, lane])
        total += probability * np.float64(work[_slot(ints, node) + row, lane])
        weight += probability
        node = np.int64(work[_slot(ints, node) + _SIBLING, lane])
    return total / weight


@inline
def _tell(ints, reals, work, walk, simulations, part):
    """Set the result rows of a part of G to what it is in the values that the search of the tree ended with.

    A node stands in a later slot than the one above it, so from the last slot to the first all that a node needs is
    there. In the lanes that have no node in a slot what comes out is of no meaning, and nothing points to it.
    """
    policies, result, chosen = ints[plan.NUM_POLICIES], result_row(ints, part), result_row(ints, ALL_PARTS)
    if ints[plan.NUM_COUNTS] + ints[plan.NUM_PARAMETERS] > 0:
        prepare_own(ints, reals, work, part)
    for lane in range(LANES):
        walk[_MAKES, lane] = _NODE
    for number in range(simulations, -1, -1):
        slot = _slot(ints, number)
        restore(ints, work, _belief(ints, slot), ints[plan.ALL_JOINTS])
        _value_own_step(ints, reals, work, slot, walk, part, result)
        for lane in range(LANES):
            _add_followers(ints, work, slot, result, lane)
        copy_rows(work, chosen, _values(ints, slot), policies)
        choose_softly(ints, reals, work, chosen)
        add_row_products(work, slot + _PART, -1, chosen, 1, result, 1, policies)


@inline
def _add_followers(ints, work, slot, first, lane):
    """Add to a part of G of every action of a node, in rows from `first` on, that part of what follows the action."""
    total = weight = 0.0
    for p in range(ints[plan.NUM_POLICIES]):
        taken = np.int64(work[_edges(ints, slot) + p, lane])
        if taken > 0:
            prior, follow = np.float64(work[_prior(ints, slot) + p, lane]), _slot(ints, taken) + _FOLLOW
            work[follow, lane] = work.dtype.type(_average(ints, work, _slot(ints, taken), _PART, lane))
            total += prior * np.float64(work[follow, lane])
            weight += prior
    for p in range(ints[plan.NUM_POLICIES]):
        taken = np.int64(work[_edges(ints, slot) + p, lane])
        if weight > 0.0:
            follow = np.float64(work[_slot(ints, taken) + _FOLLOW, lane]) if taken > 0 else total / weight
            work[first + p, lane] += work.dtype.type(follow)
