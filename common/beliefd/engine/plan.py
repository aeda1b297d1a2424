"""A model as the kernels see it: two flat arrays, and the names of what stands in them.

The arrays are read-only and can be mapped from one file by all processes, and one compiled kernel serves every model. A
kernel reads a size as ``ints[plan.NUM_FACTORS]``; an entry of an integer section as
``ints[ints[plan.NUM_STATES] + f]``; one of a real section as ``reals[ints[plan.D] + s]``. Sections of more than one
index say so in their comment, the last index fastest. `beliefd.engine.planner` fills them.

(Flat arrays and names, not a tuple of slices: a tuple of slices costs a kernel ten times the compilation and atomic
reference counts in its loops.)

Words used below:

joint
    The distinct sets of factors that a modality or a transition depends on, each computed once. A joint of one factor
    is that factor's beliefs; a joint of several is their product, its states flattened with the last factor fastest.
    Joint f is factor f alone; in a mask of joints, bit i is joint NUM_FACTORS + i.
operation
    A step of prediction, `JOIN` to `VALUE_OWN`: first its name, then the row of its target, then what it needs.
node
    An action in the tree of policies: policies with the same first actions share them. Depth-first order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LANES = 64
"""Agents per tile. Every row of scratch has this many columns, and every innermost loop runs over all of them."""

LINE_BYTES = 64
"""Of a cache's line."""

NODE_INTS = 4
"""Integers of a node: depth, the row with what it adds to G, start and end of the policies that end here."""

# Names of operations, and what stands after the name and the row of the target:
JOIN = 0  # the joint; per factor what is added to a state of the joint's index to get its row
MOVE = 1  # the first row of the parents' joint, the factor, the action
VALUE = 2  # the first row of the modality's joint, the modality, the time of its preference
SUM = 3  # how many rows; these rows
CONTRACT = 4  # the first row of the joint that is summed out of A, the modality
VALUE_GIVEN = 5  # the first row of the beliefs of the factor that is kept, the modality, the time, the first row of A'
VALUE_GOAL = 6  # the first row of a factor's beliefs, the factor
VALUE_JOINTLY = 7  # the first row of the joint of all factors
VALUE_LIKELIHOOD = 8  # the first row of the modality's joint, the modality
VALUE_TRANSITION = 9  # the first row of the parents' joint, the factor, the action, the first row of its beliefs then
# Several at once by an agent's own B or A; their targets follow each other:
MOVE_OWN = 10  # how many; the factor, the action; per prediction the first row of the parents' joint
VALUE_OWN = 11  # how many; the modality, the time; per prediction the first row of its joint; the first row of A

TOGETHER_MOST = 5
"""So many predictions are made at once by the same rows of an agent's own B or A."""

# Parts of G.
PARTS = 5
ALL_PARTS, UTILITY, INFO_GAIN, INDUCTIVE_VALUE, NOVELTY = range(PARTS)

# What passes messages between the steps of a window.
NO_MESSAGES, MMP, VMP, PER_POLICY = range(4)

