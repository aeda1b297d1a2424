"""Logarithm and exponential without branches, so that LLVM vectorises a loop over lanes.

Both reduce the range by reading the bits of the number and end in a polynomial. The coefficients minimise the largest
error over the reduced range (weighted least squares with Lawson's reweighting, in extended precision, 1,200 Chebyshev
nodes): exp(r) = 1 + r + r^2 P(r) on |r| <= ln(2)/2; ln(1 + f) = f - f^2/2 + f^3 P(f) in float32, and
ln(m) = 2s + s^3 P(s^2) with s = f / (2 + f) in float64, for m in [sqrt(1/2), sqrt(2)].

Errors, checked by the tests over the whole domain: log in float32 at most 5e-7 max(1, abs(ln x)), exp in float32 at
most 3e-7 relative; both in float64 at most 1e-14 in the same measures. Domain of `log`: normal positive numbers.
`exp` gives 0 where the result would be under the smallest normal number, and takes arguments up to 88 (float32) or
709 (float64).
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

import numpy as np

from beliefd.engine.jit import by_dtype, inline

FLOOR = 2.220446049250313e-16
"""The smallest argument of `log_floor`: the machine epsilon of float64, also for float32 models."""

# Adding 1.5 * 2^mantissa_bits rounds to the nearest integer and leaves that integer in the low bits.
_ROUND_32 = np.float32(12582912.0)
_ROUND_BITS_32 = np.int32(0x4B400000)
_ROUND_64 = np.float64(6755399441055744.0)
_ROUND_BITS_64 = np.int64(0x4338000000000000)
_LOG2_E_32 = np.float32(1.4426950408889634)
# ln 2 in two parts: the first has few bits, so that its product with the exponent is exact.
_LN2_HIGH_32 = np.float32(0.693359375)
_LN2_LOW_32 = np.float32(-2.12194440e-4)
_LN2_HIGH_64 = 6.93147180369123816490e-01
_LN2_LOW_64 = 1.90821492927058770002e-10
_SQRT_HALF_BITS_32 = np.int32(0x3F3504F3)
_SQRT_HALF_BITS_64 = np.int64(0x3FE6A09E667F3BCD)
_EXP_MIN_32 = np.float32(-87.33654)
_EXP_MIN_64 = -708.3964185322641
_FLOOR_32 = np.float32(FLOOR)
_ZERO_32 = np.float32(0.0)
_ONE_32 = np.float32(1.0)
_HALF_32 = np.float32(0.5)

_E0, _E1, _E2, _E3, _E4 = (
    np.float32(c)
    for c in (0.4999999305071231, 0.16666514791278303, 0.04166845678980878, 0.008369418846518076, 0.0013813144392824809)
)
_L0, _L1, _L2, _L3, _L4, _L5, _L6 = (
    np.float32(c)
    for c in (
        0.33334165924053283,
        -0.250016987399875,
        0.19954875417236437,
        -0.1656442572198156,
        0.14977996561863607,
        -0.14379007558050805,
        0.08672175498859608,
    )
)


@inline
def _log_32(x):
    bits = np.float32(x).view(np.int32)
    exponent = np.int32(bits - _SQRT_HALF_BITS_32) >> np.int32(23)
    f = np.int32(bits - np.int32(exponent << np.int32(23))).view(np.float32) - _ONE_32
    p = ((((((_L6 * f + _L5) * f + _L4) * f + _L3) * f + _L2) * f + _L1) * f + _L0) * f
    square = f * f
    e = np.float32(np.int32(exponent))
    return e * _LN2_HIGH_32 + (f + (square * p + (e * _LN2_LOW_32 - _HALF_32 * square)))


@inline
def _log_64(x):
    bits = np.float64(x).view(np.int64)
    exponent = (bits - _SQRT_HALF_BITS_64) >> 52
    f = np.int64(bits - (exponent << 52)).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = (
        (
            (((0.14796353427179662 * z + 0.1531400552814149) * z + 0.1818356634906817) * z + 0.22222198526593112) * z
            + 0.2857142874296547
        )
        * z
        + 0.3999999999941102
    ) * z + 0.6666666666666735
    # An int64 has no vector conversion to float64 in AVX2; its low 52 bits under a known exponent do.
    e = np.int64(exponent + _ROUND_BITS_64).view(np.float64) - _ROUND_64
    return e * _LN2_HIGH_64 + (2.0 * s + (s * z * p + e * _LN2_LOW_64))


@inline
def _exp_32(x):
    clipped = max(x, _EXP_MIN_32)
    rounded = clipped * _LOG2_E_32 + _ROUND_32
    n = rounded - _ROUND_32
    r = clipped - n * _LN2_HIGH_32 - n * _LN2_LOW_32
    p = (((_E4 * r + _E3) * r + _E2) * r + _E1) * r + _E0
    value = _ONE_32 + (r + r * r * p)
    power = np.int32(np.int32(np.float32(rounded).view(np.int32) - _ROUND_BITS_32) << np.int32(23))
    scaled = np.int32(np.float32(value).view(np.int32) + power).view(np.float32)
    return scaled if x >= _EXP_MIN_32 else _ZERO_32


@inline
def _exp_64(x):
    clipped = max(x, _EXP_MIN_64)
    rounded = clipped * 1.4426950408889634 + _ROUND_64
    n = rounded - _ROUND_64
    r = clipped - n * _LN2_HIGH_64 - n * _LN2_LOW_64
    p = (
        (
            (
                (
                    (
                        (
                            ((2.5000034394116208e-08 * r + 2.7630537138256366e-07) * r + 2.7557587915036234e-06) * r
                            + 2.4801492349628286e-05
                        )
                        * r
                        + 0.00019841269503258433
                    )
                    * r
                    + 0.0013888888944286269
                )
                * r
                + 0.0083333333334967
            )
            * r
            + 0.04166666666652797
        )
        * r
        + 0.16666666666666408
    ) * r + 0.5000000000000011
    value = 1.0 + (r + r * r * p)
    power = (np.float64(rounded).view(np.int64) - _ROUND_BITS_64) << 52
    scaled = np.int64(np.float64(value).view(np.int64) + power).view(np.float64)
    return scaled if x >= _EXP_MIN_64 else 0.0


@inline
def _log_floor_32(x):
    return _log_32(max(x, _FLOOR_32))


@inline
def _log_floor_64(x):
    return _log_64(max(x, FLOOR))


exp = by_dtype(_exp_32, _exp_64)
log_floor = by_dtype(_log_floor_32, _log_floor_64)
