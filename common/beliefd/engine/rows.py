"""What kernels do to rows of scratch: the inner loops that all of the time goes into, as vector code.

A row is 64 lanes wide. Sums stay in registers from the first term to the last; LLVM, given these loops as scalar code,
loads and stores the target once per term, and asks before each row whether it overlaps with another. Every lane of a
row is computed by itself, in the order of the terms, with fused multiply-add: the bits do not depend on how many rows
or lanes are computed together.

In the signatures `work` is the scratch, shape (rows, LANES), names of single rows stand for row numbers, and
`first`, `count` for the rows first .. first + count - 1.
"""

from __future__ import annotations

from typing import Any

from numba import types

from beliefd.engine.jit import intrinsic
from beliefd.engine.vectorcode import INDEX, Rows

_REGISTER_SUMS = 16
"""Vectors that are summed at once: with the terms they fit into the 32 registers of AVX-512."""

_i64 = types.int64


def _dense(rows: int) -> Any:
    @intrinsic
    def weigh(typing_context: Any, work: Any, target: Any, values: Any, at: Any, width: Any, first: Any) -> Any:
        signature = types.void(work, _i64, values, _i64, _i64, _i64)

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array, target, values, at, width, first = arguments
            scratch = Rows(context, builder, signature.args[0], array)
            at_once = min(scratch.in_row, _REGISTER_SUMS // rows)
            for start in range(0, scratch.in_row, at_once):
                vectors = range(start, start + at_once)

                def add(i: Any, sums: list[Any], vectors: range = vectors) -> list[Any]:
                    terms = scratch.load(builder.add(first, i), vectors)
                    added: list[Any] = []
                    for row in range(rows):
                        index = builder.add(builder.add(at, builder.mul(width, INDEX(row))), i)
                        weight = scratch.spread(scratch.item(signature.args[2], values, index), len(vectors))
                        own = sums[row * len(vectors) : (row + 1) * len(vectors)]
                        added += scratch.add_products(own, weight, terms)
                    return added

                sums = scratch.fold(width, scratch.zeros(rows * at_once), add)
                for row in range(rows):
                    own = sums[row * at_once : (row + 1) * at_once]
                    scratch.store(builder.add(target, INDEX(row)), own, vectors)
            return context.get_dummy_value()

        return signature, emit

    return weigh


weigh_row = _dense(1)
"""``weigh_row(work, target, values, at, width, first)``.

target = sum over i < width of values[at + i] row[first + i].
"""

weigh_four_rows = _dense(4)
"""As `weigh_row` for the rows target .. target + 3, whose values follow each other."""


@intrinsic
def weigh_some_rows(
    typing_context: Any,
    work: Any,
    target: Any,
    values: Any,
    at: Any,
    columns: Any,
    columns_at: Any,
    count: Any,
    first: Any,
) -> Any:
    """Target = sum over i < count of values[at + i] row[first + columns[columns_at + i]]."""
    signature = types.void(work, _i64, values, _i64, columns, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, values, at, columns, columns_at, count, first = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def add(i: Any, sums: list[Any]) -> list[Any]:
            column = scratch.item(signature.args[4], columns, builder.add(columns_at, i))
            weight = scratch.item(signature.args[2], values, builder.add(at, i))
            return scratch.add_products(sums, scratch.spread(weight), scratch.load(builder.add(first, column)))

        scratch.store(target, scratch.fold(count, scratch.zeros(), add))
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def weigh_rows_by_rows(
    typing_context: Any,
    work: Any,
    target: Any,
    weights: Any,
    columns: Any,
    columns_at: Any,
    count: Any,
    first: Any,
) -> Any:
    """Target = sum over i < count of row[weights + i] row[first + columns[columns_at + i]]."""
    signature = types.void(work, _i64, _i64, columns, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, weights, columns, columns_at, count, first = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def add(i: Any, sums: list[Any]) -> list[Any]:
            column = scratch.item(signature.args[3], columns, builder.add(columns_at, i))
            weight = scratch.load(builder.add(weights, i))
            return scratch.add_products(sums, weight, scratch.load(builder.add(first, column)))

        scratch.store(target, scratch.fold(count, scratch.zeros(), add))
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_row_products(
    typing_context: Any,
    work: Any,
    target: Any,
    start: Any,
    left: Any,
    left_step: Any,
    right: Any,
    right_step: Any,
    count: Any,
) -> Any:
    """Target = row[start] + sum over i < count of row[left + i left_step] row[right + i right_step].

    A negative `start` stands for zero.
    """
    signature = types.void(work, *[_i64] * 7)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, start, left, left_step, right, right_step, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        none = builder.icmp_signed("<", start, INDEX(0))
        loaded = scratch.load(builder.select(none, target, start))
        sums = [builder.select(none, zero, old) for zero, old in zip(scratch.zeros(), loaded, strict=True)]

        def add(i: Any, sums: list[Any]) -> list[Any]:
            a = scratch.load(builder.add(left, builder.mul(i, left_step)))
            b = scratch.load(builder.add(right, builder.mul(i, right_step)))
            return scratch.add_products(sums, a, b)

        scratch.store(target, scratch.fold(count, sums, add))
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def multiply_rows(typing_context: Any, work: Any, target: Any, left: Any, right: Any) -> Any:
    """Target = row[left] row[right]."""
    signature = types.void(work, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, left, right = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        pairs = zip(scratch.load(left), scratch.load(right), strict=True)
        scratch.store(target, [builder.fmul(a, b) for a, b in pairs])
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_rows(typing_context: Any, work: Any, target: Any, left: Any, right: Any) -> Any:
    """Target = row[left] + row[right]."""
    signature = types.void(work, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, left, right = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        pairs = zip(scratch.load(left), scratch.load(right), strict=True)
        scratch.store(target, [builder.fadd(a, b) for a, b in pairs])
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def normalise_rows(typing_context: Any, work: Any, first: Any, step: Any, count: Any) -> Any:
    """Divide the rows first + i step, i < count, by their sum."""
    signature = types.void(work, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, first, step, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def add(i: Any, sums: list[Any]) -> list[Any]:
            row = scratch.load(builder.add(first, builder.mul(i, step)))
            return [builder.fadd(a, b) for a, b in zip(sums, row, strict=True)]

        totals = scratch.fold(count, scratch.zeros(), add)
        shares = [builder.fdiv(scratch.math.constant(1.0), total) for total in totals]

        def divide(i: Any, _: list[Any]) -> list[Any]:
            row = builder.add(first, builder.mul(i, step))
            scratch.store(row, [builder.fmul(x, s) for x, s in zip(scratch.load(row), shares, strict=True)])
            return []

        scratch.fold(count, [], divide)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def weigh_steps(
    typing_context: Any, work: Any, target: Any, values: Any, at: Any, count: Any, first: Any, step: Any
) -> Any:
    """Target = sum over i < count of values[at + i] row[first + i step]."""
    signature = types.void(work, _i64, values, _i64, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, values, at, count, first, step = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def add(i: Any, sums: list[Any]) -> list[Any]:
            weight = scratch.spread(scratch.item(signature.args[2], values, builder.add(at, i)))
            return scratch.add_products(sums, weight, scratch.load(builder.add(first, builder.mul(i, step))))

        scratch.store(target, scratch.fold(count, scratch.zeros(), add))
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def mask_rows(
    typing_context: Any, work: Any, target: Any, first: Any, count: Any, marks: Any, mark: Any, value: Any
) -> Any:
    """Set `count` rows from `target` on to those from `first` on in lanes where marks[mark] is `value`, else to zero.

    `marks` is int32, shape (rows, LANES).
    """
    signature = types.void(work, _i64, _i64, _i64, marks, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, first, count, marks, mark, value = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        wanted = scratch.spread_int(value)
        chosen = [builder.icmp_signed("==", v, wanted) for v in scratch.marks(signature.args[4], marks, mark)]

        def choose(i: Any, _: list[Any]) -> list[Any]:
            row = scratch.load(builder.add(first, i))
            masked = [builder.select(*parts) for parts in zip(chosen, row, scratch.zeros(), strict=True)]
            scratch.store(builder.add(target, i), masked)
            return []

        scratch.fold(count, [], choose)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_chosen(
    typing_context: Any,
    work: Any,
    target: Any,
    count: Any,
    values: Any,
    at: Any,
    row_step: Any,
    choice_step: Any,
    choices: Any,
    marks: Any,
    mark: Any,
) -> Any:
    """Add to row target + i, i < count, the value at + i row_step + c choice_step where marks[mark] is c.

    Nothing is added where it is none of 0 .. choices - 1. `marks` is int32, shape (rows, LANES).
    """
    signature = types.void(work, _i64, _i64, values, _i64, _i64, _i64, _i64, marks, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, count, values, at, row_step, choice_step, choices, marks, mark = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        marked = scratch.marks(signature.args[8], marks, mark)

        def add(i: Any, _: list[Any]) -> list[Any]:
            first = builder.add(at, builder.mul(i, row_step))

            def choose(c: Any, chosen: list[Any]) -> list[Any]:
                index = builder.add(first, builder.mul(c, choice_step))
                value = scratch.spread(scratch.item(signature.args[3], values, index))
                wanted = scratch.spread_int(c)
                taken = [builder.icmp_signed("==", v, wanted) for v in marked]
                return [builder.select(*parts) for parts in zip(taken, value, chosen, strict=True)]

            chosen = scratch.fold(choices, scratch.zeros(), choose)
            row = builder.add(target, i)
            sums = [builder.fadd(a, b) for a, b in zip(scratch.load(row), chosen, strict=True)]
            scratch.store(row, sums)
            return []

        scratch.fold(count, [], add)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_share(typing_context: Any, work: Any, target: Any, left: Any, share: Any, right: Any, count: Any) -> Any:
    """Set `count` rows from `target` on to those from `left` on plus `share` times those from `right` on.

    `share` is of the type of `work`.
    """
    signature = types.void(work, _i64, _i64, share, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, left, share, right, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        shares = scratch.spread(share)

        def add(i: Any, _: list[Any]) -> list[Any]:
            sums, terms = scratch.load(builder.add(left, i)), scratch.load(builder.add(right, i))
            scratch.store(builder.add(target, i), scratch.add_products(sums, shares, terms))
            return []

        scratch.fold(count, [], add)
        return context.get_dummy_value()

    return signature, emit