# Integers.
(
    NUM_FACTORS,
    NUM_MODALITIES,
    NUM_CONTROL_FACTORS,  # how many controls there are; a factor is its own, unless the model says otherwise
    NUM_JOINTS,
    NUM_POLICIES,
    NUM_NODES,
    NUM_OPERATIONS,
    NUM_ITER,
    TOTAL_STATES,
    USE_UTILITY,
    USE_STATES_INFO_GAIN,
    KEEP_ZEROS,
    NUM_COUNTS,  # that an agent has of its own
    NUM_PARAMETERS,  # that an agent was given
    PE_COUNTS,  # which of the counts is the first of pE; -1 where it is not learned
    OWN_E,  # the first scratch row of the agent's own ln E; -1 for the model's
    OWN_GAMMA,  # its row
    OWN_ALPHA,
    B_COUNTS_START,  # which of them are those of B
    B_COUNTS_END,
    INDUCTIVE,  # whether there is inductive inference
    TOGETHER,  # whether all modalities are taken together; see ensemble
    SETTLES,  # whether an agent's sweeps end by its free energy
    RANDOM_TIES,  # whether one of what is tied is drawn
    EVERY_STATE,  # which joint is that of all factors; where all modalities are taken together
    NUM_COMBINATIONS,  # of observations of all modalities
    OWN_COMBINED,  # the first scratch row of the agent's own joint A, and after it what is linear; -1 for the model's
    WEIGHT_ROW,  # per state of all factors, what a joint A is weighed by
    GOAL_STEPS,  # how many sets of states GOAL_PATHS has per factor: the goal, one step from it, and so on
    STOCHASTIC,
    MARGINAL,
    TRANSITION_JOINTS,  # mask of the joints of several factors that transitions need
    ALL_JOINTS,  # mask of the joints of several factors
    SEARCHES,  # whether a tree over actions and observations is searched
    SIMULATIONS,  # walks through a tree that is searched by sampling; 0 where none is
    TREE_DEPTH,
    LEVEL_ROWS,  # rows of scratch per level of the tree; per node of one that is sampled
    # The first scratch row of each region.
    BASE_ROW,  # ln prior plus what single-factor modalities say, per state
    MESSAGE_ROW,  # unnormalised ln posterior, per state
    LIKELIHOOD_ROW,  # summed ln likelihoods of the joints of several factors
    INDUCTIVE_ROW,  # what a state adds to G by inductive inference, per state
    PRIOR_ROW,  # probabilities of the prior, per state; the base rows where nothing is refined
    BEFORE_ROW,  # beliefs before the last sweep, of a window before the last two, (step, state); -1 where not needed
    MOVES_ROW,  # of a window that is refined: the largest change of a belief in the last two sweeps, else -1
    PREDICTION_ROW,  # where operations put their results; in inference, room for what it has to put somewhere
    NEG_EFE_ROW,  # G summed down to each depth; the first is zero
    OBSERVATION_ROW,  # predicted probabilities of one modality's observations
    SPARE_ROW,  # three rows for whoever needs them
    MARGINAL_ROW,  # probabilities of one factor's actions
    SCORE_ROW,  # per policy
    TREE_ROW,  # the levels of the tree, and what its root is worth, per part of G and policy
    # Of a record, in bytes; see layout.
    SLOT_START,
    SLOT_BYTES,
    REQUEST_ID_AT,
    FLAGS_AT,
    VFE_AT,
    OBSERVATION_AT,
    ACTION_AT,
    BELIEFS_AT,
    RATE_AT,
    COUNTS_AT,
    COUNTS_BYTES,
    COUNTS_START,
    # Of agents that keep a window of steps; the bytes are those of an entry of the ring, see layout.
    WINDOW,  # steps in the longest window; 0 where none is kept
    MESSAGES,  # NO_MESSAGES, MMP, VMP, or PER_POLICY where beliefs are those under each policy
    SMOOTHING_FLOOR,  # whether smoothing has a floor under what is reached, and makes up for it
    RING_START,
    ENTRY_BYTES,
    SPAN_AT,
    PAST_OBSERVATION_AT,
    MOVES_AT,
    PAST_BELIEFS_AT,
    DISTRIBUTION_AT,
    FRAME_ROW,  # one frame of rows per step: beliefs, what one-factor modalities say, messages, likelihoods of joints
    FRAME_ROWS,
    MASKED_ROWS,  # rows from PREDICTION_ROW on for beliefs in their actions' places
    FUTURE,  # steps after the present, where beliefs are those under each policy; see conditioned
    CONDITIONED_ROW,  # per step of the window and state of all factors: the likelihood
    REACHED_ROW,  # per step of window and policy, and state: the sum over what it is reached from
    SAID_ROW,  # what observations say of a factor
    PAST_ROW,  # what the step before says of it
    BACK_ROW,  # what the step after says of it
    EVIDENCE_ROW,  # per policy
    PRECISION_ROW,  # precision, its rate, the prior of that, and room; -1 where precision is not updated
    BELIEVED_ROW,  # per policy, step of window and policy, and state
    MOST_MOVES,  # actions of KEPT_VALUES
    LARGEST_JOINT,  # rows of the largest joint that a transition depends on
) = range(87)

