"""Arrow's many types of one thing, brought to the few that tables take: text, whole numbers, numbers, booleans."""

from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

MOST_WHOLE = 2**53  # above it float64 leaves out whole numbers


class TextError(Exception):
    """Text that is no UTF-8, which Parquet lets through."""


def simplified(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values without their storage: dictionaries, runs and extensions are gone, text is `string`.

    Floats of any width are float64; what is neither text nor number nor boolean stays what it is.

    Raises:
        TextError: names the row.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return simplified(pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type))
    if pa.types.is_dictionary(kind):
        return simplified(pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks], kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        return simplified(pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind.value_type))
    if is_text(kind):
        _check_utf8(column)
        return column.cast(pa.large_string())
    return column.cast(pa.float64()) if pa.types.is_floating(kind) else column


def is_number(kind: pa.DataType) -> bool:
    """Whether it is a number, in whatever layout; a boolean is none."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether it is text, in whatever layout."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def series(column: pa.ChunkedArray) -> pd.Series[Any]:
    """Text as str or None in an object column; numbers in pandas' masked types, which tell null from NaN."""
    kind = column.type
    if not (is_number(kind) or pa.types.is_boolean(kind)):
        return pd.Series(column.to_pylist(), dtype=object)
    if pa.types.is_decimal(kind):
        column = column.cast(pa.string()).cast(pa.float64())  # the direct cast is off by a digit: 14.620000000000001
    missing = column.is_null().to_numpy()
    values = column.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy()
    if pa.types.is_boolean(kind):
        return pd.Series(pd.arrays.BooleanArray(values.astype(bool), missing))
    if pa.types.is_integer(column.type):
        fits = values.dtype != np.uint64 or not len(values) or int(values.max()) < 2**63
        if fits:
            return pd.Series(pd.arrays.IntegerArray(values, missing))
    return pd.Series(pd.arrays.FloatingArray(values.astype(np.float64), missing))


def id_series(column: pa.ChunkedArray) -> pd.Series[Any]:
    """Ids as str or None: text as it is, whole numbers as digits. Other numbers stay numbers, for a fault to name."""
    return pd.Series([_id(value) for value in column.to_pylist()], dtype=object)


def _id(value: Any) -> Any:
    if isinstance(value, float | decimal.Decimal):
        if value != value:
            return None
        whole = (isinstance(value, decimal.Decimal) or abs(value) <= MOST_WHOLE) and value == int(value)
        return str(int(value)) if whole else float(value)
    return None if value is None else str(value)


def seconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Moments with a time zone as whole seconds since 1970, rounded down; other columns as they are."""
    kind = column.type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        return column
    return pc.floor_temporal(column, unit="second").cast(pa.timestamp("s", kind.tz)).cast(pa.int64())


def example(column: pa.ChunkedArray) -> tuple[int, Any] | None:
    """The first row with a value, and the value; None where there is none."""
    present = np.flatnonzero(~column.is_null().to_numpy())
    if not len(present):
        return None
    row = int(present[0])
    return row, column[row].as_py()


def _check_utf8(column: pa.ChunkedArray) -> None:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as cause:
        for row, value in enumerate(column):
            try:
                value.as_py()
            except UnicodeDecodeError:
                raise TextError(f"bytes that are no UTF-8 in row {row}") from cause
        raise TextError(str(cause).splitlines()[0]) from cause
