"""Policy evaluation: the negative expected free energy G of every policy of a tile.

G sums, over the steps of a policy and the modalities, expected preference (utility) and expected information gain about
hidden states: Parr, Pezzulo, Friston (2022), Active Inference, equation 4.10 and appendix B. All of it but the
entropy of the predicted observations is linear in the beliefs, and comes with the plan as one vector per modality.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.plan import LANES, NODE_HEADER
from beliefd.engine.tile import fill, multiply_joints, predict_factor, weigh_all_rows, weigh_rows
from beliefd.engine.vectormath import log_floor


@inline
def evaluate_policies(ints, reals, work):
    """Set the score rows to G of each policy, given beliefs and joints in block 0."""
    factors, modalities, block_rows = ints[plan.NUM_FACTORS], ints[plan.NUM_MODALITIES], ints[plan.BLOCK_ROWS]
    node = ints[plan.NODES]
    fill(work, ints[plan.NEG_EFE_ROW], work.dtype.type(0))
    for _ in range(ints[plan.NUM_NODES]):
        depth = ints[node]
        parent = depth * block_rows
        block = parent + block_rows
        for f in range(factors):
            if (ints[node + 1] >> f) & 1:
                target = block + ints[ints[plan.STATE_START] + f]
                predict_factor(ints, reals, work, parent, target, f, ints[node + NODE_HEADER + f])
        multiply_joints(ints, work, block, ints[node + 2])
        values = ints[plan.VALUE_ROW] + depth * modalities
        total = ints[plan.NEG_EFE_ROW] + depth + 1
        for lane in range(LANES):
            work[total, lane] = work[total - 1, lane]
        for m in range(modalities):
            if (ints[node + 3] >> m) & 1:
                _value_modality(ints, reals, work, block, m, values + m)
            for lane in range(LANES):
                work[total, lane] += work[values + m, lane]
        for leaf in range(ints[node + 4], ints[node + 5]):
            score = ints[plan.SCORE_ROW] + ints[ints[plan.LEAF_POLICIES] + leaf]
            for lane in range(LANES):
                work[score, lane] = work[total, lane]
        node += NODE_HEADER + factors


@inline
def _value_modality(ints, reals, work, block, m, target):
    """Set row `target` to what modality m adds to G under the predicted beliefs of a block."""
    joint = ints[ints[plan.A_JOINT] + m]
    first = block + ints[ints[plan.JOINT_ROW] + joint]
    linear = ints[plan.LINEAR] + ints[ints[plan.LINEAR_START] + m]
    weigh_all_rows(reals, work, target, first, linear, ints[ints[plan.JOINT_SIZE] + joint])
    if not ints[plan.USE_STATES_INFO_GAIN]:
        return
    predicted, count = ints[plan.OBSERVATION_ROW], ints[ints[plan.NUM_OBS] + m]
    pointer = ints[plan.A_ROWS] + ints[ints[plan.OBS_START] + m]
    weigh_rows(ints, reals, work, predicted, count, first, ints[plan.A_COLUMNS], ints[plan.A_VALUES], pointer)
    for row in range(predicted, predicted + count):
        for lane in range(LANES):
            p = work[row, lane]
            work[target, lane] -= p * log_floor(p)
