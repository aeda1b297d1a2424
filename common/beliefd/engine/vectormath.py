"""Logarithm and exponential of whole vectors, as LLVM code.

Both reduce the range by reading the bits of the number and end in a polynomial. The coefficients minimise the largest
error over the reduced range (weighted least squares with Lawson's reweighting, in extended precision, 1,200 Chebyshev
nodes): exp(r) = 1 + r + r^2 P(r) on |r| <= ln(2)/2; ln(1 + f) = f - f^2/2 + f^3 P(f) in float32, and
ln(m) = 2s + s^3 P(s^2) with s = f / (2 + f) in float64, for m in [sqrt(1/2), sqrt(2)].

Errors, checked by the tests over the whole domain: log in float32 at most 5e-7 max(1, abs(ln x)), exp in float32 at
most 3e-7 relative; both in float64 at most 1e-14 in the same measures. `log_floor` is the logarithm of what is not
under `FLOOR`; `log` itself takes normal numbers above 0. `exp` gives 0 where the result would be under the smallest
normal number, and takes arguments up to 88 (float32) or 709 (float64).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

FLOOR = 2.220446049250313e-16
"""The smallest argument of `log_floor`: the machine epsilon of float64, also for float32 models."""


@dataclass(frozen=True)
class _Format:
    """What depends on the floating-point format. Polynomials begin with the highest power.

    `rounding` is 1.5 * 2^mantissa_bits: adding it rounds to the nearest integer, and leaves that integer in the low
    bits. ln 2 comes in two parts, of which the first has few bits: its product with the exponent is exact.
    """

    bits: int
    mantissa_bits: int
    rounding: float
    sqrt_half_bits: int
    ln2_high: float
    ln2_low: float
    exp_smallest: float
    exp: tuple[float, ...]
    log: tuple[float, ...]

    @property
    def rounding_bits(self) -> int:
        real, whole = (np.float32, np.int32) if self.bits == 32 else (np.float64, np.int64)
        return int(real(self.rounding).view(whole))


_FORMATS = {
    32: _Format(
        bits=32,
        mantissa_bits=23,
        rounding=12582912.0,
        sqrt_half_bits=0x3F3504F3,
        ln2_high=0.693359375,
        ln2_low=-2.12194440e-4,
        exp_smallest=-87.33654,
        exp=(0.0013813144392824809, 0.008369418846518076, 0.04166845678980878, 0.16666514791278303, 0.4999999305071231),
        log=(
            0.08672175494859608,
            -0.14379007558050805,
            0.14977996561863607,
            -0.1656442572198156,
            0.19954875417236437,
            -0.250016987399875,
            0.33334165924053283,
        ),
    ),
    64: _Format(
        bits=64,
        mantissa_bits=52,
        rounding=6755399441055744.0,
        sqrt_half_bits=0x3FE6A09E667F3BCD,
        ln2_high=6.93147180369123816490e-01,
        ln2_low=1.90821492927058770002e-10,
        exp_smallest=-708.3964185322641,
        exp=(
            2.5000034394116208e-08,
            2.7630537138256366e-07,
            2.7557587915036234e-06,
            2.4801492349628286e-05,
            0.00019841269503258433,
            0.0013888888944286269,
            0.0083333333334967,
            0.04166666666652797,
            0.16666666666666408,
            0.5000000000000011,
        ),
        log=(
            0.14796353427179662,
            0.1531400552814149,
            0.1818356634906817,
            0.22222198526593112,
            0.2857142874296547,
            0.3999999999941102,
            0.6666666666666735,
        ),
    ),
}


_GAP = {
    32: (5, (-1 / 252, 1 / 120, -1 / 12)),
    64: (9, (691 / 32760, -1 / 132, 1 / 240, -1 / 252, 1 / 120, -1 / 12)),
}
"""Of `digamma_gap`, by bits: how many steps up before the series, an odd number, and the series in 1/y^2."""


def digamma_gap(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Psi(x + 1) - ln x, for x above 0; psi is the digamma function.

    With psi(y) = psi(y - 1) + 1 / (y - 1), from an y = x + 1 + n at which ln y - 1/2y - sum_k B_2k / (2k y^2k) is exact
    enough (Abramowitz, Stegun, Handbook of Mathematical Functions, 6.3.5 and 6.3.18). In terms of one logarithm, that
    of y / x, so that nothing is lost where x is large.
    """
    steps, series = _GAP[64]
    y = x + 1.0 + steps
    square = 1.0 / (y * y)
    tail = np.polyval(series, square) * square - 0.5 / y
    return np.log(y / x) + tail - sum(1.0 / (x + i) for i in range(1, steps + 1))


