"""How rows of scratch become vector code: loads, stores, and loops whose sums stay in registers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from beliefd.engine.plan import LANES
from beliefd.engine.vectormath import VectorMath

_VECTOR_BYTES = 64
INDEX = ir.IntType(64)


class Rows:
    """Emits code for the rows of one scratch array.

    Attributes
    ----------
    math : VectorMath
    in_row : int
        Vectors in a row; of a part, in the part.
    """

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        self._context = context
        self.builder = builder
        self._width = _VECTOR_BYTES * 8 // array_type.dtype.bitwidth
        self.math = VectorMath(builder, array_type.dtype.bitwidth, self._width)
        self.in_row = LANES // self._width
        self._vectors: Sequence[int] = range(self.in_row)
        self._data = context.make_array(array_type)(context, builder, array).data

    def load(self, row: Any, vectors: Sequence[int] | None = None) -> list[Any]:
        """The vectors of a row: all of this part, or those with these numbers."""
        loaded = [self.builder.load(self._pointer(row, v)) for v in vectors or self._vectors]
        for vector in loaded:
            vector.align = self.math.item_bytes
        return loaded

    def store(self, row: Any, values: Sequence[Any], vectors: Sequence[int] | None = None) -> None:
        for v, value in zip(vectors or self._vectors, values, strict=True):
            self.builder.store(value, self._pointer(row, v)).align = self.math.item_bytes

    def load_one(self, row: Any, vector: Any) -> Any:
        """The vector of a row whose number the code itself computes."""
        loaded = self.builder.load(self._pointer(row, vector))
        loaded.align = self.math.item_bytes
        return loaded

    def store_one(self, row: Any, vector: Any, value: Any) -> None:
        self.builder.store(value, self._pointer(row, vector)).align = self.math.item_bytes

    def zeros(self, count: int | None = None) -> list[Any]:
        return [self.math.constant(0.0)] * (self.in_row if count is None else count)

    def add_products(self, sums: Sequence[Any], left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
        return [self.math.fma(a, b, c) for a, b, c in zip(left, right, sums, strict=True)]

    def spread(self, number: Any, count: int | None = None) -> list[Any]:
        """Vectors with one number in all lanes."""
        undefined = ir.Constant(self.math.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), self._width), [0] * self._width)
        spread = self.builder.shuffle_vector(one, undefined, everywhere)
        return [spread] * (self.in_row if count is None else count)

    def by_parts(self, vectors: int, emit: Callable[[Rows], None]) -> None:
        """Emit code for so many vectors of each row at a time: where it says rows, it gets those alone.

        For code that has too few registers for all of them. LLVM would keep what does not fit on the stack, and across
        two cache lines wherever the stack of the process does not happen to begin at one.
        """
        for first in range(0, self.in_row, vectors):
            part = copy.copy(self)
            part._vectors = self._vectors[first : first + vectors]
            part.in_row = len(part._vectors)
            emit(part)

    def marks(self, array_type: Any, array: Any, row: Any) -> list[Any]:
        """The vectors of a row of an int32 array that has as many columns as a row has lanes."""
        vector = ir.VectorType(ir.IntType(32), self._width)
        data = self._context.make_array(array_type)(self._context, self.builder, array).data
        loaded = []
        for v in self._vectors:
            lane = self.builder.add(self.builder.mul(row, INDEX(LANES)), INDEX(v * self._width))
            pointer = self.builder.bitcast(self.builder.gep(data, [lane]), vector.as_pointer())
            loaded.append(self.builder.load(pointer))
            loaded[-1].align = 4
        return loaded

    def spread_int(self, number: Any) -> Any:
        """A vector of int32 with one int64 in all lanes."""
        vector = ir.VectorType(ir.IntType(32), self._width)
        narrow = self.builder.trunc(number, ir.IntType(32))
        one = self.builder.insert_element(ir.Constant(vector, ir.Undefined), narrow, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(
            one, ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0] * self._width)
        )

    def item(self, array_type: Any, array: Any, index: Any) -> Any:
        """A number of another array."""
        data = self._context.make_array(array_type)(self._context, self.builder, array).data
        return self.builder.load(self.builder.gep(data, [index]))

    def fold(self, count: Any, start: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """Emit ``for i in range(count): values = body(i, values)``, the values in registers; returns them."""
        builder = self.builder
        before = builder.block
        head, term, after = (builder.append_basic_block(name) for name in ("rows", "rows.term", "rows.end"))
        builder.branch(head)
        builder.position_at_end(head)
        i = builder.phi(INDEX)
        values = [builder.phi(value.type) for value in start]
        builder.cbranch(builder.icmp_signed("<", i, count), term, after)
        builder.position_at_end(term)
        results = body(i, list(values))
        following = builder.add(i, INDEX(1))
        end = builder.block
        builder.branch(head)
        for phi, first, next_ in ((i, INDEX(0), following), *zip(values, start, results, strict=True)):
            phi.add_incoming(first, before)
            phi.add_incoming(next_, end)
        builder.position_at_end(after)
        return list(values)

    def each(self, first: Any, count: Any, change: Callable[[Any, list[Any]], list[Any]]) -> None:
        """Emit a loop that replaces `count` rows from `first` on by ``change(i, row)``."""

        def body(i: Any, _: list[Any]) -> list[Any]:
            row = self.builder.add(first, i)
            self.store(row, change(i, self.load(row)))
            return []

        self.fold(count, [], body)

    def _pointer(self, row: Any, vector: Any) -> Any:
        first = INDEX(vector * self._width) if isinstance(vector, int) else self.builder.mul(vector, INDEX(self._width))
        lane = self.builder.add(self.builder.mul(row, INDEX(LANES)), first)
        return self.builder.bitcast(self.builder.gep(self._data, [lane]), self.math.vector.as_pointer())
