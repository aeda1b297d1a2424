"""What kernels do to the numbers of an agent's record: they stand side by side, so vectors run along them.

Between records and rows of scratch lies a transposition: it is done in squares of as many numbers as a vector has, of
as many agents, within registers; what is left of a record, or all of one that has fewer, goes number by number.
`places` names numbers of `records`, or of another array with a row per agent, by their place among those of all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, errors

from beliefd.engine.jit import intrinsic
from beliefd.engine.plan import LINE_BYTES
from beliefd.engine.vectorcode import INDEX, Rows
from beliefd.engine.vectormath import VectorMath

_i64 = types.int64
_MOST_FETCHED_BYTES = 512
"""Of a longer record: what is done with one then takes so long that to wait for the rest does not matter."""
_INTO_L2 = 2  # what a tile works on would drive it out of the first
_copy: Any = cgutils.raw_memcpy
_unpacked: Any = cgutils.unpack_tuple


@intrinsic
def gather_rows(typing_context: Any, work: Any, target: Any, records: Any, places: Any, first: Any, count: Any) -> Any:
    """Row[target + i], lane by lane = the number places[lane] + first + i of records, i < count.

    `work` is the scratch, or another array with a column per lane; `records` has numbers of as many bits, `places` is
    int64 (LANES,).
    """
    _check_sizes(work, records)
    signature = types.void(work, _i64, records, places, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, records, places, first, count = arguments
        scratch = Rows(context, builder, signature.args[0], array)
        data = _numbers(context, builder, signature.args[2], records, scratch.math)
        width = scratch.math.vector.count
        whole = builder.sdiv(count, INDEX(width))
        rest = builder.mul(whole, INDEX(width))

        def bring_group(group: Any, _: list[Any]) -> list[Any]:
            begin = builder.mul(group, INDEX(width))
            places_at = [scratch.item(signature.args[3], places, builder.add(begin, INDEX(i))) for i in range(width)]
            sources = [builder.gep(data, [builder.add(place, first)]) for place in places_at]

            def bring_square(i: Any, _: list[Any]) -> list[Any]:
                number = builder.mul(i, INDEX(width))
                loaded = [_load(builder, builder.gep(source, [number]), scratch.math) for source in sources]
                for k, row in enumerate(_transposed(builder, loaded)):
                    scratch.store_one(builder.add(builder.add(target, number), INDEX(k)), group, row)
                return []

            def bring_row(i: Any, _: list[Any]) -> list[Any]:
                number = builder.add(rest, i)
                row = ir.Constant(scratch.math.vector, ir.Undefined)
                for lane, source in enumerate(sources):
                    value = builder.load(builder.gep(source, [number]))
                    row = builder.insert_element(row, value, ir.Constant(ir.IntType(32), lane))
                scratch.store_one(builder.add(target, number), group, row)
                return []

            scratch.fold(whole, [], bring_square)
            scratch.fold(builder.sub(count, rest), [], bring_row)
            return []

        scratch.fold(INDEX(scratch.in_row), [], bring_group)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def scatter_rows(typing_context: Any, records: Any, places: Any, first: Any, work: Any, source: Any, count: Any) -> Any:
    """The number places[lane] + first + i of records = row[source + i], lane by lane, i < count: `gather_rows` back.

    Lanes are written from the last to the first: where some have the same place, the first of them is what stays.
    """
    _check_sizes(work, records)
    signature = types.void(records, places, _i64, work, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        records, places, first, array, source, count = arguments
        scratch = Rows(context, builder, signature.args[3], array)
        data = _numbers(context, builder, signature.args[0], records, scratch.math)
        width = scratch.math.vector.count
        whole = builder.sdiv(count, INDEX(width))
        rest = builder.mul(whole, INDEX(width))

        def take_group(i: Any, _: list[Any]) -> list[Any]:
            group = builder.sub(INDEX(scratch.in_row - 1), i)
            begin = builder.mul(group, INDEX(width))
            places_at = [scratch.item(signature.args[1], places, builder.add(begin, INDEX(i))) for i in range(width)]
            targets = [builder.gep(data, [builder.add(place, first)]) for place in places_at]

            def take_square(i: Any, _: list[Any]) -> list[Any]:
                number = builder.mul(i, INDEX(width))
                row = builder.add(source, number)
                loaded = [scratch.load_one(builder.add(row, INDEX(k)), group) for k in range(width)]
                for target, numbers in reversed([*zip(targets, _transposed(builder, loaded), strict=True)]):
                    pointer = builder.bitcast(builder.gep(target, [number]), scratch.math.vector.as_pointer())
                    builder.store(numbers, pointer).align = scratch.math.item_bytes
                return []

            def take_row(i: Any, _: list[Any]) -> list[Any]:
                number = builder.add(rest, i)
                row = scratch.load_one(builder.add(source, number), group)
                for lane, target in reversed([*enumerate(targets)]):
                    value = builder.extract_element(row, ir.Constant(ir.IntType(32), lane))
                    builder.store(value, builder.gep(target, [number]))
                return []

            scratch.fold(whole, [], take_square)
            scratch.fold(builder.sub(count, rest), [], take_row)
            return []

        scratch.fold(INDEX(scratch.in_row), [], take_group)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def fetch_ahead(typing_context: Any, records: Any, row: Any, size_bytes: Any) -> Any:
    """Have the beginning of a record brought from memory, `size_bytes` or as many as are worth it, and do not wait."""
    signature = types.void(records, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, row, size_bytes = arguments
        view = context.make_array(signature.args[0])(context, builder, array)
        in_row = _unpacked(builder, view.strides, 2)[0]
        begin = builder.gep(builder.bitcast(view.data, ir.IntType(8).as_pointer()), [builder.mul(row, in_row)])
        number = ir.IntType(32)
        fetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [begin.type], ir.FunctionType(ir.VoidType(), [begin.type, number, number, number])
        )
        to_read, data, limit = number(0), number(1), INDEX(_MOST_FETCHED_BYTES)
        most = builder.select(builder.icmp_signed("<", size_bytes, limit), size_bytes, limit)
        with cgutils.for_range_slice(builder, INDEX(0), most, INDEX(LINE_BYTES)) as (at, _):
            builder.call(fetch, [builder.gep(begin, [at]), to_read, number(_INTO_L2), data])
        # It begins anywhere in a line, so it may end in one more.
        builder.call(fetch, [builder.gep(begin, [builder.sub(most, INDEX(1))]), to_read, number(_INTO_L2), data])
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def keep_order(typing_context: Any) -> Any:
    """What is written before this is in memory before what is written after it, for who looks after this process died.

    Such a one sees what instructions wrote in their order, so it is the compiler alone that may not change that: this
    is no instruction.
    """
    signature = types.void()

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst", "singlethread")
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def take_some(typing_context: Any, tally: Any, count: Any) -> Any:
    """Add `count` to ``tally[0]``, int64, and return what it was.

    Of those who do so at once, in whatever process, no two get the same.
    """
    signature = types.int64(tally, types.int64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tally, count = arguments
        data = context.make_array(signature.args[0])(context, builder, tally).data
        return builder.atomic_rmw("add", data, count, "monotonic")

    return signature, emit


def _check_sizes(work: Any, records: Any) -> None:
    if work.dtype.bitwidth != records.dtype.bitwidth:
        raise errors.TypingError(f"rows and records have numbers of one size, not {work.dtype} and {records.dtype}")


def _numbers(context: Any, builder: Any, array_type: Any, array: Any, math: VectorMath) -> Any:
    """Where the numbers of an array begin; integers are moved as the numbers of as many bits that vectors are of."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(data, math.vector.element.as_pointer())


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Transpose as many vectors as they have numbers: halves of halves change places (Eklundh, 1972)."""
    rows, apart = list(rows), len(rows) // 2
    numbers = range(len(rows))
    choice = ir.VectorType(ir.IntType(32), len(rows))
    while apart:
        upper = ir.Constant(choice, [len(rows) + j - apart if j & apart else j for j in numbers])
        lower = ir.Constant(choice, [len(rows) + j if j & apart else j + apart for j in numbers])
        for i in numbers:
            if not i & apart:
                pair = rows[i], rows[i + apart]
                rows[i] = builder.shuffle_vector(*pair, upper)
                rows[i + apart] = builder.shuffle_vector(*pair, lower)
        apart //= 2
    return rows


@intrinsic
def copy_numbers(typing_context: Any, records: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` numbers from place `source` on to place `target` on; the two do not overlap."""
    signature = types.void(records, _i64, _i64, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, source, count = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        item_bytes = signature.args[0].dtype.bitwidth // 8
        _copy(builder, builder.gep(data, [target]), builder.gep(data, [source]), count, item_bytes)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def grow_numbers(
    typing_context: Any, records: Any, place: Any, work: Any, first: Any, count: Any, factor: Any, keep_zeros: Any
) -> Any:
    """Add to the numbers place + i of records `factor` times the number first + i of the scratch, i < count.

    Where `keep_zeros` is not 0, zeros stay as they are. The numbers of the scratch are counted row after row; `factor`
    is of the type of `work`.
    """
    signature = types.void(records, _i64, work, _i64, _i64, factor, _i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place, work, first, count, factor, keep_zeros = arguments
        to = builder.gep(context.make_array(signature.args[0])(context, builder, array).data, [place])
        by = builder.gep(context.make_array(signature.args[2])(context, builder, work).data, [first])
        scratch = Rows(context, builder, signature.args[2], work)
        keeps = builder.icmp_signed("!=", keep_zeros, INDEX(0))

        def grow(math: VectorMath, begin: Any) -> Callable[[Any, list[Any]], list[Any]]:
            width = math.vector.count
            undefined = ir.Constant(math.vector, ir.Undefined)
            one = builder.insert_element(undefined, factor, ir.Constant(ir.IntType(32), 0))
            everywhere = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
            factors = builder.shuffle_vector(one, undefined, everywhere)
            kept = builder.shuffle_vector(
                builder.insert_element(ir.Constant(ir.VectorType(ir.IntType(1), width), ir.Undefined), keeps, INDEX(0)),
                ir.Constant(ir.VectorType(ir.IntType(1), width), ir.Undefined),
                everywhere,
            )

            def body(i: Any, _: list[Any]) -> list[Any]:
                at = builder.add(begin, builder.mul(i, INDEX(width)))
                pointer = builder.gep(to, [at])
                old = _load(builder, pointer, math)
                grown = math.fma(factors, _load(builder, builder.gep(by, [at]), math), old)
                zero = builder.fcmp_ordered("==", old, math.constant(0.0))
                new = builder.select(builder.and_(kept, zero), old, grown)
                builder.store(new, builder.bitcast(pointer, math.vector.as_pointer())).align = math.item_bytes
                return []

            return body

        wide, narrow = scratch.math, VectorMath(builder, signature.args[2].dtype.bitwidth, 1)
        whole = builder.sdiv(count, INDEX(wide.vector.count))
        rest = builder.mul(whole, INDEX(wide.vector.count))
        scratch.fold(whole, [], grow(wide, INDEX(0)))
        scratch.fold(builder.sub(count, rest), [], grow(narrow, rest))
        return context.get_dummy_value()

    return signature, emit


def _load(builder: Any, pointer: Any, math: VectorMath) -> Any:
    loaded = builder.load(builder.bitcast(pointer, math.vector.as_pointer()))
    loaded.align = math.item_bytes
    return loaded