class VectorMath:
    """Emits arithmetic on vectors of one floating-point type.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    bits : {32, 64}
        Of the floating-point type.
    width : int
        Numbers in a vector.
    """

    def __init__(self, builder: Any, bits: int, width: int) -> None:
        self._builder = builder
        self._format = _FORMATS[bits]
        self.item_bytes = bits // 8
        self.vector = ir.VectorType(ir.FloatType() if bits == 32 else ir.DoubleType(), width)
        self._whole = ir.VectorType(ir.IntType(bits), width)
        name = f"llvm.fma.v{width}f{bits}"
        function_type = ir.FunctionType(self.vector, [self.vector] * 3)
        self._fma = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)

    def constant(self, value: float) -> Any:
        # As numba's own constants: a literal float32 has to be exact.
        exact = float(np.float32(value)) if self._format.bits == 32 else value
        return ir.Constant(self.vector, [exact] * self.vector.count)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """A b + c with one rounding."""
        return self._builder.call(self._fma, [a, b, c])

    def maximum(self, a: Any, b: Any) -> Any:
        return self._builder.select(self._builder.fcmp_ordered(">", a, b), a, b)

    def exp(self, x: Any) -> Any:
        builder, form = self._builder, self._format
        smallest = self.constant(form.exp_smallest)
        clipped = self.maximum(x, smallest)
        rounded = self.fma(clipped, self.constant(1.4426950408889634), self.constant(form.rounding))
        n = builder.fsub(rounded, self.constant(form.rounding))
        r = self.fma(n, self.constant(-form.ln2_high), clipped)
        r = self.fma(n, self.constant(-form.ln2_low), r)
        value = builder.fadd(self.fma(builder.fmul(r, r), self._polynomial(r, form.exp), r), self.constant(1.0))
        power = builder.sub(self._bits(rounded), self._integers(form.rounding_bits))
        scaled = builder.add(self._bits(value), builder.shl(power, self._integers(form.mantissa_bits)))
        large = builder.fcmp_ordered(">=", x, smallest)
        return builder.select(large, builder.bitcast(scaled, self.vector), self.constant(0.0))

    def log_floor(self, x: Any) -> Any:
        return self.log(self.maximum(x, self.constant(FLOOR)))

    def log(self, x: Any) -> Any:
        builder, form = self._builder, self._format
        bits = self._bits(x)
        exponent = builder.ashr(
            builder.sub(bits, self._integers(form.sqrt_half_bits)), self._integers(form.mantissa_bits)
        )
        mantissa = builder.sub(bits, builder.shl(exponent, self._integers(form.mantissa_bits)))
        f = builder.fsub(builder.bitcast(mantissa, self.vector), self.constant(1.0))
        # An int64 has no vector conversion to float64 in AVX2; its low bits under a known exponent do.
        e = builder.bitcast(builder.add(exponent, self._integers(form.rounding_bits)), self.vector)
        e = builder.fsub(e, self.constant(form.rounding))
        if form.bits == 32:
            square = builder.fmul(f, f)
            tail = self.fma(e, self.constant(form.ln2_low), builder.fmul(square, self.constant(-0.5)))
            tail = self.fma(square, builder.fmul(self._polynomial(f, form.log), f), tail)
            sum_ = builder.fadd(f, tail)
        else:
            s = builder.fdiv(f, builder.fadd(f, self.constant(2.0)))
            z = builder.fmul(s, s)
            tail = self.fma(
                builder.fmul(s, z), self._polynomial(z, form.log), builder.fmul(e, self.constant(form.ln2_low))
            )
            sum_ = self.fma(s, self.constant(2.0), tail)
        return self.fma(e, self.constant(form.ln2_high), sum_)

    def digamma_gap(self, x: Any) -> Any:
        """Psi(x + 1) - ln x, for x of at least `FLOOR`; see the function of this name."""
        builder, steps, series = self._builder, *_GAP[self._format.bits]
        middle = builder.fadd(x, self.constant(float(1 + steps // 2)))
        square, twice = builder.fmul(middle, middle), builder.fadd(middle, middle)
        one = self.constant(1.0)
        sum_ = builder.fdiv(one, middle)
        for i in range(1, steps // 2 + 1):
            sum_ = builder.fadd(sum_, builder.fdiv(twice, builder.fsub(square, self.constant(float(i * i)))))
        shifted = builder.fadd(x, self.constant(float(1 + steps)))
        inverse = builder.fdiv(one, shifted)
        square = builder.fmul(inverse, inverse)
        tail = self.fma(square, self._polynomial(square, series), builder.fmul(inverse, self.constant(-0.5)))
        return builder.fadd(self.log(builder.fdiv(shifted, x)), builder.fsub(tail, sum_))

    def _polynomial(self, x: Any, coefficients: Sequence[float]) -> Any:
        value = self.constant(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.fma(value, x, self.constant(coefficient))
        return value

    def _bits(self, x: Any) -> Any:
        return self._builder.bitcast(x, self._whole)

    def _integers(self, value: int) -> Any:
        return ir.Constant(self._whole, [value] * self._whole.count)
