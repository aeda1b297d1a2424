"""State inference from the present alone; and, for a read, what a committed step inferred under each policy."""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.conditioned import infer_under_policies, start_from_prior
from beliefd.engine.jit import inline
from beliefd.engine.jointly import infer_present, joint_free_energy, observe_jointly
from beliefd.engine.lanes import FIRST, FRESH, FROM_START, MARK_ROWS, PLACE, READ_SLOT, RECORD, TICK
from beliefd.engine.layout import FLAG_RESET
from beliefd.engine.perception import free_energy, observe
from beliefd.engine.plan import LANES
from beliefd.engine.precision import load_precision
from beliefd.engine.refinement import refine_states
from beliefd.engine.window import load_steps

_INT32_BYTES = 4


@inline
def infer_from_present(ints, reals, work, observed, distributions, items, places, free_energy_row):
    """Set the beliefs of now by the observations of now; the base rows hold the ln prior."""
    if ints[plan.TOGETHER]:
        observe_jointly(ints, reals, work, observed, distributions, items, places)
    else:
        base, likelihood = ints[plan.BASE_ROW], ints[plan.LIKELIHOOD_ROW]
        observe(ints, reals, work, observed, distributions, items, places, base, likelihood)
    if infer_present(ints, work):
        refine_states(ints, reals, work, observed, distributions, items, places)
    if ints[plan.TOGETHER]:
        joint_free_energy(ints, work, free_energy_row)
    else:
        free_energy(ints, work, free_energy_row)


@inline
def infer_again(ints, reals, work, lanes, marks, int32s, int64s, records):
    """Set the beliefs under every policy that the committed step had.

    An agent that never stepped has the present alone, in which it has observed nothing.
    """
    window, modalities = ints[plan.WINDOW], ints[plan.NUM_MODALITIES]
    seen_at = MARK_ROWS + modalities + ints[plan.NUM_FACTORS] + ints[plan.NUM_CONTROL_FACTORS]
    moved_at = seen_at + window * modalities
    seen, moved = marks[seen_at:moved_at], marks[moved_at:]
    for lane in range(LANES):
        marks[FRESH, lane] = int64s[lanes[RECORD, lane], 0] == 0
    if ints[plan.PRECISION_ROW] >= 0:
        load_precision(ints, reals, work, lanes, RECORD, READ_SLOT, marks[FRESH], records)
    for lane in range(LANES):
        flags = int32s[lanes[RECORD, lane], (lanes[READ_SLOT, lane] + ints[plan.FLAGS_AT]) // _INT32_BYTES]
        lanes[TICK, lane] = max(lanes[TICK, lane], 1)
        marks[FRESH, lane] = lanes[TICK, lane] == 1 or (flags & FLAG_RESET) != 0
    earliest, _ = load_steps(
        ints, lanes, RECORD, TICK, marks[FRESH], marks[FIRST], marks[FROM_START], seen, moved, int32s
    )
    for lane in range(LANES):
        marks[FIRST, lane] = min(marks[FIRST, lane], window - 1)
    start_from_prior(ints, reals, work, lanes, RECORD, TICK, marks[FROM_START], records)
    infer_under_policies(
        ints,
        reals,
        work,
        lanes,
        RECORD,
        TICK,
        marks[FIRST],
        seen,
        moved,
        lanes[PLACE],
        min(earliest, window - 1),
        records,
    )
