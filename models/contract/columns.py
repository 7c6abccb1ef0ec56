"""Raw columns of dense and categorical features to numbers and buckets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from models.contract.errors import refuse
from models.contract.features import CategoricalFeature, DenseFeature, HashBuckets, IntegerRange, Vocabulary
from models.contract.hashing import reduce_to_range, string_hashes
from models.contract.reserved import FIRST_VALUE, MISSING, RESERVED, UNKNOWN

Column = Sequence[Any] | npt.NDArray[Any]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
LARGEST = 1e9  # scaled; a network's products of a few such numbers still fit into float32
_NUMBERS = {int, float, type(None)}  # the common types, without a look at each value


def checked_length(name: str, column: Column, rows: int) -> Column:
    """The column, if it is a flat sequence of that many rows; else `FeatureValueError`."""
    flat = isinstance(column, Sequence) and not isinstance(column, str | bytes | bytearray)
    if isinstance(column, np.ndarray):
        flat = column.ndim == 1
    if not flat:
        refuse(name, None, column, "a flat sequence with a value per row", "put the value in a list")
    if len(column) != rows:
        refuse(name, None, f"{len(column)} values", f"{rows} rows", "give one value per row, None where it is missing")
    return column


def encode_dense(feature: DenseFeature, column: Column) -> Float32s:
    """float32 [rows] of raw numbers; None and NaN become the default; the feature's bounds clip.

    Raises `FeatureValueError` for what is no number, infinite, not above -1 for log1p, or beyond `LARGEST` once scaled.
    """
    raw = _numbers(feature.name, column)
    raw = np.where(np.isnan(raw), feature.default, raw)
    _refuse_where(np.isinf(raw), feature.name, column, "a finite number", "leave the value out if it is unknown")
    if feature.low is not None or feature.high is not None:
        raw = np.clip(raw, feature.low, feature.high)
    if feature.transform == "log1p":
        _refuse_where(raw <= -1.0, feature.name, column, "a number above -1 (log1p)", "correct the value")
        raw = np.log1p(raw)
    elif feature.transform == "quantile":
        raw = np.interp(raw, *np.array(feature.knots).T)
    with np.errstate(over="ignore"):
        scaled = (raw - feature.mean) / feature.std
    far = np.abs(scaled) > LARGEST  # infinities too
    expected = f"a number within {LARGEST:g} deviations ({feature.std:g}) of the mean ({feature.mean:g})"
    _refuse_where(far, feature.name, column, expected, "correct the value, or train again: new contracts have bounds")
    single = scaled.astype(np.float32)
    single += np.float32(0.0)  # -0.0 becomes 0.0: equal numbers, equal bytes
    return single


def _numbers(name: str, column: Column) -> Float64s:
    """float64 of a column; None becomes NaN."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":
        return column.astype(np.float64)
    values = list(column)
    if not set(map(type, values)) <= _NUMBERS:
        _refuse_types(name, values, _is_number, "a number", "give an int or float, or leave the value out")
    try:
        return np.array(values, dtype=np.float64)  # None becomes NaN
    except OverflowError:
        row = next(i for i, v in enumerate(values) if isinstance(v, int) and abs(v) > 10**300)
        refuse(name, row, values[row], "a number in float64's range", "correct the value")


def _refuse_types(name: str, values: list[Any], accept: Callable[[Any], bool], expected: str, fix: str) -> None:
    if all(accept(value) for value in values):
        return
    row = next(i for i, value in enumerate(values) if not accept(value))
    refuse(name, row, values[row], expected, fix)


def _refuse_where(wrong: npt.NDArray[np.bool_], name: str, column: Column, expected: str, fix: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        refuse(name, row, column[row], expected, fix)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return False
    return value is None or isinstance(value, int | float | np.integer | np.floating)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(value != value)


class CategoricalEncoder:
    """Buckets of one categorical feature; look-up tables are made once."""

    def __init__(self, feature: CategoricalFeature) -> None:
        self._feature = feature
        encoding = feature.encoding
        values = encoding.values if isinstance(encoding, Vocabulary) else ()
        self._known: Mapping[str | None, int] = {value: FIRST_VALUE + i for i, value in enumerate(values)}

    def encode(self, column: Column) -> Int64s:
        """int64 [rows]. None and NaN are missing (0). Raises `FeatureValueError` for a value of another type.

        Vocabulary and hash_buckets take strings; integer_range takes integers and whole floats, one of 0 to 1 booleans.
        """
        encoding = self._feature.encoding
        match encoding:
            case IntegerRange():
                return self._integers(column, encoding)
            case HashBuckets():
                values = self._strings(column)
                return _mapped(values, _hash_table(values, encoding))
            case Vocabulary():
                values = self._strings(column)
                return _mapped(values, {**self._known_of(values), None: MISSING})
            case _:
                assert_never(encoding)

    def _known_of(self, values: list[str | None]) -> dict[str | None, int]:
        return {value: self._known.get(value, UNKNOWN) for value in set(values)}

    def _strings(self, column: Column) -> list[str | None]:
        values = column.tolist() if isinstance(column, np.ndarray) else list(column)
        if set(map(type, values)) <= {str, type(None)}:
            return values
        values = [None if _is_nan(value) else value for value in values]
        fix = "give a string (str(value)), or leave the value out"
        _refuse_types(self._feature.name, values, lambda v: v is None or isinstance(v, str), "a string", fix)
        return values

    def _integers(self, column: Column, encoding: IntegerRange) -> Int64s:
        if isinstance(column, np.ndarray) and column.dtype.kind in "iu":
            low, high = max(encoding.low, np.iinfo(column.dtype).min), min(encoding.high, np.iinfo(column.dtype).max)
            inside = (column >= low) & (column <= high)
            shifted = np.where(inside, column, encoding.low).astype(np.int64) - encoding.low + FIRST_VALUE
            return np.where(inside, shifted, UNKNOWN)
        values = column.tolist() if isinstance(column, np.ndarray) else list(column)
        values = [None if _is_nan(value) else value for value in values]
        if encoding.binary:
            values = [int(value) if isinstance(value, bool | np.bool_) else value for value in values]
        fix = "give an int, or leave the value out"
        _refuse_types(self._feature.name, values, _is_whole, "a whole number", fix)
        table = {v: _integer_bucket(v, encoding) for v in set(values)}
        return _mapped(values, table)


def _is_whole(value: Any) -> bool:
    if not _is_number(value):
        return False
    return value is None or isinstance(value, int | np.integer) or float(value).is_integer()


def _integer_bucket(value: Any, encoding: IntegerRange) -> int:
    if value is None:
        return MISSING
    number = int(value)
    return FIRST_VALUE + number - encoding.low if encoding.low <= number <= encoding.high else UNKNOWN


def _hash_table(values: list[str | None], encoding: HashBuckets) -> dict[str | None, int]:
    distinct = [value for value in set(values) if value is not None]
    buckets = reduce_to_range(string_hashes(distinct, encoding.seed), encoding.buckets - RESERVED) + FIRST_VALUE
    return {None: MISSING, **dict(zip(distinct, buckets.tolist(), strict=True))}


def _mapped(values: list[Any], table: Mapping[Any, int]) -> Int64s:
    return np.fromiter(map(table.__getitem__, values), dtype=np.int64, count=len(values))
