import numpy as np
import pandas as pd
import pytest

from training.data.dataset import Dataset, content_digest
from training.data.errors import DataError

GOLDEN = "sha256:0521a904fdc59cf47906091239effd1744a66169b6d0f06c9f1f7df3fdec5e19"


def tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    interactions = pd.DataFrame(
        {
            "user_id": ["u1", "u2", "u1"],
            "item_id": ["a", "a", "ß"],
            "label": [1.0, 0.0, 1.0],
            "timestamp": [10, 20, 30],
            "device": ["phone", None, "tv"],
        }
    )
    items = pd.DataFrame({"item_id": ["a", "ß"], "price": [1.5, np.nan], "new": [True, False]})
    users = pd.DataFrame({"user_id": ["u1", "u2"], "age": [31, 44]})
    return interactions, items, users


def test_the_digest_of_a_known_data_set_never_changes() -> None:
    assert Dataset.of(*tables()).digest == GOLDEN


def test_the_digest_does_not_depend_on_how_pandas_stores_the_values() -> None:
    interactions, items, users = tables()
    stored = (
        interactions.astype({"user_id": "string", "device": "string", "timestamp": "int32"}).set_index(
            pd.Index([7, 8, 9])
        ),
        items.astype({"price": "Float64"})[["new", "price", "item_id"]],
        users.astype({"age": "Int16"}),
    )
    assert Dataset.of(*stored).digest == GOLDEN


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (0, "label", 0.0),
        (0, "timestamp", 11),
        (0, "device", None),
        (0, "user_id", "u3"),
        (1, "price", 1.25),
        (2, "age", 30),
    ],
)
def test_the_digest_changes_with_every_value(table: int, column: str, value: object) -> None:
    changed = tables()
    changed[table].loc[0, column] = value
    assert Dataset.of(*changed).digest != GOLDEN


def test_the_digest_changes_with_row_order_and_column_names() -> None:
    interactions, items, users = tables()
    assert Dataset.of(interactions[::-1], items, users).digest != GOLDEN
    assert Dataset.of(interactions, items.rename(columns={"price": "cost"}), users).digest != GOLDEN


def test_text_cannot_flow_from_one_value_into_the_next() -> None:
    users = pd.DataFrame({"user_id": ["u"]})
    items = pd.DataFrame({"item_id": ["i"]})
    digests = {
        content_digest(pd.DataFrame({"a": first, "b": second}), items, users)
        for first, second in (
            (["xy", "z"], ["", ""]),
            (["x", "yz"], ["", ""]),
            (["", ""], ["xy", "z"]),
            ([None, "xyz"], ["", ""]),
        )
    }
    assert len(digests) == 4


def test_columns_get_their_types_and_rows_their_numbers() -> None:
    interactions, items, users = tables()
    dataset = Dataset.of(interactions.iloc[1:].assign(user_id=[2, 1]), items, users)
    assert dataset.interactions["label"].dtype == np.float32
    assert dataset.interactions["timestamp"].dtype == np.int64
    assert dataset.interactions["user_id"].tolist() == ["2", "1"]
    assert dataset.interactions.index.tolist() == [0, 1]
    assert dataset.items["image"].tolist() == [None, None]


def test_a_missing_column_is_named() -> None:
    interactions, items, users = tables()
    with pytest.raises(DataError, match=r"table interactions .* lacks \['label'\]"):
        Dataset.of(interactions.drop(columns="label"), items, users)


def test_a_column_of_lists_is_refused() -> None:
    interactions, items, users = tables()
    with pytest.raises(DataError, match=r"users\.tags holds \['x'\] of type list"):
        Dataset.of(interactions, items, users.assign(tags=[["x"], ["y"]]))


def test_images_can_be_placed_without_another_digest() -> None:
    dataset = Dataset.of(*tables())
    placed = dataset.with_images({"a": "/posters/a.png"})
    assert placed.items["image"].tolist() == ["/posters/a.png", None]
    assert placed.digest == dataset.digest
    assert dataset.items["image"].tolist() == [None, None]