# Integer sections. Per factor:
(
    NUM_STATES,
    STATE_START,  # of the factor's first state among all states
    NUM_MOVES,  # actions on the joint axis of its controls
    MOVE_CONTROLS_START,
    GOAL_START,  # of the factor's first state among GOAL_PATHS; -1 where it has no goal
    OWN_GOAL,  # the first scratch row of the agent's own ways to the goal, where its B is its own; else -1
    OWN_B,  # the first scratch row of the agent's own B (action, next state, state of the joint); -1 for the model's
    OWN_B_COUNTS,  # which of its counts is the first of pB
    OWN_D,  # as OWN_B
    OWN_D_COUNTS,
    GIVEN_D,  # which parameter is the first of D; -1 where it is the model's
    GIVEN_PB,  # of pB
    COUPLED,  # whether a modality of several factors informs it
    B_JOINT,
    B_WIDTH,  # as A_WIDTH
    B_START,  # which of B_ROWS is that of action 0 and next state 0; next state fastest
    # Per control:
    NUM_CONTROLS,
    CONTROLLED,
    # Per modality:
    NUM_OBS,
    OBS_START,  # of the modality's first observation among all observations, and its row among A_ROWS
    A_JOINT,
    A_WIDTH,  # columns where all entries are kept; 0 where only those that are not zero
    LOG_A_START,
    LINEAR_START,
    PREFERENCE_TIMES,  # steps of a policy whose preferences differ; 1 where they do not
    PREFERENCE_START,
    PREFERENCE_STATES,  # states of the joint where preferences depend on them; 1 where they do not
    OWN_A,  # the first scratch row of the agent's own A (observation, state of the joint), laid out as A' is; or -1
    OWN_A_COUNTS,  # which of its counts is the first of pA; -1 where it is not learned
    GIVEN_PA,  # which parameter is the first of pA; -1 where it is the model's
    PC_COUNTS,  # which of the agent's counts is the first of pC; -1 where it is not learned
    OWN_C,  # the first scratch row of the agent's own C (time, observation); -1 for the model's
    GIVEN_WIDTH,  # states of the factor that stays when A is contracted, see contraction; of the joint where A is own
    GIVEN_START,  # which of GIVEN_ROWS is the first of A'
    GIVEN_COUNT,  # entries of A', and after them rows of what is linear (part, time, state)
    # Per joint:
    JOINT_ROW,  # of the beliefs of now
    JOINT_SIZE,
    JOINT_ARITY,
    JOINT_LIKELIHOOD,  # among the likelihood rows; -1 where no modality of several factors has this joint
    JOINT_FACTORS_START,
    JOINT_FACTORS,
    JOINT_INDEX_START,
    JOINT_INDEX,  # (state of the joint, factor of the joint): a state among all states
    # Sparse rows: row i has the entries ROWS[i] .. ROWS[i + 1] of COLUMNS and VALUES.
    A_ROWS,
    A_COLUMNS,
    B_ROWS,
    B_COLUMNS,
    GIVEN_ROWS,
    GIVEN_COLUMNS,
    GIVEN_ENTRIES,  # per observation of all modalities: entries of A' before it; and one more for the end
    GIVEN_STATES,  # per entry of all A': the state of the factor that is kept
    STATES_OF,  # (modality, state of all factors): the state of the modality's joint
    COMBINED_ROWS,  # of the joint A
    COMBINED_COLUMNS,
    COUNT_ROWS,  # per count: the scratch row that takes it
    COUNT_ORDER,  # per count as the model's arrays have them: which count, as they are kept
    # Of novelty, per modality and per factor; rows are those of B as OWN_B and B_START have them.
    OWN_NOVELTY_A,  # the first scratch row of the information of the agent's own pA; -1 for the model's
    NOVELTY_A,  # which of NOVELTY_ROWS is that of observation 0
    OWN_NOVELTY_B,
    NOVELTY_B,
    NOVELTY_ROWS,  # sparse rows
    NOVELTY_COLUMNS,
    COUNT_TENSORS,  # per count: the parameter that its A, B or D is before anything is learned; -1 for INITIAL_TENSORS
    COUNT_PARAMETERS,  # per count: the parameter that it starts from; -1 for INITIAL_COUNTS
    PARAMETER_ROWS,  # per parameter: the scratch row that takes it; -1 where it comes with the counts
    OPERATIONS,
    NODES,  # (node, NODE_INTS)
    LEAF_POLICIES,
    FIRST_ACTIONS,  # (policy, control)
    POLICY_MOVES,  # (policy, factor): its first action on the joint axis of the factor's controls
    MOVES_OF_POLICIES,  # (policy, step, factor): as POLICY_MOVES; where beliefs are those under each policy
    MOVE_CONTROLS,  # per factor its controls, as NUM_MOVES counts them: the last one fastest
    GOAL_PATHS,  # per factor with a goal (step, state): whether the goal can be reached in that many steps
    # Per factor, of a window: which of STEP_ROWS is the first, and its width as A_WIDTH.
    FORWARD_START,  # per next state: B (VMP: ln B) of (action, state of the joint)
    FORWARD_WIDTH,
    LOG_START,  # per next state: ln B of (action, state of the joint)
    LOG_WIDTH,
    BACKWARD_START,  # per state of the joint: what goes back from (action, next state)
    BACKWARD_WIDTH,
    OWN_LOG_B,  # as OWN_B, its logarithm
    STEP_ROWS,  # sparse rows
    STEP_COLUMNS,
    # Per factor, of a window whose agents' transitions are kept in rows, an entry that any action has a row:
    KEPT_FORWARD,  # the first scratch row of the entries of step 0, those of the others follow; -1 where none are kept
    FORWARD_ENTRIES,  # which of KEPT_ROWS is that of next state 0
    KEPT_BACKWARD,  # the same of what goes back
    BACKWARD_ENTRIES,  # of state 0 of the joint
    KEPT_ROWS,  # row i has the entries KEPT_ROWS[i] .. KEPT_ROWS[i + 1] of KEPT_COLUMNS
    KEPT_COLUMNS,
) = range(LARGEST_JOINT + 1, LARGEST_JOINT + 89)

