"""State inference of float32 models once more in float64, for the agents whose beliefs still move after all sweeps.

Where the sweeps settle they also undo what was rounded on the way. Where they do not, as when all factors are turned
over by every simultaneous update, they make it larger from sweep to sweep, and of float32's seven digits few are left.
So these agents' beliefs, of a window those about all of its steps, are made again from what float32 holds to its last
digit: the prior, as probabilities, and the model's own numbers with what was rounded off them.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

import numpy as np

from beliefd.engine import plan
from beliefd.engine.jit import allocating, inline
from beliefd.engine.jointly import infer_present, observe_jointly
from beliefd.engine.learning import observe_own
from beliefd.engine.perception import log_priors
from beliefd.engine.plan import LANES
from beliefd.engine.sequence import beliefs_row, infer_window, log_own_transitions, observe_window
from beliefd.engine.tile import fill, multiply_joints

_STILL = 1e-3
"""The change of every belief in the last sweep, over a window in the last two, up to which a lane counts as settled."""

_SPARE_ROWS = 3


@allocating
def refine_states(ints, reals, work, observed, distributions, items, places):
    """Set the beliefs of now, and their joints, once more in the lanes where all sweeps did not settle them.

    To be called where the last sweep changed something. Arguments as in `beliefd.engine.perception.observe`.
    """
    moves = ints[plan.BEFORE_ROW]
    _measure_moves(ints, work, moves)
    if not _is_any_moving(work, moves):
        return
    fine, fine_reals = _begin(ints, reals, work)
    if ints[plan.TOGETHER]:
        observe_jointly(ints, fine_reals, fine, observed, distributions, items, places)
    else:
        _observe(ints, fine_reals, fine, observed, distributions, items, places)
    infer_present(ints, fine)
    _copy_moving(ints, work, fine, moves, 0)
    multiply_joints(ints, work, ints[plan.ALL_JOINTS])


@allocating
def refine_window(ints, reals, work, lanes, record, tick, first, seen, moved, places, earliest, latest, records):
    """Set the beliefs of every step of the window once more in the lanes where all sweeps did not settle them.

    To be called where the last sweep changed something and the moves were measured. Arguments as in
    `beliefd.engine.sequence`.
    """
    if not _is_any_moving(work, ints[plan.MOVES_ROW]):
        return
    fine, fine_reals = _begin(ints, reals, work)
    _add_rest(ints, reals, fine_reals, ints[plan.KEPT_VALUES], ints[plan.MOVED_REST])
    _copy_transitions(ints, work, fine)
    observe_window(ints, fine_reals, fine, lanes, record, tick, seen, places, earliest, records)
    infer_window(ints, fine_reals, fine, first, moved, earliest, latest)
    for step in range(earliest, ints[plan.WINDOW]):
        _copy_moving(ints, work, fine, ints[plan.MOVES_ROW], beliefs_row(ints, step))


@inline
def _measure_moves(ints, work, before):
    """Set row `before` to the largest change of a belief since the beliefs that stand from there on."""
    for lane in range(LANES):
        work[before, lane] = abs(work[0, lane] - work[before, lane])
    for s in range(1, ints[plan.TOTAL_STATES]):
        for lane in range(LANES):
            work[before, lane] = max(work[before, lane], abs(work[s, lane] - work[before + s, lane]))


@inline
def _is_any_moving(work, moves):
    moving = 0
    for lane in range(LANES):
        moving += work[moves, lane] > work.dtype.type(_STILL)
    return moving > 0


@allocating
def _begin(ints, reals, work):
    """Scratch and the model's numbers in float64, laid out as in float32; what inference does not use is not filled.

    The base rows hold the ln prior, and the agents' own A is there.
    """
    fine = np.empty((ints[plan.SPARE_ROW] + _SPARE_ROWS, LANES), dtype=np.float64)
    _copy(work, fine, ints[plan.PRIOR_ROW], ints[plan.TOTAL_STATES])
    log_priors(ints, fine, ints[plan.BASE_ROW], ints[plan.PRIOR_ROW])
    for m in range(ints[plan.NUM_MODALITIES]):
        start, size = ints[ints[plan.OWN_A] + m], ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
        if start >= 0:
            _copy(work, fine, start, ints[ints[plan.NUM_OBS] + m] * size)
    fine_reals = np.empty(len(reals), dtype=np.float64)
    _add_rest(ints, reals, fine_reals, ints[plan.LOG_A], ints[plan.LOG_A_REST])
    return fine, fine_reals


@inline
def _add_rest(ints, reals, fine_reals, first, rest):
    """Set the numbers from `first` up to `rest` to those of float32 and what is rounded off them, which follows."""
    for i in range(rest - first):
        fine_reals[first + i] = np.float64(reals[first + i]) + np.float64(reals[rest + i])


@inline
def _copy_transitions(ints, work, fine):
    """Copy the agents' own B, and set their logarithms."""
    for f in range(ints[plan.NUM_FACTORS]):
        start, states = ints[ints[plan.OWN_B] + f], ints[ints[plan.NUM_STATES] + f]
        if start >= 0:
            size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + f]]
            _copy(work, fine, start, ints[ints[plan.NUM_MOVES] + f] * states * size)
    log_own_transitions(ints, fine)


@inline
def _copy(work, fine, first, count):
    for row in range(first, first + count):
        for lane in range(LANES):
            fine[row, lane] = work[row, lane]


@inline
def _copy_moving(ints, work, fine, moves, first):
    """Bring the beliefs from row `first` on back, in the lanes that move."""
    for s in range(first, first + ints[plan.TOTAL_STATES]):
        for lane in range(LANES):
            if work[moves, lane] > work.dtype.type(_STILL):
                work[s, lane] = fine[s, lane]


@inline
def _observe(ints, fine_reals, fine, observed, distributions, items, places):
    """As `beliefd.engine.perception.observe`, whose vector code takes int32, for `observed` of any integers."""
    base, likelihood = ints[plan.BASE_ROW], ints[plan.LIKELIHOOD_ROW]
    for row in range(likelihood, ints[plan.INDUCTIVE_ROW]):
        fill(fine, row, 0.0)
    for m in range(ints[plan.NUM_MODALITIES]):
        joint = ints[ints[plan.A_JOINT] + m]
        if joint < ints[plan.NUM_FACTORS]:
            target = base + ints[ints[plan.STATE_START] + joint]
        else:
            target = likelihood + ints[ints[plan.JOINT_LIKELIHOOD] + joint]
        if ints[ints[plan.OWN_A] + m] >= 0:
            observe_own(ints, fine, observed, distributions, items, places, m, target)
        else:
            _observe_shared(ints, fine_reals, fine, observed, distributions, items, places, m, target)


@inline
def _observe_shared(ints, fine_reals, fine, observed, distributions, items, places, m, target):
    """Add to rows from `target` on what modality m says by the model's A."""
    size, first = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]], ints[ints[plan.OBS_START] + m]
    log_a = ints[plan.LOG_A] + ints[ints[plan.LOG_A_START] + m]
    for lane in range(LANES):
        seen = observed[m, lane]
        for o in range(ints[ints[plan.NUM_OBS] + m]):
            weight = np.float64(seen == o)
            if seen == -2:
                weight = np.float64(distributions[items[lane], places[lane] + first + o])
            if weight != 0.0:
                for k in range(size):
                    fine[target + k, lane] += weight * fine_reals[log_a + o * size + k]
