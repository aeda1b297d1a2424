"""Draws without state: Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3 (Philox4x32-10)."""

from __future__ import annotations

from collections.abc import Sequence

ACTION, SEARCH = 1, 2
"""What a draw is for."""


def philox4x32(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Ten rounds of Philox4x32; four counter words and two key words in, four words out, all of 32 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0 = 0xD2511F53 * c0
        product1 = 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (product1 >> 32) ^ c1 ^ k0,
            product1 & 0xFFFFFFFF,
            (product0 >> 32) ^ c3 ^ k1,
            product0 & 0xFFFFFFFF,
        )
        k0 = (k0 + 0x9E3779B9) & 0xFFFFFFFF
        k1 = (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniform(seed: int, agent: int, tick: int, purpose: int, factor: int) -> float:
    """A number in [0, 1) with 53 random bits, a function of the arguments alone."""
    counter = (agent, tick & 0xFFFFFFFF, tick >> 32, purpose << 16 | factor)
    r0, r1, _, _ = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return unit(r0, r1)


def search_uniform(seed: int, agent: int, tick: int, simulation: int, depth: int, modality: int) -> float:
    """The same for a tree that is sampled: two words of a first draw are the key of all draws of the tree."""
    counter = (agent, tick & 0xFFFFFFFF, tick >> 32, SEARCH << 16)
    k0, k1, _, _ = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    r0, r1, _, _ = philox4x32((simulation, depth, modality, 0), (k0, k1))
    return unit(r0, r1)


def unit(high: int, low: int) -> float:
    """A number in [0, 1) of two words of 32 bits."""
    return float(((high >> 5) * 2**26 + (low >> 6)) / 2**53)