# Real sections; the first four have one entry.
(
    GAMMA,
    ALPHA,
    OCCAM_WINDOW,  # in nats; 0 where no policy is left out
    TOLERANCE,  # relative, for ties
    D,
    LOG_A,  # per modality (observation, state of the joint); A itself where all modalities are taken together
    LOG_A_REST,  # what is rounded off that, in the same order; empty where nothing is refined
    A_VALUES,
    B_VALUES,
    GIVEN_VALUES,
    LINEAR,  # per modality (part, time, state of its joint): what is linear in beliefs; of all, of utility, of gain
    COMBINED_VALUES,
    NOVELTY_VALUES,
    CERTAINTY,  # per state of all factors: the sum of p ln p over the combinations of observations
    PREFERENCES,  # per modality (time, one of PREFERENCE_STATES, observation)
    INITIAL_COUNTS,
    INITIAL_TENSORS,  # A, B, C, D and ln E in the order of the counts: they hold until something is learned
    RATES,  # learning rate and what is kept, of pA, pB, pD, pC, pE
    LOG_EPSILON,  # of inductive inference
    THRESHOLD,  # of inductive inference: above this probability a transition is possible
    LOG_E,
    KEPT_VALUES,  # (entry, action of MOST_MOVES)
    STEP_VALUES,  # logarithms as what they are above that of zero
    MOVED_REST,  # what is rounded off these two, in the same order; empty where no window is refined
) = range(KEPT_COLUMNS + 1, KEPT_COLUMNS + 25)

_INT_SECTIONS = range(NUM_STATES, GAMMA)
_REAL_SECTIONS = range(GAMMA, MOVED_REST + 1)


def pack(fields: Mapping[int, Any], dtype: str) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Write a plan.

    Parameters
    ----------
    fields : mapping
        A number for each integer above, and an array_like for each section.
    dtype : {"float32", "float64"}
        Of the real sections.

    Returns
    -------
    ints : ndarray of int64, read-only
    reals : ndarray of `dtype`, read-only
    """
    header = np.zeros(MOVED_REST + 1, dtype=np.int64)
    header[:NUM_STATES] = [fields[name] for name in range(NUM_STATES)]
    int_sections = [np.asarray(fields[name], dtype=np.int64).reshape(-1) for name in _INT_SECTIONS]
    real_sections = [np.asarray(fields[name], dtype=dtype).reshape(-1) for name in _REAL_SECTIONS]
    for names, sections, start in ((_INT_SECTIONS, int_sections, len(header)), (_REAL_SECTIONS, real_sections, 0)):
        for name, section in zip(names, sections, strict=True):
            header[name] = start
            start += len(section)
    ints = np.concatenate([header, *int_sections])
    reals = np.concatenate(real_sections)
    ints.flags.writeable = False
    reals.flags.writeable = False
    return ints, reals


def starts(sizes: Any) -> list[int]:
    """Where each of several sections begins that stand one after the other."""
    return [0, *np.cumsum(sizes)[:-1].tolist()][: len(sizes)]
