"""Sums of doubles without rounding: the same to the last bit however a stream is split, ordered and merged.

A double is an integer times a power of two, so a sum of doubles is one too. Sums are kept as Python integers in
units of 2**-1074 (the smallest double): an accumulator of unlimited width. Products are split exactly into a double
and its rounding error (Dekker, "A floating-point technique for extending the available precision", 1971) before
they are summed.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

UNIT_BITS = 1074
"""A sum is an integer in units of 2**-UNIT_BITS."""

_CHUNK = 1 << 20  # of 2**20 parts below 2**27 each: their float64 sum is an exact integer below 2**53
_MANTISSA_BITS = 53
_LOW_BITS = 26
_SPLITTER = float((1 << 27) + 1)
_PRODUCT_LIMIT = 2.0**480  # squares of these are finite, and so is the split
_PRODUCT_FLOOR = 2.0**-480  # products of these leave a rounding error that is a double


class InexactError(ValueError):
    """A value that cannot be summed exactly; the message names the column, the value and what to do."""


def exact_sum(values: Floats) -> int:
    """The sum of float64 [n] in units of 2**-1074. Raises InexactError for NaN or an infinity."""
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)][0]
        raise InexactError(f"a value is {bad}; expected finite numbers: drop or repair the row it came from")
    return sum((_chunk_sum(values[at : at + _CHUNK]) for at in range(0, len(values), _CHUNK)), 0)


def exact_product_sum(left: Floats, right: Floats) -> int:
    """The sum of `left * right`, float64 [n] each, in units of 2**-1074.

    Raises:
        InexactError: NaN, an infinity, or a magnitude (other than 0) outside 2**-480 to 2**480.
    """
    for values in (left, right):
        size = np.abs(values)
        if not ((size == 0) | ((size >= _PRODUCT_FLOOR) & (size <= _PRODUCT_LIMIT))).all():
            bad = values[~((size == 0) | ((size >= _PRODUCT_FLOOR) & (size <= _PRODUCT_LIMIT)))][0]
            raise InexactError(f"a value is {bad}; expected 0 or a magnitude of 1e-144 to 1e144: rescale the metric")
    total = 0
    for at in range(0, len(left), _CHUNK):
        product, error = _two_products(left[at : at + _CHUNK], right[at : at + _CHUNK])
        total += _chunk_sum(product) + _chunk_sum(error)
    return total


def fraction(total: int) -> Fraction:
    """A sum as a number."""
    return Fraction(total, 1 << UNIT_BITS)


def units(value: float | Fraction) -> int:
    """A number in units of 2**-1074, for sums made elsewhere. Raises InexactError if it is no such multiple."""
    scaled = Fraction(value) * (1 << UNIT_BITS)
    if scaled.denominator != 1:
        raise InexactError(f"{value} is no multiple of 2**-{UNIT_BITS}: give it as a double")
    return scaled.numerator


def _chunk_sum(values: Floats) -> int:
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, _MANTISSA_BITS)  # an integer of at most 53 bits, as a double
    high = np.trunc(np.ldexp(whole, -_LOW_BITS))
    low = whole - np.ldexp(high, _LOW_BITS)
    place = exponent - int(exponent.min()) if len(exponent) else exponent
    first = int(exponent.min()) - _MANTISSA_BITS + UNIT_BITS if len(exponent) else 0
    total = 0
    for part, shift in ((high, _LOW_BITS), (low, 0)):
        for offset, subtotal in enumerate(np.bincount(place, weights=part).tolist()):
            total += _shifted(int(subtotal), first + offset + shift)
    return total


def _shifted(value: int, bits: int) -> int:
    # A subnormal's mantissa has zeros at its end, so nothing is lost to the right.
    return value << bits if bits >= 0 else value >> -bits


def _two_products(left: Floats, right: Floats) -> tuple[Floats, Floats]:
    product = left * right
    left_high, left_low = _split(left)
    right_high, right_low = _split(right)
    error = ((left_high * right_high - product) + left_high * right_low + left_low * right_high) + left_low * right_low
    return product, error


def _split(values: Floats) -> tuple[Floats, Floats]:
    wide = _SPLITTER * values
    high = wide - (wide - values)
    return high, values - high
