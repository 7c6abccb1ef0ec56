"""From a data set to a feature contract, the columns that it encodes, and the rows of the store.

The same rules serve MovieLens and bring-your-own data: ids become hashed buckets, further string columns a
vocabulary (or buckets when there are many values), numbers dense features (see `scaling`), booleans 0 or 1;
the hour and weekday of an interaction are its context. Beside these stand two counts, the item's `popularity` and the
user's `activity`: how many *other* training interactions the item or user has. `image`, `label` and `rating`
are never features.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.contract import (
    CaptionFeature,
    CaptionTokenizer,
    CategoricalFeature,
    Contract,
    DenseFeature,
    HashBuckets,
    HashEncoder,
    IntegerRange,
    Source,
    Vocabulary,
)
from training.data.dataset import Dataset
from training.data.scaling import dense_feature
from training.data.splits import Rows, Split

SOURCES: tuple[Source, ...] = ("user", "context", "item")

Value = str | int | float
Column = npt.NDArray[Any]

MAX_VOCABULARY = 1000
BUCKETS_PER_ID = 32  # about 3 % of ids share a bucket with another one
MIN_ID_BUCKETS = 1024
MAX_ID_BUCKETS = 2**20
CAPTION_TOKENS = 32
CAPTION_ENCODER = HashEncoder(buckets=2**15, seed=0, max_ngram=2)
NEVER_FEATURES = frozenset({"image", "label", "rating", "timestamp"})
BUILT_IN = frozenset({"user_id", "item_id", "hour", "weekday", "popularity", "activity"})

_USER_SEED, _ITEM_SEED, _VALUE_SEED = 1, 2, 3


def contract(
    dataset: Dataset,
    tokenizer: CaptionTokenizer,
    split: Split,
    *,
    name: str = "movielens",
    version: int = 1,
    max_tokens: int = CAPTION_TOKENS,
    deduplicate: bool = True,
    encoder: HashEncoder = CAPTION_ENCODER,
) -> Contract:
    """The contract with caption; its `without_caption()` is the ablation.

    Vocabularies, scales and bounds come from the split's training rows alone.

    Raises:
        ContractFormatError: a column's name or values cannot be a feature.
    """
    train = columns_of(dataset, split, split.train)
    dense, categorical = [], []
    for source, frame in _sources(dataset).items():
        for column in map(str, frame.columns):
            if pd.api.types.is_numeric_dtype(frame[column]) and not pd.api.types.is_bool_dtype(frame[column]):
                dense.append(dense_feature(column, source, train[column]))
            else:
                categorical.append(_categorical(column, source, frame[column], train[column]))
    caption = CaptionFeature(
        tokenizer_sha256=tokenizer.sha256,
        max_tokens=max_tokens,
        deduplicate=deduplicate,
        encoder=encoder,
        description="tokens of the caption that the captioner read off the item's image",
    )
    return Contract(
        format=2,
        name=name,
        version=version,
        dense=(*dense, _count("popularity", "item", train), _count("activity", "user", train)),
        categorical=(*_built_in_categorical(dataset), *categorical),
        caption=caption,
    )


def columns(dataset: Dataset, split: Split, rows: Rows, contract: Contract) -> dict[str, Column]:
    """The raw values of some interactions, by feature name, as `models.contract.encode` takes them.

    Args:
        rows: int64 row numbers into `dataset.interactions`, in any order; each returned column has one entry
            per row, in that order.
        contract: says which columns are wanted.

    Returns:
        str or None in object arrays, int64 arrays, float64 arrays with NaN where a value is missing.
    """
    found = columns_of(dataset, split, rows)
    names = [name for source in SOURCES for name in contract.names(source)]
    return {name: found[name] for name in names}


def columns_of(dataset: Dataset, split: Split, rows: Rows) -> dict[str, Column]:
    """Every column that could be a feature, see `columns`.

    A training row is not counted in its own `popularity` and `activity`: they mean "others", as they do for
    the rows of the other parts and in serving. They are counts of rows of whatever label, over all of
    training (also of later moments than the row's own).
    """
    frame = dataset.interactions.iloc[rows]
    users = frame["user_id"].to_numpy(dtype=object)
    items = frame["item_id"].to_numpy(dtype=object)
    moments = frame["timestamp"].to_numpy(dtype=np.int64)
    own = np.isin(rows, split.train).astype(np.int64)
    found: dict[str, Column] = {
        "user_id": users,
        "item_id": items,
        "hour": hours(moments),
        "weekday": weekdays(moments),
        "popularity": _look_up(train_counts(dataset, split, "item_id"), items) - own,
        "activity": _look_up(train_counts(dataset, split, "user_id"), users) - own,
    }
    places = {
        "user": _positions(dataset.users["user_id"], users),
        "item": _positions(dataset.items["item_id"], items),
        "context": rows,
    }
    for source, table in _sources(dataset).items():
        for column in map(str, table.columns):
            found[column] = _values(table[column], places[source])
    return found


def hours(moments: Rows) -> Rows:
    """Hour of the day in UTC, of seconds since 1970; int64 of the same shape."""
    return moments // 3600 % 24


def weekdays(moments: Rows) -> Rows:
    """Day of the week in UTC, 0 is Monday, of seconds since 1970; int64 of the same shape."""
    return (moments // 86400 + 3) % 7  # 1970-01-01 was a Thursday


def train_counts(dataset: Dataset, split: Split, column: str) -> dict[str, int]:
    """How many training interactions each value of `user_id` or `item_id` has; values with none are
    absent.
    """
    counted = dataset.interactions[column].iloc[split.train].value_counts()
    return {str(value): int(count) for value, count in counted.items()}


def item_rows(dataset: Dataset, split: Split) -> dict[str, dict[str, Value]]:
    """Each item's own features by contract name, for the item store; missing values are left out. Items
    without a training interaction have popularity 0.
    """
    return _store_rows(dataset.items, "item_id", "popularity", train_counts(dataset, split, "item_id"))


def user_rows(dataset: Dataset, split: Split) -> dict[str, dict[str, Value]]:
    """Each user's features by contract name, for the user store or a request; missing values are left out."""
    return _store_rows(dataset.users, "user_id", "activity", train_counts(dataset, split, "user_id"))


def _sources(dataset: Dataset) -> dict[Source, pd.DataFrame]:
    """The columns that are features of their own accord, per source."""
    taken = NEVER_FEATURES | BUILT_IN
    tables: dict[Source, pd.DataFrame] = {"user": dataset.users, "item": dataset.items, "context": dataset.interactions}
    return {source: table[[c for c in table.columns if c not in taken]] for source, table in tables.items()}


def _built_in_categorical(dataset: Dataset) -> tuple[CategoricalFeature, ...]:
    users = HashBuckets(buckets=id_buckets(len(dataset.users)), seed=_USER_SEED)
    items = HashBuckets(buckets=id_buckets(len(dataset.items)), seed=_ITEM_SEED)
    return (
        CategoricalFeature(name="user_id", source="user", encoding=users),
        CategoricalFeature(name="item_id", source="item", encoding=items),
        CategoricalFeature(
            name="hour", source="context", encoding=IntegerRange(low=0, high=23), description="of the day, UTC"
        ),
        CategoricalFeature(
            name="weekday", source="context", encoding=IntegerRange(low=0, high=6), description="0 is Monday, UTC"
        ),
    )


def id_buckets(ids: int) -> int:
    """A power of two, at least 32 times the number of ids, from 1,024 to 1,048,576."""
    wanted = min(max(ids * BUCKETS_PER_ID, MIN_ID_BUCKETS), MAX_ID_BUCKETS)
    return 1 << (wanted - 1).bit_length()


def _count(name: str, source: Source, train: Mapping[str, Column]) -> DenseFeature:
    description = f"how many training interactions the {source} has (the row's own not counted)"
    return dense_feature(name, source, train[name], count=True, description=description)


def _categorical(name: str, source: Source, column: "pd.Series[Any]", values: Column) -> CategoricalFeature:
    if pd.api.types.is_bool_dtype(column):
        return CategoricalFeature(name=name, source=source, encoding=IntegerRange(low=0, high=1))
    distinct = sorted({value for value in values if value is not None})
    if 0 < len(distinct) <= MAX_VOCABULARY:
        return CategoricalFeature(name=name, source=source, encoding=Vocabulary(values=tuple(distinct)))
    buckets = HashBuckets(buckets=id_buckets(len(distinct)), seed=_VALUE_SEED)
    return CategoricalFeature(name=name, source=source, encoding=buckets)


def _look_up(counts: Mapping[str, int], keys: Column) -> npt.NDArray[np.int64]:
    return np.fromiter((counts.get(key, 0) for key in keys), dtype=np.int64, count=len(keys))


def _positions(ids: "pd.Series[str]", keys: Column) -> Rows:
    """Where each key stands in the table, -1 where it does not."""
    place = {identity: number for number, identity in enumerate(ids)}
    return np.fromiter((place.get(key, -1) for key in keys), dtype=np.int64, count=len(keys))


def _values(column: "pd.Series[Any]", places: Rows) -> Column:
    """The column's values at some places; missing where the place is -1 or the value is."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = np.append(column.to_numpy(dtype=np.float64, na_value=np.nan), np.nan)
        return numbers[places]
    plain = int if pd.api.types.is_bool_dtype(column) else str
    listed = np.empty(len(column) + 1, dtype=object)
    listed[:-1] = [None if pd.isna(value) else plain(value) for value in column]
    return listed[places]


def _store_rows(table: pd.DataFrame, key: str, count: str, counts: Mapping[str, int]) -> dict[str, dict[str, Value]]:
    names = [column for column in table.columns if column not in NEVER_FEATURES | BUILT_IN]
    everything = np.arange(len(table), dtype=np.int64)
    values = {name: _plain(table[name], _values(table[name], everything)) for name in names}
    rows: dict[str, dict[str, Value]] = {}
    for number, identity in enumerate(table[key]):
        own = {name: values[name][number] for name in names}
        present = {name: value for name, value in own.items() if not (value is None or value != value)}
        rows[identity] = {key: identity, **present, count: counts.get(identity, 0)}
    return rows


def _plain(column: "pd.Series[Any]", values: Column) -> list[Any]:
    """Python values; whole numbers stay whole."""
    if pd.api.types.is_integer_dtype(column) and not column.isna().any():
        return [int(value) for value in values]
    return list(values.tolist())
