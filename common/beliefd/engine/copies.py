"""The three copies of an agent's counts, and how the one that a step writes is brought up to date.

Copy t mod 3 takes the counts after tick t. Before that it holds those after tick t - 3, and the two other copies stay
as they are. A step changes what belongs to one observation of A and one action of B, so only these parts are copied:
those of the step itself and of the two steps that this copy has missed. Each copy says what its step changed.

A copy begins with the tick whose counts are in it. Whoever writes it marks it first, so a death in the middle leaves a
mark that no later step takes for a whole copy: then, as where all counts change at each step, all is copied.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

from beliefd.engine import plan
from beliefd.engine.jit import inline
from beliefd.engine.layout import COUNT_COPIES
from beliefd.engine.recordmath import copy_numbers

NO_PART, ALL_PARTS = -1, -2
"""In place of the number of an observation or an action: nothing was changed, everything may have been."""

_INT32_BYTES = 4
_INT64_BYTES = 8


@inline
def copy_at(ints, tick):
    """Offset in the record of the copy for a tick, in bytes."""
    return ints[plan.COUNTS_AT] + tick % COUNT_COPIES * ints[plan.COUNTS_BYTES]


@inline
def counts_place(ints, tick, itemsize):
    """Where the counts after a tick begin in the record, in numbers."""
    return (copy_at(ints, tick) + ints[plan.COUNTS_START]) // itemsize


@inline
def mark_copy(ints, int64s, row, tick):
    """Mark the copy for a tick as one that is being written.

    This has to be in memory before anything of the copy is written: `keep_order` stands in between.
    """
    place = copy_at(ints, tick) // _INT64_BYTES
    int64s[row, place] = -tick if int64s[row, place] == max(tick - COUNT_COPIES, 0) else 0


@inline
def is_missing_little(ints, int64s, row, tick):
    """Whether a marked copy holds the counts after three ticks before, so that few parts have to be copied."""
    return int64s[row, copy_at(ints, tick) // _INT64_BYTES] == -tick and tick > COUNT_COPIES


@inline
def close_copy(ints, int64s, row, tick):
    int64s[row, copy_at(ints, tick) // _INT64_BYTES] = tick


@inline
def note_part(ints, int32s, row, tick, which, part):
    """Say which part of A (modality `which`) or B (factor `which` - modalities) this tick's step changed."""
    int32s[row, (copy_at(ints, tick) + _INT64_BYTES) // _INT32_BYTES + which] = part


@inline
def bring_up(ints, int32s, records, row, tick, which, start, parts, size, few):
    """Copy from the tick before what this step and the two that the copy missed changed.

    `parts` parts of `size` counts each stand from count `start` on. Not `few`: copy all of them.
    """
    itemsize = records.itemsize
    old, new = counts_place(ints, tick - 1, itemsize) + start, counts_place(ints, tick, itemsize) + start
    for missed in range(COUNT_COPIES):
        part = int32s[row, (copy_at(ints, tick - missed) + _INT64_BYTES) // _INT32_BYTES + which]
        if not few or part == ALL_PARTS:
            copy_numbers(records, row * records.shape[1] + new, row * records.shape[1] + old, parts * size)
            return
        if part != NO_PART:
            place = row * records.shape[1] + part * size
            copy_numbers(records, place + new, place + old, size)
