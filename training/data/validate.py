"""What values bring-your-own tables may hold. Every check adds to the faults; none stops the others."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.data.delimited import NUMBER
from training.data.faults import Faults
from training.data.number_text import number_text
from training.data.table_files import TableFolder
from training.data.table_schema import feature_columns

Bools = npt.NDArray[np.bool_]

MAX_ID_BYTES = 256  # what a request may carry, and less than a store takes
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MAX_TEXT = 1024  # characters of a string feature, as the contract's vocabularies have it
# The first second that is more likely a millisecond: 1e11 s is the year 5138, 1e11 ms is March 1973.
_UNITS = ((1e17, "nanoseconds", 1_000_000_000), (1e14, "microseconds", 1_000_000), (1e11, "milliseconds", 1000))


def check_tables(
    frames: Mapping[str, pd.DataFrame],
    folder: TableFolder,
    faults: Faults,
    *,
    url_schemes: Sequence[str],
    now: float,
    positive_rating: float,
) -> None:
    """Check the values of the tables that could be read; absent tables and columns are someone else's faults.

    Args:
        frames: as `table_schema.checked_frame` makes them, by table name.
        now: seconds since 1970; no timestamp may be later.
        positive_rating: without labels, ratings must lie on both sides of it.
    """
    for table, key in (("items", "item_id"), ("users", "user_id")):
        if table in frames and key in frames[table]:
            _check_key(table, key, frames[table][key], faults)
    if "interactions" in frames:
        _check_interactions(frames["interactions"], faults, now, positive_rating)
        _check_references(frames, faults)
    if "items" in frames and "image" in frames["items"]:
        _check_images(frames["items"]["image"], folder, faults, url_schemes)
    for table, frame in frames.items():
        for name in feature_columns(table, frame):
            _check_feature(table, name, frame[name], faults)


def is_url(image: str) -> bool:
    """Whether an image is given as scheme://…, or as a data URL, which holds it."""
    return "://" in image or image[:5].lower() == "data:"


def _check_key(table: str, key: str, ids: "pd.Series[Any]", faults: Faults) -> None:
    _check_id(table, key, ids, faults)
    again = ids.duplicated().to_numpy() & ids.notna().to_numpy()
    faults.rows(table, key, again, ids, "each id once", "Keep one row per id")


def _check_id(table: str, key: str, ids: "pd.Series[Any]", faults: Faults) -> None:
    faults.rows(table, key, _null(ids), ids, "an id", "Fill it or drop the rows")

    def check(bad: Callable[[str], bool], expected: str, fix: str) -> None:
        wrong = {value for value in ids.unique() if isinstance(value, str) and bad(value)}
        faults.rows(table, key, ids.isin(wrong).to_numpy(), ids, expected, fix)

    number = np.array([isinstance(value, float) for value in ids], dtype=np.bool_)
    fix = "Write ids as text or as whole numbers"
    faults.rows(table, key, number, ids, "a string or a whole number (of at most 2^53, where the column is float)", fix)
    check(lambda value: not value.strip(), "an id that is not empty", "Fill it or drop the rows")
    fix = "Remove line breaks, tabs and zero bytes from the ids"
    check(lambda value: _CONTROL.search(value) is not None, "an id without control characters", fix)
    expected = f"an id of at most {MAX_ID_BYTES} bytes of UTF-8"
    check(lambda value: len(value.encode()) > MAX_ID_BYTES, expected, "Use shorter ids, such as a hash of long ones")


def _check_interactions(frame: pd.DataFrame, faults: Faults, now: float, positive_rating: float) -> None:
    for key in ("user_id", "item_id"):
        if key in frame:
            _check_id("interactions", key, frame[key], faults)
    if "label" in frame:
        _check_label(frame["label"], faults)
    if "rating" in frame:
        _check_finite("interactions", "rating", frame["rating"], faults)
    if "rating" in frame and "label" not in frame:
        _check_deciding_rating(frame["rating"], faults, positive_rating)
    if "timestamp" in frame:
        _check_timestamp(frame["timestamp"], faults, now)
    keys = [name for name in ("user_id", "item_id", "timestamp") if name in frame]
    if len(keys) == 3:
        again = frame.duplicated(subset=keys).to_numpy()
        shown = pd.Series(list(frame[keys].itertuples(index=False, name=None)), dtype=object)
        faults.rows("interactions", ", ".join(keys), again, shown, "each interaction once", "Drop the repeated rows")


def _check_label(label: "pd.Series[Any]", faults: Faults) -> None:
    faults.rows("interactions", "label", _null(label), label, "0 or 1", "Fill it or drop the rows")
    values = _numbers(label)
    wrong = ~_null(label) & ~np.isin(values, (0.0, 1.0))
    signs = set(values[~_null(label)].tolist()) == {-1.0, 1.0}
    fix = "Write 0 in place of -1" if signs else "Map the labels; for grades name the column rating"
    faults.rows("interactions", "label", wrong, label, "0 or 1", fix)
    classes = set(values[~_null(label) & ~wrong].tolist())
    if len(classes) == 1 and not wrong.any():
        only = f"{int(classes.pop())} in every row"
        fix = "Add the other outcome: impressions without a click, low ratings"
        faults.add("interactions", "label", only, "both 0 and 1", fix)


