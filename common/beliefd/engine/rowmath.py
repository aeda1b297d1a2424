"""What kernels do to rows of scratch beyond sums: maxima, logarithms, exponentials, softmax, entropies.

See `beliefd.engine.rows` for what a row is and for the names in the signatures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from beliefd.engine.jit import intrinsic
from beliefd.engine.vectorcode import INDEX, Rows
from beliefd.engine.vectormath import FLOOR

RAISE = 1e-16
"""What the profiles "legacy" and "spm" add to the argument of a logarithm, in place of a floor."""

RAISE_CERTAINTY = math.exp(-16)
"""The same within the expected entropy of observations; there also the probability over which a state counts."""

_i64 = types.int64
_LOGS, _EXPS = 2, 4
"""Of how many vectors at once there are registers enough for a sum over logarithms, and for exponentials."""


@intrinsic
def largest_of_rows(typing_context: Any, work: Any, target: Any, first: Any, count: Any) -> Any:
    """Target = the largest of `count` rows, lane by lane."""
    signature = types.void(work, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, first, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        scratch.store(target, _largest(scratch, first, count))
        return context.get_dummy_value()

    return signature, emit


def _largest(scratch: Rows, first: Any, count: Any) -> list[Any]:
    builder = scratch.builder

    def larger(i: Any, found: list[Any]) -> list[Any]:
        row = scratch.load(builder.add(first, i))
        return [scratch.math.maximum(a, b) for a, b in zip(row, found, strict=True)]

    return scratch.fold(count, scratch.load(first), larger)


@intrinsic
def log_rows(typing_context: Any, work: Any, target: Any, first: Any, count: Any) -> Any:
    """Row[target + i] = the logarithm of row[first + i], i < count; see `vectormath` for its floor."""
    signature = types.void(work, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, first, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def write(i: Any, _: list[Any]) -> list[Any]:
            row = scratch.load(builder.add(first, i))
            scratch.store(builder.add(target, i), [scratch.math.log_floor(x) for x in row])
            return []

        scratch.fold(count, [], write)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_log_share(typing_context: Any, work: Any, target: Any, left: Any, share: Any, right: Any, count: Any) -> Any:
    """As `beliefd.engine.rows.add_share`, with the logarithm of the rows from `right` on.

    `share` is of the type of `work`.
    """
    signature = types.void(work, _i64, _i64, share, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, left, share, right, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        shares = scratch.spread(share)

        def add(i: Any, _: list[Any]) -> list[Any]:
            logs = [scratch.math.log_floor(x) for x in scratch.load(builder.add(right, i))]
            sums = scratch.load(builder.add(left, i))
            scratch.store(builder.add(target, i), scratch.add_products(sums, shares, logs))
            return []

        scratch.fold(count, [], add)
        return context.get_dummy_value()

    return signature, emit


def _sparse(change: Callable[[Rows, list[Any]], list[Any]]) -> Any:
    @intrinsic
    def add_sparse(
        typing_context: Any,
        work: Any,
        target: Any,
        left: Any,
        share: Any,
        weights: Any,
        ints: Any,
        pointer: Any,
        columns: Any,
        count: Any,
        first: Any,
    ) -> Any:
        signature = types.void(work, _i64, _i64, share, _i64, ints, _i64, _i64, _i64, _i64)

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array, target, left, share, weights, ints, pointer, columns, count, first = arguments
            scratch = Rows(context, builder, signature.args[0], array)
            shares = scratch.spread(share)

            def integer(index: Any) -> Any:
                return scratch.item(signature.args[5], ints, index)

            def weigh(row: Any, _: list[Any]) -> list[Any]:
                place = builder.add(pointer, row)
                begin, end = integer(place), integer(builder.add(place, INDEX(1)))

                def add(i: Any, sums: list[Any]) -> list[Any]:
                    entry = builder.add(begin, i)
                    term = scratch.load(builder.add(first, integer(builder.add(columns, entry))))
                    return scratch.add_products(sums, scratch.load(builder.add(weights, entry)), term)

                sums = change(scratch, scratch.fold(builder.sub(end, begin), scratch.zeros(), add))
                old = scratch.load(builder.add(left, row))
                scratch.store(builder.add(target, row), scratch.add_products(old, shares, sums))
                return []

            scratch.fold(count, [], weigh)
            return context.get_dummy_value()

        return signature, emit

    return add_sparse


add_sparse_share = _sparse(lambda rows, sums: sums)
"""``add_sparse_share(work, target, left, share, weights, ints, pointer, columns, count, first)``.

