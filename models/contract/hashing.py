"""Seeded 64-bit hashes, the same on every platform, and their reduction to buckets.

Token ids: splitmix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014; constants
of Vigna's public domain `splitmix64.c`). Strings: xxh3_64 of the UTF-8 bytes (Collet, xxHash 0.8).
Never Python's `hash()`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST_SHIFT = np.uint64(31)
_HALF = np.uint64(32)
_LOW_MASK = np.uint64(0xFFFFFFFF)


def splitmix64(values: UInt64s) -> UInt64s:
    """First output of the splitmix64 generator seeded with each value; uint64 of any shape, a new array."""
    state = np.add(values, _GAMMA, dtype=np.uint64)
    scratch = np.empty_like(state)
    for shift, factor in _ROUNDS:
        np.right_shift(state, shift, out=scratch)
        np.bitwise_xor(state, scratch, out=state)
        np.multiply(state, factor, out=state)
    np.right_shift(state, _LAST_SHIFT, out=scratch)
    np.bitwise_xor(state, scratch, out=state)
    return state


def seed_state(seed: int) -> np.uint64:
    """h0 of the token hash: splitmix64 of the seed, so that neighbouring seeds give unrelated hashes."""
    return np.uint64(splitmix64(np.array([seed], dtype=np.uint64))[0])


def token_hashes(ids: npt.NDArray[np.integer[Any]], seed: int) -> UInt64s:
    """h1(t) = splitmix64(h0 xor t) of every token id; ids of any integer dtype, not negative; uint64, same shape."""
    return splitmix64(ids.astype(np.uint64) ^ seed_state(seed))


def extend_hashes(prefixes: UInt64s, ids: npt.NDArray[np.integer[Any]]) -> UInt64s:
    """h(t1..tn) = splitmix64(h(t1..tn-1) xor tn): hashes of n-grams from those of their first n-1 tokens.

    Each step is a bijection of tn for a given prefix, so n-grams that differ only in their last token never share a
    64-bit hash, and the order of the tokens matters.
    """
    return splitmix64(prefixes ^ ids.astype(np.uint64))


def reduce_to_range(hashes: UInt64s, size: int) -> Int64s:
    """floor(hash * size / 2**64), exactly, in [0, size); size in [1, 2**31]; int64, same shape.

    Multiply-high in place of modulo (Lemire, "Fast Random Integer Generation in an Interval", 2019): no division, and
    no range is favoured by more than one hash in 2**64 / size.
    """
    scale = np.uint64(size)
    low = np.bitwise_and(hashes, _LOW_MASK)
    np.multiply(low, scale, out=low)
    np.right_shift(low, _HALF, out=low)
    high = np.right_shift(hashes, _HALF)
    np.multiply(high, scale, out=high)
    np.add(high, low, out=high)
    np.right_shift(high, _HALF, out=high)
    return high.view(np.int64)


def string_hashes(values: Iterable[str], seed: int) -> UInt64s:
    """xxh3_64 of each string's UTF-8 bytes with a 64-bit seed; lone surrogates are encoded as such; uint64 [n]."""
    digest = xxhash.xxh3_64_intdigest
    return np.fromiter((digest(v.encode("utf-8", "surrogatepass"), seed) for v in values), dtype=np.uint64)
