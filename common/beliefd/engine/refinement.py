"""State inference of float32 models once more in float64, for the agents whose beliefs still move after all sweeps.

Where the sweeps settle they also undo what was rounded on the way. Where they do not, as when all factors are turned
over by every simultaneous update, they make it larger from sweep to sweep, and of float32's seven digits few are left.
So these agents' beliefs are made again from what float32 holds to its last digit: the prior, as probabilities, and ln A
with what was rounded off it.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

import numpy as np

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.learning import observe_own
from beliefd.engine.perception import infer_states
from beliefd.engine.plan import LANES
from beliefd.engine.rowmath import log_rows
from beliefd.engine.tile import fill, multiply_joints

_STILL = 1e-3
"""The change of every belief in the last sweep up to which a lane counts as settled."""


@inline
def refine_states(ints, reals, work, observed, distributions, items, places):
    """Set the beliefs of now, and their joints, once more in the lanes where all sweeps did not settle them.

    To be called where the last sweep changed something. Arguments as in `beliefd.engine.perception.observe`.
    """
    moves = ints[plan.BEFORE_ROW]
    if not _mark_moving(ints, work, moves):
        return
    # Laid out as `work` is, whose rows from there on inference does not use.
    fine = np.empty((ints[plan.SPARE_ROW], LANES), dtype=np.float64)
    base, states = ints[plan.BASE_ROW], ints[plan.TOTAL_STATES]
    for s in range(states):
        for lane in range(LANES):
            fine[base + s, lane] = work[ints[plan.PRIOR_ROW] + s, lane]
    log_rows(fine, base, base, states)
    for row in range(ints[plan.LIKELIHOOD_ROW], ints[plan.INDUCTIVE_ROW]):
        fill(fine, row, 0.0)
    for m in range(ints[plan.NUM_MODALITIES]):
        joint = ints[ints[plan.A_JOINT] + m]
        if joint < ints[plan.NUM_FACTORS]:
            target = base + ints[ints[plan.STATE_START] + joint]
        else:
            target = ints[plan.LIKELIHOOD_ROW] + ints[ints[plan.JOINT_LIKELIHOOD] + joint]
        if ints[ints[plan.OWN_A] + m] >= 0:
            _copy_own(ints, work, fine, m)
            observe_own(ints, fine, observed, distributions, items, places, m, target)
        else:
            _observe(ints, reals, fine, observed, distributions, items, places, m, target)
    infer_states(ints, fine)
    for s in range(states):
        for lane in range(LANES):
            if work[moves, lane] > work.dtype.type(_STILL):
                work[s, lane] = fine[s, lane]
    multiply_joints(ints, work, ints[plan.ALL_JOINTS])


@inline
def _mark_moving(ints, work, before):
    """Set row `before` to the largest change of a belief since the beliefs that stand from there on.

    Returns
    -------
    bool
        Whether any lane moves.
    """
    for lane in range(LANES):
        work[before, lane] = abs(work[0, lane] - work[before, lane])
    for s in range(1, ints[plan.TOTAL_STATES]):
        for lane in range(LANES):
            work[before, lane] = max(work[before, lane], abs(work[s, lane] - work[before + s, lane]))
    moving = 0
    for lane in range(LANES):
        moving += work[before, lane] > work.dtype.type(_STILL)
    return moving > 0


@inline
def _copy_own(ints, work, fine, m):
    """Copy the agents' own A."""
    start, size = ints[ints[plan.OWN_A] + m], ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
    for row in range(start, start + ints[ints[plan.NUM_OBS] + m] * size):
        for lane in range(LANES):
            fine[row, lane] = work[row, lane]


@inline
def _observe(ints, reals, fine, observed, distributions, items, places, m, target):
    """Add to rows from `target` on what modality m says by the model's A."""
    size, first = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]], ints[ints[plan.OBS_START] + m]
    log_a = ints[plan.LOG_A] + ints[ints[plan.LOG_A_START] + m]
    rest = ints[plan.LOG_A_REST] + ints[ints[plan.LOG_A_START] + m]
    for lane in range(LANES):
        seen = observed[m, lane]
        for o in range(ints[ints[plan.NUM_OBS] + m]):
            weight = np.float64(seen == o)
            if seen == -2:
                weight = np.float64(distributions[items[lane], places[lane] + first + o])
            if weight != 0.0:
                for k in range(size):
                    at = o * size + k
                    said = np.float64(reals[log_a + at]) + np.float64(reals[rest + at])
                    fine[target + k, lane] += weight * said
