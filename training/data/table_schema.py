"""Columns and their types in bring-your-own tables, checked on the schema of Arrow, and the frames made of them."""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from training.data.arrow_columns import TextError, example, id_series, is_number, is_text, seconds, series, simplified
from training.data.delimited import NUMBER, typed
from training.data.faults import Faults, shown
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
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
_UNNAMED = re.compile(r"|Unnamed: \d+")
_KINDS = {
    "id": "a string or a whole number",
    "label": "an integer, a floating point number or a boolean, 0 or 1",
    "rating": "an integer or a floating point number",
    "timestamp": "an integer: seconds since 1970, UTC",
    "image": "a string: a path within the folder, or a URL",
    "feature": "a string, number or boolean",
}
_FIXES = {
    "id": "Write ids as text or as whole numbers",
    "label": "Write the number 1 for the wanted outcome and 0 for the other",
    "rating": "Write numbers; for outcomes name the column label",
    "timestamp": 'Write seconds: pandas.to_datetime(column, utc=True).dt.as_unit("s").astype("int64"), if they are UTC',
    "image": "Write the pictures as files and give their paths within the folder, or https URLs",
}


def checked_frame(table: str, found: pa.Table, faults: Faults, *, untyped: bool = False) -> pd.DataFrame:
    """The table's usable columns with ids as strings; each column that cannot be used has become a fault instead.

    pandas' index is no column and is left out. `untyped`: all columns are text, as of a CSV file, and get the type that
    all of their values have.
    """
    kept = [
        place for place in range(found.num_columns) if not _is_index(found.column_names[place], found.column(place))
    ]
    found = found.select(kept)
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
        kind = _kind(table, name)
        try:
            column = _column(kind, found.column(position), untyped)
        except TextError as error:
            faults.add(table, name, str(error), "text in UTF-8", "Write the column again, encoded as UTF-8")
            continue
        if _usable(table, name, column, faults):
            frame[name] = id_series(column) if kind == "id" else series(column)
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


def _is_index(name: str, column: pa.ChunkedArray) -> bool:
    """Whether it is the index that pandas wrote beside the data: marked in Parquet, without a name in CSV."""
    if _PANDAS_INDEX.fullmatch(name):
        return True
    if not _UNNAMED.fullmatch(name):
        return False
    return bool(pa.types.is_integer(column.type if not is_text(column.type) else typed(column).type))


def _column(kind: str, column: pa.ChunkedArray, untyped: bool) -> pa.ChunkedArray:
    column = simplified(column)
    if untyped and kind not in ("id", "image"):
        column = typed(column)
    return seconds(column) if kind == "timestamp" else column


def _require(table: str, names: list[str], faults: Faults) -> None:
    for name in FIXED[table]:
        if name in names or (name == "label" and "rating" in names):
            continue
        or_rating = " (or a column rating)" if name == "label" else ""
        no_image = "; null where an item has no image" if name == "image" else ""
        listed = f"columns {', '.join(names)}" if names else "no columns"
        fix = _renaming(name, names) or f"Add it: {_KINDS[_kind(table, name)]}{no_image}"
        faults.add(table, name, listed, f"a column {name}{or_rating}", fix)


def _renaming(name: str, names: list[str]) -> str | None:
    """What to do where the column is there under nearly its name, or all columns are in one."""
    for near in names:
        if re.sub(r"[^a-z0-9]", "", near.lower()) == name.replace("_", ""):
            return f"Rename {near!r} to {name}"
    if len(names) == 1 and (found := next((mark for mark in ";\t|," if mark in names[0]), None)):
        return f"The file's fields are parted by {found!r}: write .csv with commas, .tsv with tabs, or Parquet"
    return None


def _usable(table: str, name: str, column: pa.ChunkedArray, faults: Faults) -> bool:
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
    if _fits(expected, column.type):
        return True
    _add_type_fault(table, name, expected, column, faults)
    return False


def _add_type_fault(table: str, name: str, expected: str, column: pa.ChunkedArray, faults: Faults) -> None:
    """Names the first value that is at fault: in a text column that should hold numbers, the first that is none."""
    kind = column.type
    if is_text(kind) and expected in ("label", "rating", "timestamp"):
        odd = pc.invert(pc.match_substring_regex(column, NUMBER.pattern))
        column = pc.if_else(odd, column, None) if pc.any(odd).as_py() else column
    first = example(column)
    named = "string" if is_text(kind) else str(kind)
    value = f"type {named}, such as {shown(first[1])}" if first else f"type {named}, without any value"
    fix = _FIXES.get(expected) or _feature_fix(kind)
    faults.add(table, name, value, _KINDS[expected], fix, row=first[0] if first else None)


def _feature_fix(kind: pa.DataType) -> str:
    if pa.types.is_nested(kind):
        return "Write one value per row: join several to one text, or make a column of true and false for each"
    if pa.types.is_temporal(kind):
        return "Write it as a number, such as years or seconds, or as text; or drop it"
    return "Write it as text or as a number, or drop it"


def _kind(table: str, name: str) -> str:
    if name == "rating" and table == "interactions":
        return "rating"
    if name in FIXED[table]:
        return "id" if name in IDS else name
    return "feature"


def _fits(expected: str, kind: pa.DataType) -> bool:
    text, number, boolean, nothing = is_text(kind), is_number(kind), pa.types.is_boolean(kind), pa.types.is_null(kind)
    fits = {
        "id": text or number,
        "timestamp": number,
        "image": text or nothing,
        "label": number or boolean,
        "rating": number,
        "feature": text or number or boolean or nothing,
    }
    return bool(fits[expected])


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