Row[target + r] = row[left + r] + share sum over i of row[weights + i] row[first + ints[columns + i]], r < count.
i runs from ints[pointer + r] to ints[pointer + r + 1]. `share` is of the type of `work`.
"""

add_sparse_log_share = _sparse(lambda rows, sums: [rows.math.log_floor(x) for x in sums])
"""As `add_sparse_share`, with the logarithm of each sum."""


@intrinsic
def exp_rows(typing_context: Any, work: Any, first: Any, count: Any, largest: Any, factor: Any) -> Any:
    """Replace rows by exp(factor (row - row[largest])). `factor` is of the type of `work`."""
    signature = types.void(work, _i64, _i64, _i64, factor)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, first, count, largest, factor = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def change_part(part: Rows) -> None:
            top, factors = part.load(largest), part.spread(factor)

            def change(i: Any, row: list[Any]) -> list[Any]:
                scaled = [builder.fmul(f, builder.fsub(x, t)) for f, x, t in zip(factors, row, top, strict=True)]
                return [part.math.exp(x) for x in scaled]

            part.each(first, count, change)

        scratch.by_parts(_EXPS, change_part)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def softmax_rows(typing_context: Any, work: Any, first: Any, between: Any, target: Any, count: Any) -> Any:
    """Write the softmax of the rows from `first` on to those from `target` on; rows from `between` on are overwritten.

    All three may be the same.

    Returns
    -------
    bool
        Whether any bit of the target changed in any lane; of no meaning where `between` and `target` are the same.
    """
    signature = types.boolean(work, _i64, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, first, between, target, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        changes: list[Any] = []

        def normalise_part(part: Rows) -> None:
            top = _largest(part, first, count)

            def exponentiate(i: Any, sums: list[Any]) -> list[Any]:
                row = part.load(builder.add(first, i))
                powers = [part.math.exp(builder.fsub(x, t)) for x, t in zip(row, top, strict=True)]
                part.store(builder.add(between, i), powers)
                return [builder.fadd(a, b) for a, b in zip(sums, powers, strict=True)]

            sums = part.fold(count, part.zeros(), exponentiate)
            shares = [builder.fdiv(part.math.constant(1.0), total) for total in sums]

            def normalise(i: Any, changed: list[Any]) -> list[Any]:
                row = builder.add(target, i)
                old = part.load(row)
                new = [builder.fmul(x, s) for x, s in zip(part.load(builder.add(between, i)), shares, strict=True)]
                part.store(row, new)
                # Probabilities are neither NaN nor negative zero, so two that are equal have the same bits.
                differ = [builder.fcmp_unordered("!=", a, b) for a, b in zip(new, old, strict=True)]
                return [builder.or_(a, b) for a, b in zip(changed, differ, strict=True)]

            flags = ir.VectorType(ir.IntType(1), top[0].type.count)
            changes.extend(part.fold(count, [ir.Constant(flags, [0] * flags.count)] * part.in_row, normalise))

        scratch.by_parts(_EXPS, normalise_part)
        changed, *others = changes
        for other in others:
            changed = builder.or_(changed, other)
        whole = ir.IntType(changed.type.count)
        return builder.icmp_unsigned("!=", builder.bitcast(changed, whole), whole(0))

    return signature, emit


@intrinsic
def add_entropy(typing_context: Any, work: Any, target: Any, first: Any, count: Any) -> Any:
    """Add to `target` the entropy of the distribution in `count` rows, in nats."""
    signature = types.void(work, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, first, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def add_part(part: Rows) -> None:
            def add(i: Any, sums: list[Any]) -> list[Any]:
                row = part.load(builder.add(first, i))
                negative = [builder.fneg(p) for p in row]
                return part.add_products(sums, negative, [part.math.log_floor(p) for p in row])

            part.store(target, part.fold(count, part.load(target), add))

        scratch.by_parts(_LOGS, add_part)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_divergence(typing_context: Any, work: Any, target: Any, first: Any, reference: Any, count: Any) -> Any:
    """Add to `target` the sum over i < count of q (ln q - row[reference + i]), where q = row[first + i]."""
    signature = types.void(work, *[_i64] * 4)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, first, reference, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def add_part(part: Rows) -> None:
            def add(i: Any, sums: list[Any]) -> list[Any]:
                row, log_prior = part.load(builder.add(first, i)), part.load(builder.add(reference, i))
                logs = [builder.fsub(part.math.log_floor(q), p) for q, p in zip(row, log_prior, strict=True)]
                return part.add_products(sums, row, logs)

            part.store(target, part.fold(count, part.load(target), add))

        scratch.by_parts(_LOGS, add_part)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_log_row(typing_context: Any, work: Any, target: Any, row: Any) -> Any:
    """Add to `target` the logarithm of a row."""
    signature = types.void(work, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, row = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        logs = [scratch.math.log_floor(x) for x in scratch.load(row)]
        pairs = zip(scratch.load(target), logs, strict=True)
        scratch.store(target, [builder.fadd(a, b) for a, b in pairs])
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_weighed_logs(
    typing_context: Any, work: Any, target: Any, weights: Any, first: Any, step: Any, count: Any
) -> Any:
    """Add to `target` the sum over i < count of row[weights + i] times the logarithm of row[first + i step]."""
    signature = types.void(work, *[_i64] * 5)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, weights, first, step, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def add_part(part: Rows) -> None:
            def add(i: Any, sums: list[Any]) -> list[Any]:
                row = part.load(builder.add(first, builder.mul(i, step)))
                logs = [part.math.log_floor(p) for p in row]
                return part.add_products(sums, part.load(builder.add(weights, i)), logs)

            part.store(target, part.fold(count, part.load(target), add))

        scratch.by_parts(_LOGS, add_part)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def add_negentropy(typing_context: Any, work: Any, target: Any, first: Any, step: Any, count: Any) -> Any:
    """Add to `target` the sum over i < count of p ln p, where p = row[first + i step]."""
    signature = types.void(work, *[_i64] * 4)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, first, step, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def add_part(part: Rows) -> None:
            def add(i: Any, sums: list[Any]) -> list[Any]:
                row = part.load(builder.add(first, builder.mul(i, step)))
                return part.add_products(sums, row, [part.math.log_floor(p) for p in row])

            part.store(target, part.fold(count, part.load(target), add))

        scratch.by_parts(_LOGS, add_part)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def inform_rows(typing_context: Any, work: Any, first: Any, step: Any, count: Any) -> Any:
    """Replace the counts row[first + i step], i < count, by their information; see `beliefd.engine.novelty`."""
    return _inform(work, lambda rows, x: rows.math.maximum(x, rows.math.constant(FLOOR)), _gap)


@intrinsic
def inform_rows_raised(typing_context: Any, work: Any, first: Any, step: Any, count: Any) -> Any:
    """As `inform_rows`, for the profiles "legacy" and "spm"."""
    return _inform(work, lambda rows, x: rows.builder.fadd(x, rows.math.constant(RAISE)), _inverse)


def _gap(rows: Rows, x: Any) -> Any:
    return rows.math.digamma_gap(x)


def _inverse(rows: Rows, x: Any) -> Any:
    return rows.builder.fdiv(rows.math.constant(1.0), x)


def _inform(work: Any, above_zero: Callable[[Rows, Any], Any], value: Callable[[Rows, Any], Any]) -> Any:
    signature = types.void(work, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, first, step, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)

        def add(i: Any, sums: list[Any]) -> list[Any]:
            row = scratch.load(builder.add(first, builder.mul(i, step)))
            return [builder.fadd(a, above_zero(scratch, x)) for a, x in zip(sums, row, strict=True)]

        totals = [value(scratch, total) for total in scratch.fold(count, scratch.zeros(), add)]

        def write(i: Any, _: list[Any]) -> list[Any]:
            place = builder.add(first, builder.mul(i, step))
            told = []
            for x, total in zip(scratch.load(place), totals, strict=True):
                information = builder.fsub(value(scratch, above_zero(scratch, x)), total)
                counts = builder.fcmp_ordered(">", x, scratch.math.constant(0.0))
                told.append(builder.select(counts, information, scratch.math.constant(0.0)))
            scratch.store(place, told)
            return []

        scratch.fold(count, [], write)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def write_raised_logs(
    typing_context: Any, work: Any, target: Any, first: Any, step: Any, count: Any, raise_by: Any
) -> Any:
    """Row[target + i] = the logarithm of row[first + i step] + raise_by, i < count; the last of the type of `work`."""
    signature = types.void(work, _i64, _i64, _i64, _i64, raise_by)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, first, step, count, raise_by = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        raises = scratch.spread(raise_by)

        def write(i: Any, _: list[Any]) -> list[Any]:
            row = scratch.load(builder.add(first, builder.mul(i, step)))
            raised = [builder.fadd(x, r) for x, r in zip(row, raises, strict=True)]
            scratch.store(builder.add(target, i), [scratch.math.log(x) for x in raised])
            return []

        scratch.fold(count, [], write)
        return context.get_dummy_value()

    return signature, emit
