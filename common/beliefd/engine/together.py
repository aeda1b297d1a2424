"""Several predictions by the same rows of an agent's own A or B: each row is loaded once for all of them.

Such a matrix has a row of scratch per entry, more of them than the nearest cache holds. Of a few rows of the matrix and
a few predictions all sums are in registers at once; each sum has its terms in the order in which it has them alone.
"""

# Numba types the functions after the intrinsic by their arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

from numba import types

from beliefd.engine import plan
from beliefd.engine.jit import inline, intrinsic
from beliefd.engine.plan import TOGETHER_MOST
from beliefd.engine.vectorcode import INDEX, Rows

_MATRIX_ROWS = 4
"""Rows of the matrix that are summed at once: times the predictions they fit, with the terms, into 32 registers."""

_i64 = types.int64


@intrinsic
def weigh_together(
    typing_context: Any,
    work: Any,
    target: Any,
    apart: Any,
    matrix: Any,
    height: Any,
    width: Any,
    ints: Any,
    sources: Any,
    count: Any,
) -> Any:
    """Row[target + p apart + r] = sum over i < width of row[matrix + r width + i] row[ints[sources + p] + i].

    For r < height and p < count, of which there are 1 .. `TOGETHER_MOST`.
    """
    signature = types.void(work, *[_i64] * 5, ints, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, apart, matrix, height, width, ints, sources, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def no_more(index: Any, end: Any) -> Any:
            """What would be beyond the end is done once more for the last: that takes less code than rests do."""
            last = builder.sub(end, INDEX(1))
            return builder.select(builder.icmp_signed("<", index, last), index, last)

        def sum_all(predictions: int) -> None:
            numbers = [no_more(INDEX(p), count) for p in range(predictions)]
            terms = [scratch.item(signature.args[6], ints, builder.add(sources, p)) for p in numbers]
            targets = [builder.add(target, builder.mul(apart, p)) for p in numbers]

            def sum_some(block: Any, _: list[Any]) -> list[Any]:
                first = builder.mul(block, INDEX(_MATRIX_ROWS))
                rows = [no_more(builder.add(first, INDEX(r)), height) for r in range(_MATRIX_ROWS)]
                begins = [builder.add(matrix, builder.mul(row, width)) for row in rows]

                def sum_vector(v: Any, _: list[Any]) -> list[Any]:
                    def add(i: Any, sums: list[Any]) -> list[Any]:
                        weights = [scratch.load_one(builder.add(begin, i), v) for begin in begins]
                        added: list[Any] = []
                        for p, term in enumerate(terms):
                            factor = [scratch.load_one(builder.add(term, i), v)] * len(rows)
                            own = sums[p * len(rows) : (p + 1) * len(rows)]
                            added += scratch.add_products(own, weights, factor)
                        return added

                    sums = scratch.fold(width, scratch.zeros(len(rows) * predictions), add)
                    for p, start in enumerate(targets):
                        for r, row in enumerate(rows):
                            scratch.store_one(builder.add(start, row), v, sums[p * len(rows) + r])
                    return []

                scratch.fold(INDEX(scratch.in_row), [], sum_vector)
                return []

            blocks = builder.sdiv(builder.add(height, INDEX(_MATRIX_ROWS - 1)), INDEX(_MATRIX_ROWS))
            scratch.fold(blocks, [], sum_some)

        with builder.if_else(builder.icmp_signed("==", count, INDEX(1))) as (one, several):
            with one:
                sum_all(1)
            with several:
                sum_all(TOGETHER_MOST)
        return context.get_dummy_value()

    return signature, emit


@inline
def move_together(ints, work, target, count, factor, action, sources):
    """Move one factor's beliefs by the agents' own B, from `count` joints of its parents; see `plan.MOVE_OWN`."""
    states, own = ints[ints[plan.NUM_STATES] + factor], ints[ints[plan.OWN_B] + factor]
    size = ints[ints[plan.JOINT_SIZE] + ints[ints[plan.B_JOINT] + factor]]
    weigh_together(work, target, states, own + action * states * size, states, size, ints, sources, count)


@inline
def predict_together(ints, work, count, m, own, sources):
    """Set the observation rows to what modality m will show by the agents' own A, one prediction after the other."""
    observations, size = ints[ints[plan.NUM_OBS] + m], ints[ints[plan.JOINT_SIZE] + ints[ints[plan.A_JOINT] + m]]
    first = ints[plan.OBSERVATION_ROW]
    weigh_together(work, first, observations, own, observations, size, ints, sources, count)
