"""Columns and their types in bring-your-own tables, checked on the Parquet schema, and the frames made of
them.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from training.data.faults import Faults
from training.data.features import BUILT_IN

# The columns with a meaning of their own. `label` may be replaced by `rating`; all others are required.
FIXED: Mapping[str, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id", "label", "timestamp"),
    "items": ("item_id", "image"),
    "users": ("user_id",),
}
IDS = ("user_id", "item_id")
MEANINGS = ("user_id", "item_id", "label", "rating", "timestamp", "image")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")  # as the feature contract has it
_KINDS = {
    "id": "a string or an integer",
    "label": "an integer, a floating point number or a boolean, 0 or 1",
    "rating": "an integer or a floating point number",
    "timestamp": "an integer: seconds since 1970, UTC",
    "image": "a string: a path within the folder, or a URL",
    "feature": "a string, number or boolean",
}


def checked_frame(table: str, found: pa.Table, faults: Faults) -> pd.DataFrame:
    """The table's usable columns with ids as strings; each column that cannot be used has become a fault and
    is left out.
    """
    names = list(found.column_names)
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.add(table, name, f"{names.count(name)} columns of that name", "one", "Drop or rename the others")
    if found.num_rows == 0:
        faults.add(table, "", "no rows", "at least one row", "Write the rows, or check the query that made the file")
    _require(table, names, faults)
    frame = pd.DataFrame(index=range(found.num_rows))
    for position, name in enumerate(names):
        if name in frame.columns:
            continue
        column = _decoded(found.column(position))
        if _usable(table, name, column.type, faults):
            frame[name] = _series(name, column)
    return frame


def feature_columns(table: str, frame: pd.DataFrame) -> list[str]:
    """The columns without a meaning of their own."""
    return [str(name) for name in frame.columns if name not in FIXED[table] and name != "rating"]


def one_owner_per_name(frames: Mapping[str, pd.DataFrame], faults: Faults) -> None:
    """A feature's name is global, as requests and the store use it: two tables cannot both have it."""
    owners: dict[str, str] = {}
    for table, frame in frames.items():
        for name in feature_columns(table, frame):
            if name in owners:
                fix = f"Rename one of them, for instance to {table}_{name}"
                faults.add(table, name, f"a column that {owners[name]} has too", "a name of its own", fix)
            owners.setdefault(name, table)


def _require(table: str, names: list[str], faults: Faults) -> None:
    for name in FIXED[table]:
        if name in names or (name == "label" and "rating" in names):
            continue
        or_rating = " (or a column rating)" if name == "label" else ""
        no_image = "; null where an item has no image" if name == "image" else ""
        listed = f"columns {', '.join(names)}" if names else "no columns"
        faults.add(
            table, name, listed, f"a column {name}{or_rating}", f"Add it: {_KINDS[_kind(table, name)]}{no_image}"
        )


def _usable(table: str, name: str, kind: pa.DataType, faults: Faults) -> bool:
    expected = _kind(table, name)
    if expected == "feature":
        if name in MEANINGS or name in BUILT_IN:
            faults.add(
                table, name, f"a feature named {name}", "a name without a meaning of its own", "Rename or drop it"
            )
            return False
        if not _NAME.fullmatch(name):
            fix = "Rename it: a letter, then letters, digits, `_`, `.` or `-`, at most 64"
            faults.add(table, name, f"a feature named {name!r}", "a feature name", fix)
            return False
    if _fits(expected, kind):
        return True
    faults.add(table, name, f"type {kind}", _KINDS[expected], "Convert the column before writing")
    return False


def _kind(table: str, name: str) -> str:
    if name == "rating" and table == "interactions":
        return "rating"
    if name in FIXED[table]:
        return "id" if name in IDS else name
    return "feature"


def _fits(expected: str, kind: pa.DataType) -> bool:
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    fits = {
        "id": text or pa.types.is_integer(kind),
        "timestamp": pa.types.is_integer(kind),
        "image": text or pa.types.is_null(kind),
        "label": number or pa.types.is_boolean(kind),
        "rating": number,
        "feature": text or number or pa.types.is_boolean(kind),
    }
    return bool(fits[expected])


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary-encoded column is as good as its values."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _series(name: str, column: pa.ChunkedArray) -> "pd.Series[Any]":
    """Ids and text as str or None; numbers in pandas' masked types, which tell null from NaN."""
    kind = column.type
    if name in IDS:
        return pd.Series([None if value is None else str(value) for value in column.to_pylist()], dtype=object)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return pd.Series(column.to_pylist(), dtype=object)
    missing = column.is_null().to_numpy()
    values = column.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy()
    if pa.types.is_boolean(kind):
        return pd.Series(pd.arrays.BooleanArray(values.astype(bool), missing))
    if pa.types.is_integer(kind):
        return pd.Series(pd.arrays.IntegerArray(values, missing))
    return pd.Series(pd.arrays.FloatingArray(values.astype(np.float64), missing))


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame in numpy's types: missing numbers become NaN, missing booleans stay in the masked type."""
    made = frame.copy()
    for name in map(str, frame.columns):
        column = frame[name]
        if not pd.api.types.is_extension_array_dtype(column.dtype):
            continue
        whole = not column.isna().any()
        if pd.api.types.is_bool_dtype(column.dtype):
            made[name] = column.astype(bool) if whole else column
        elif pd.api.types.is_integer_dtype(column.dtype) and whole:
            made[name] = pd.Series(column.to_numpy(dtype=np.int64))
        else:
            made[name] = pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return made
