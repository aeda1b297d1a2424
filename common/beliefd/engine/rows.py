"""Sums of rows of scratch, as vector code: the inner loops that most of the time goes into.

A row is 64 lanes wide. The sums stay in registers from the first term to the last; LLVM, given these loops as scalar
code, loads and stores the target once per term. Every lane of every row is summed by itself, in the order of the terms,
with fused multiply-add: so the bits do not depend on how many rows or lanes are computed together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from beliefd.engine.jit import intrinsic
from beliefd.engine.plan import LANES

_VECTOR_BYTES = 64
_INDEX = ir.IntType(64)
_MOST_VECTORS = 4
"""Vectors that are summed at once in each of four rows: with the terms they fit into the 32 registers of AVX-512."""


class _Rows:
    """Emits loads, stores and sums for one array of scratch."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        self._builder = builder
        self._element = context.get_data_type(array_type.dtype)
        self._item_bytes = context.get_abi_sizeof(self._element)
        self.width = _VECTOR_BYTES // self._item_bytes
        self.vector = ir.VectorType(self._element, self.width)
        self.in_row = LANES // self.width
        self._data = context.make_array(array_type)(context, builder, array).data
        kind = f"llvm.fma.v{self.width}f{8 * self._item_bytes}"
        function_type = ir.FunctionType(self.vector, [self.vector] * 3)
        self._fma = builder.module.globals.get(kind) or ir.Function(builder.module, function_type, kind)

    def zeros(self, count: int) -> list[Any]:
        return [ir.Constant(self.vector, [0.0] * self.width)] * count

    def load(self, row: Any, vectors: range) -> list[Any]:
        loaded = [self._builder.load(self._pointer(row, v)) for v in vectors]
        for vector in loaded:
            vector.align = self._item_bytes
        return loaded

    def store(self, row: Any, vectors: range, values: Sequence[Any]) -> None:
        for v, value in zip(vectors, values, strict=True):
            self._builder.store(value, self._pointer(row, v)).align = self._item_bytes

    def add_products(self, sums: Sequence[Any], left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
        return [self._builder.call(self._fma, [a, b, c]) for a, b, c in zip(left, right, sums, strict=True)]

    def spread(self, number: Any, count: int) -> list[Any]:
        """A vector with one number in all lanes."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self._builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0] * self.width)
        return [self._builder.shuffle_vector(one, undefined, everywhere)] * count

    def _pointer(self, row: Any, vector: int) -> Any:
        builder = self._builder
        lane = builder.add(builder.mul(row, _INDEX(LANES)), _INDEX(vector * self.width))
        return builder.bitcast(builder.gep(self._data, [lane]), self.vector.as_pointer())


def _sum(builder: Any, count: Any, start: list[Any], add: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Emit ``for i in range(count): sums = add(i, sums)``, the sums in registers; returns them."""
    before = builder.block
    head, body, after = (builder.append_basic_block(name) for name in ("sum", "sum.term", "sum.end"))
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(_INDEX)
    sums = [builder.phi(value.type) for value in start]
    builder.cbranch(builder.icmp_signed("<", i, count), body, after)
    builder.position_at_end(body)
    added = add(i, sums)
    following = builder.add(i, _INDEX(1))
    end = builder.block
    builder.branch(head)
    for phi, first, next_ in ((i, _INDEX(0), following), *zip(sums, start, added, strict=True)):
        phi.add_incoming(first, before)
        phi.add_incoming(next_, end)
    builder.position_at_end(after)
    return sums


def _item(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.load(builder.gep(data, [index]))


def _dense(rows: int) -> Any:
    @intrinsic
    def weigh(typing_context: Any, work: Any, target: Any, values: Any, at: Any, width: Any, first: Any) -> Any:
        signature = types.void(work, types.int64, values, types.int64, types.int64, types.int64)

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array, target, values, at, width, first = arguments
            scratch = _Rows(context, builder, signature.args[0], array)
            at_once = min(scratch.in_row, 4 * _MOST_VECTORS // rows)
            for start in range(0, scratch.in_row, at_once):
                vectors = range(start, start + at_once)

                def add(i: Any, sums: list[Any], vectors: range = vectors) -> list[Any]:
                    terms = scratch.load(builder.add(first, i), vectors)
                    added: list[Any] = []
                    for row in range(rows):
                        index = builder.add(builder.add(at, builder.mul(width, _INDEX(row))), i)
                        weight = _item(context, builder, signature.args[2], values, index)
                        own = sums[row * len(vectors) : (row + 1) * len(vectors)]
                        added += scratch.add_products(own, scratch.spread(weight, len(vectors)), terms)
                    return added

                sums = _sum(builder, width, scratch.zeros(rows * at_once), add)
                for row in range(rows):
                    scratch.store(builder.add(target, _INDEX(row)), vectors, sums[row * at_once : (row + 1) * at_once])
            return context.get_dummy_value()

        return signature, emit

    return weigh


weigh_row = _dense(1)
"""``weigh_row(work, target, values, at, width, first)``: set row `target` to the sum over i < width of values[at + i]
times row first + i."""

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
    """Set row `target` to the sum over i < count of values[at + i] times row first + columns[columns_at + i]."""
    i64 = types.int64
    signature = types.void(work, i64, values, i64, columns, i64, i64, i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, values, at, columns, columns_at, count, first = arguments
        scratch = _Rows(context, builder, signature.args[0], array)
        vectors = range(scratch.in_row)

        def add(i: Any, sums: list[Any]) -> list[Any]:
            column = _item(context, builder, signature.args[4], columns, builder.add(columns_at, i))
            weight = _item(context, builder, signature.args[2], values, builder.add(at, i))
            terms = scratch.load(builder.add(first, column), vectors)
            return scratch.add_products(sums, scratch.spread(weight, len(vectors)), terms)

        scratch.store(target, vectors, _sum(builder, count, scratch.zeros(len(vectors)), add))
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
    """Set row `target` to the sum over i < count of row weights + i times row first + columns[columns_at + i]."""
    i64 = types.int64
    signature = types.void(work, i64, i64, columns, i64, i64, i64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, weights, columns, columns_at, count, first = arguments
        scratch = _Rows(context, builder, signature.args[0], array)
        vectors = range(scratch.in_row)

        def add(i: Any, sums: list[Any]) -> list[Any]:
            column = _item(context, builder, signature.args[3], columns, builder.add(columns_at, i))
            weight = scratch.load(builder.add(weights, i), vectors)
            return scratch.add_products(sums, weight, scratch.load(builder.add(first, column), vectors))

        scratch.store(target, vectors, _sum(builder, count, scratch.zeros(len(vectors)), add))
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
    """Set row `target` to row `start` plus the sum over i < count of the products of two rows.

    These are row left + i left_step and row right + i right_step.
    """
    signature = types.void(work, *[types.int64] * 7)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, target, start, left, left_step, right, right_step, count = arguments
        scratch = _Rows(context, builder, signature.args[0], array)
        vectors = range(scratch.in_row)

        def add(i: Any, sums: list[Any]) -> list[Any]:
            a = scratch.load(builder.add(left, builder.mul(i, left_step)), vectors)
            b = scratch.load(builder.add(right, builder.mul(i, right_step)), vectors)
            return scratch.add_products(sums, a, b)

        scratch.store(target, vectors, _sum(builder, count, scratch.load(start, vectors), add))
        return context.get_dummy_value()

    return signature, emit
