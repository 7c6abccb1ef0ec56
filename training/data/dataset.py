"""A data set: who saw which item when, and with what outcome."""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from training.data.errors import DataError

_TABLES = ("interactions", "items", "users")
_MISSING = b"\x00"
_PRESENT = b"\x01"


@dataclass(frozen=True)
class Dataset:
    """Interactions, items and users, not to be changed once made.

    Attributes:
        interactions: user_id str, item_id str, label float32 (0 or 1), timestamp int64 (seconds since 1970,
            UTC), optionally rating, and any further columns, which are context features.
        items: item_id str, image (str path or URL, or None), and any further columns, which are item
            features.
        users: user_id str, and any further columns, which are user features.
        digest: `sha256:<64 hex>` over the content, see `content_digest`.
    """

    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    digest: str

    @classmethod
    def of(cls, interactions: pd.DataFrame, items: pd.DataFrame, users: pd.DataFrame) -> "Dataset":
        """Bring the fixed columns to their types, number the rows from 0 and compute the digest.

        Raises:
            DataError: a fixed column is missing.
        """
        _require(interactions, "interactions", ("user_id", "item_id", "label", "timestamp"))
        _require(items, "items", ("item_id",))
        _require(users, "users", ("user_id",))
        interactions = _typed(
            interactions, {"user_id": "str", "item_id": "str", "label": "float32", "timestamp": "int64"}
        )
        items = _typed(items, {"item_id": "str"})
        if "image" not in items.columns:
            items["image"] = pd.Series([None] * len(items), dtype=object)
        users = _typed(users, {"user_id": "str"})
        return cls(interactions, items, users, content_digest(interactions, items, users))

    def with_images(self, images: Mapping[str, str]) -> "Dataset":
        """The same data set with images found at `images[item_id]`.

        The digest stays: it names the content as it was read, not places on a machine. Items that `images`
            does not name have no image afterwards.
        """
        items = self.items.copy()
        found = [images.get(item) for item in items["item_id"]]
        items["image"] = pd.Series(found, index=items.index, dtype=object)
        return replace(self, items=items)


def content_digest(interactions: pd.DataFrame, items: pd.DataFrame, users: pd.DataFrame) -> str:
    """sha256 over column names, kinds and values, in row order and in the columns' alphabetical order.

    Only Python strings and little-endian 64-bit numbers are hashed, so that neither the platform nor the
    version or storage type of pandas plays a part. Row order counts, because splits name rows by number.

    Raises:
        DataError: a column holds something else than strings, numbers or booleans.
    """
    digest = hashlib.sha256(b"sightline.dataset.1")
    for name, frame in zip(_TABLES, (interactions, items, users), strict=True):
        digest.update(_framed(name.encode()) + struct.pack("<q", len(frame)))
        for column in sorted(map(str, frame.columns)):
            kind, payload = _column_bytes(frame[column], f"{name}.{column}")
            digest.update(_framed(column.encode()) + _framed(kind.encode()) + _framed(payload))
    return f"sha256:{digest.hexdigest()}"


def _require(frame: pd.DataFrame, table: str, columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(f"table {table} has columns {list(frame.columns)} and lacks {missing}; add the missing columns")


def _typed(frame: pd.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    made = frame.reset_index(drop=True).copy()
    for column, kind in kinds.items():
        if kind == "str":
            made[column] = pd.Series([str(value) for value in made[column]], dtype=object)
        else:
            made[column] = pd.Series(made[column].to_numpy(dtype=np.dtype(kind)))
    return made


def _column_bytes(column: "pd.Series[Any]", where: str) -> tuple[str, bytes]:
    if pd.api.types.is_bool_dtype(column.dtype):
        return "bool", _numbers(column, "<i8") if not column.isna().any() else _numbers(column, "<f8")
    if pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any():
        return "int", _numbers(column, "<i8")
    if pd.api.types.is_numeric_dtype(column.dtype):
        return "float", _numbers(column, "<f8")
    return "string", b"".join(_text(value, where) for value in column)


def _numbers(column: "pd.Series[Any]", kind: str) -> bytes:
    values = column.to_numpy(dtype=kind, na_value=np.nan) if kind == "<f8" else column.to_numpy(dtype=kind)
    if kind == "<f8":
        values = np.where(np.isnan(values), np.nan, values).astype("<f8") + 0.0  # one NaN, no negative zero
    return values.tobytes()


def _text(value: object, where: str) -> bytes:
    if isinstance(value, str):
        return _PRESENT + _framed(value.encode())
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return _MISSING
    raise DataError(
        f"column {where} holds {value!r} of type {type(value).__name__}; "
        "expected strings, numbers or booleans: convert the column"
    )


def _framed(payload: bytes) -> bytes:
    return struct.pack("<q", len(payload)) + payload