def _check_deciding_rating(rating: "pd.Series[Any]", faults: Faults, positive_rating: float) -> None:
    """A rating from which the label is made."""
    faults.rows("interactions", "rating", _null(rating), rating, "a number", "Fill it or drop the rows")
    values = _numbers(rating)[~_null(rating)]
    sides = set((values >= positive_rating).tolist())
    if len(sides) == 1:
        found = f"no rating below {positive_rating:g}" if sides.pop() else f"no rating of {positive_rating:g} or more"
        fix = "Choose another positive_rating, or add a column label"
        faults.add("interactions", "rating", found, f"ratings on both sides of {positive_rating:g}", fix)


def _check_timestamp(moments: "pd.Series[Any]", faults: Faults, now: float) -> None:
    null, values = _null(moments), _numbers(moments)
    faults.rows("interactions", "timestamp", null, moments, "seconds since 1970", "Fill it or drop the rows")
    broken = ~null & ~(values == np.floor(values))  # NaN too
    faults.rows("interactions", "timestamp", broken, moments, "whole seconds since 1970", "Round the seconds down")
    negative = ~null & (values < 0)
    fix = "Count from 1970-01-01 UTC, or drop the rows"
    faults.rows("interactions", "timestamp", negative, moments, "0 or more seconds since 1970", fix)
    limit = np.inf
    for least, unit, per_second in _UNITS:
        mistaken = ~null & (values >= least) & (values < limit)
        fix = f"These look like {unit}: divide by {per_second:,}"
        faults.rows("interactions", "timestamp", mistaken, moments, "seconds since 1970", fix)
        limit = least
    future = ~null & (values > now) & (values < limit)
    fix = "Correct the clock or the time zone, or drop the rows"
    faults.rows("interactions", "timestamp", future, moments, f"at most now, {int(now)}", fix)


def _check_references(frames: Mapping[str, pd.DataFrame], faults: Faults) -> None:
    interactions = frames["interactions"]
    for table, key in (("users", "user_id"), ("items", "item_id")):
        if table not in frames or key not in frames[table] or key not in interactions:
            continue
        ids = interactions[key]
        given = np.array([isinstance(value, str) and bool(value.strip()) for value in ids], dtype=np.bool_)
        known = set(frames[table][key].dropna())
        if not all(isinstance(value, str) for value in known):
            continue  # ids that are no ids are a fault of their own
        unknown = given & ~ids.isin(known).to_numpy()
        fix = _same_id(ids[unknown], known, f"{table}.{key}") or f"Add the missing {table} or drop these interactions"
        faults.rows("interactions", key, unknown, ids, f"an id of {table}.parquet", fix)


def _same_id(unknown: "pd.Series[Any]", known: set[str], where: str) -> str | None:
    """What to do where the first unknown id is a known one in another spelling: 12.0, 012 or " 12" for 12."""
    if not len(unknown):
        return None
    found = next((value for value in known if isinstance(value, str) and _bare(value) == _bare(unknown.iloc[0])), None)
    if found is None:
        return None
    return f"{where} has {found!r}: write the ids alike in all tables, as text with the same zeros, blanks and case"


def _bare(value: str) -> str:
    text = value.strip().casefold()
    return re.sub(r"\.0+", "", text).lstrip("0") or "0" if NUMBER.fullmatch(text) else text


def _check_images(images: "pd.Series[Any]", folder: TableFolder, faults: Faults, url_schemes: Sequence[str]) -> None:
    given = images.notna().to_numpy()
    url = np.array([isinstance(image, str) and is_url(image) for image in images], dtype=np.bool_)
    foreign = url & np.array([str(image).split(":")[0].lower() not in url_schemes for image in images], dtype=np.bool_)
    allowed = ", ".join("data:" if scheme == "data" else f"{scheme}://" for scheme in url_schemes) or "no URL"
    fix = "Use an allowed scheme, or copy the images into the folder"
    faults.rows("items", "image", foreign, images, f"a path within the folder, or a URL: {allowed}", fix)
    places = [folder.resolve(image) if is_path else None for image, is_path in zip(images, given & ~url, strict=True)]
    outside = given & ~url & np.array([place is None for place in places], dtype=np.bool_)
    fix = "Copy the images into the folder and give paths relative to it, with forward slashes"
    faults.rows("items", "image", outside, images, "a relative path that stays within the folder", fix)


def _check_feature(table: str, name: str, values: "pd.Series[Any]", faults: Faults) -> None:
    if pd.api.types.is_bool_dtype(values):
        return
    if pd.api.types.is_numeric_dtype(values):
        _check_finite(table, name, values, faults)
        return
    if (mixed := number_text(values)) is not None:
        expected = f"a number, as {mixed.numbers:,} other values of the column are" if mixed.numbers else "a number"
        fix = "Write numbers with a decimal point and null where one is not known; write codes with a letter in each"
        faults.rows(table, name, mixed.rows, values, expected, fix)
    long = np.array([isinstance(value, str) and len(value) > MAX_TEXT for value in values], dtype=np.bool_)
    expected = f"a string of at most {MAX_TEXT} characters"
    faults.rows(table, name, long, values, expected, "Shorten it, or drop the column: it is no category")


def _check_finite(table: str, name: str, values: "pd.Series[Any]", faults: Faults) -> None:
    bad = ~_null(values) & ~np.isfinite(_numbers(values))
    faults.rows(table, name, bad, values, "a finite number", "Write null where the value is not known")


def _null(values: "pd.Series[Any]") -> Bools:
    """Nulls of the file; a NaN in it is a value, and a wrong one (pandas' masked types keep the two
    apart).
    """
    return values.isna().to_numpy()


def _numbers(values: "pd.Series[Any]") -> npt.NDArray[np.float64]:
    """float64, NaN for null."""
    return values.to_numpy(dtype=np.float64, na_value=np.nan)
