"""Draws without state: the counter-based generator Philox 4x32-10.

Salmon, Moraes, Dror, Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, SC'11. A draw is a function of
(seed, agent, tick, purpose, factor), so it depends on no order, no batch and no worker, and a retry draws the same.
"""

# Numba types these functions by their arguments.
# mypy: disable-error-code="no-untyped-def"

import numpy as np

from beliefd.engine.jit import inline

PURPOSE_ACTION = 1
"""The draw that selects an action. Other purposes give other, independent draws at the same tick."""

PURPOSE_SEARCH = 2
"""The key of the draws of one search through a tree."""

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF_WORD = np.uint64(32)


@inline
def philox(c0, c1, c2, c3, k0, k1):
    """Ten rounds over a counter of four 32-bit words and a key of two, all given and returned as uint64."""
    for _ in range(10):
        product_0 = _MULTIPLIER_0 * c0
        product_1 = _MULTIPLIER_1 * c2
        c0 = (product_1 >> _HALF_WORD) ^ c1 ^ k0
        c1 = product_1 & _LOW
        c2 = (product_0 >> _HALF_WORD) ^ c3 ^ k1
        c3 = product_0 & _LOW
        k0 = (k0 + _WEYL_0) & _LOW
        k1 = (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@inline
def uniform(seed, agent, tick, purpose, factor):
    """Draw a float64 from [0, 1) with 53 random bits.

    The key is the 64-bit seed; the counter is (agent, tick low, tick high, purpose << 16 | factor).
    """
    key = np.uint64(seed)
    step = np.uint64(tick)
    r0, r1, _, _ = philox(
        np.uint64(agent) & _LOW,
        step & _LOW,
        step >> _HALF_WORD,
        (np.uint64(purpose) << np.uint64(16)) | np.uint64(factor),
        key & _LOW,
        key >> _HALF_WORD,
    )
    return _unit(r0, r1)


@inline
def search_key(seed, agent, tick):
    """Give two words, uint64, that are the key of all draws of an agent's search at a tick."""
    key = np.uint64(seed)
    step = np.uint64(tick)
    r0, r1, _, _ = philox(
        np.uint64(agent) & _LOW,
        step & _LOW,
        step >> _HALF_WORD,
        np.uint64(PURPOSE_SEARCH) << np.uint64(16),
        key & _LOW,
        key >> _HALF_WORD,
    )
    return r0, r1


@inline
def search_uniform(k0, k1, simulation, depth, modality):
    """As `uniform`, within a search; the counter is (simulation, depth, modality, 0)."""
    r0, r1, _, _ = philox(np.uint64(simulation), np.uint64(depth), np.uint64(modality), np.uint64(0), k0, k1)
    return _unit(r0, r1)


@inline
def _unit(high, low):
    return (np.float64(high >> np.uint64(5)) * 67108864.0 + np.float64(low >> np.uint64(6))) / 9007199254740992.0
