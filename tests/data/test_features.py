from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.contract import CaptionTokenizer, Contract, HashBuckets, IntegerRange, Vocabulary, encode
from training.data import features, movielens, splits
from training.data.dataset import Dataset
from training.data.splits import Split

TOKENIZER = Path(__file__).parents[2] / "models" / "captioner" / "tiny" / "tokenizer.json"


class NamedTokenizer:
    """A contract needs no more of a tokenizer than its digest."""

    sha256 = "5" * 64


def contract_of(dataset: Dataset, split: Split, **settings: object) -> Contract:
    return features.contract(dataset, NamedTokenizer(), split, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def split(films_and_ratings: movielens.MovieLens) -> Split:
    return splits.within_user_time(films_and_ratings.dataset)


@pytest.fixture(scope="module")
def contract(films_and_ratings: movielens.MovieLens, split: Split) -> Contract:
    return contract_of(films_and_ratings.dataset, split)


def own_dataset() -> tuple[Dataset, Split]:
    interactions = pd.DataFrame(
        {
            "user_id": ["u1", "u2", "u1", "u3"],
            "item_id": ["a", "b", "b", "c"],
            "label": [1, 0, 1, 0],
            # Thursday 00:00, Thursday 23:59:59, Sunday 12:00, Monday 00:00 (UTC)
            "timestamp": [0, 86_399, 3 * 86_400 + 43_200, 4 * 86_400],
            "rating": [5.0, 1.0, 4.0, 2.0],
            "device": ["phone", "tv", None, "watch"],
        }
    )
    items = pd.DataFrame(
        {"item_id": ["a", "b", "c"], "price": [10.0, 20.0, np.nan], "new": [True, False, True], "stock": [3, 4, 5]}
    )
    users = pd.DataFrame({"user_id": ["u1", "u2"], "city": ["Paris", "Rome"]})
    split = Split("within_user", np.array([0, 1, 2]), np.array([], dtype=np.int64), np.array([3]))
    return Dataset.of(interactions, items, users), split


def test_the_movielens_contract_has_the_agreed_features(contract: Contract) -> None:
    assert (contract.name, contract.version) == ("movielens", 1)
    assert {(feature.name, feature.source) for feature in contract.categorical} == {
        ("user_id", "user"),
        ("gender", "user"),
        ("occupation", "user"),
        ("item_id", "item"),
        ("hour", "context"),
        ("weekday", "context"),
    }
    assert {(feature.name, feature.source, feature.transform) for feature in contract.dense} == {
        ("age", "user", "identity"),
        ("popularity", "item", "log1p"),
        ("activity", "user", "log1p"),
    }
    assert contract.caption is not None
    assert contract.caption.encoder.kind == "hash"


def test_the_ablation_differs_in_the_caption_alone(contract: Contract) -> None:
    assert contract.digest.startswith("sha256:")  # read before, as a caller may
    ablation = contract.without_caption()
    assert ablation.caption is None
    assert (ablation.dense, ablation.categorical) == (contract.dense, contract.categorical)


def test_few_ids_share_a_bucket(contract: Contract, films_and_ratings: movielens.MovieLens, split: Split) -> None:
    rows = np.arange(100_000)
    columns = features.columns(films_and_ratings.dataset, split, rows, contract)
    buckets = encode(contract.without_caption(), columns, None)["categorical"]
    for name, ids in (("user_id", 943), ("item_id", 1682)):
        place = [feature.name for feature in contract.categorical].index(name)
        assert len(set(buckets[:, place])) > 0.96 * ids


def test_columns_can_be_encoded_and_dense_ones_are_scaled_on_training(
    contract: Contract, films_and_ratings: movielens.MovieLens, split: Split
) -> None:
    columns = features.columns(films_and_ratings.dataset, split, split.train, contract)
    encoded = encode(contract.without_caption(), columns, None)
    assert encoded["dense"].shape == (len(split.train), 3)
    assert encoded["dense"].mean(axis=0) == pytest.approx(0, abs=1e-3)
    assert encoded["dense"].std(axis=0) == pytest.approx(1, abs=1e-3)
    assert (encoded["categorical"] >= 2).all()


def test_held_out_rows_do_not_touch_the_contract_or_the_training_columns(
    contract: Contract, films_and_ratings: movielens.MovieLens, split: Split
) -> None:
    dataset = films_and_ratings.dataset
    changed = dataset.interactions.copy()
    held_out = np.concatenate([split.valid, split.test])
    changed.loc[held_out, ["user_id", "item_id", "timestamp"]] = ["1", "1", 0]
    changed.loc[held_out, "label"] = 1 - changed.loc[held_out, "label"]
    other = Dataset.of(changed, dataset.items, dataset.users)
    assert contract_of(other, split).digest == contract.digest
    before = features.columns(dataset, split, split.train, contract)
    after = features.columns(other, split, split.train, contract)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert features.item_rows(other, split) == features.item_rows(dataset, split)


def test_labels_and_ratings_reach_no_column(
    contract: Contract, films_and_ratings: movielens.MovieLens, split: Split
) -> None:
    dataset = films_and_ratings.dataset
    flipped = dataset.interactions.assign(label=1 - dataset.interactions["label"], rating=3.0)
    other = Dataset.of(flipped, dataset.items, dataset.users)
    assert contract_of(other, split).digest == contract.digest
    rows = np.arange(0, 100_000, 7)
    before, after = (features.columns_of(data, split, rows) for data in (dataset, other))
    assert before.keys() == after.keys()
    assert not {"label", "rating", "image", "timestamp"} & before.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_training_row_is_not_counted_in_its_own_popularity() -> None:
    dataset, split = own_dataset()
    columns = features.columns_of(dataset, split, np.array([0, 1, 2, 3]))
    assert columns["popularity"].tolist() == [0, 1, 1, 0]
    assert columns["activity"].tolist() == [1, 0, 1, 0]
    held_out = features.columns_of(dataset, Split("x", np.array([0, 1]), np.array([2]), np.array([3])), np.array([2]))
    assert (held_out["popularity"].tolist(), held_out["activity"].tolist()) == ([1], [1])


def test_films_unseen_in_training_have_no_popularity(films_and_ratings: movielens.MovieLens) -> None:
    split = splits.new_items(films_and_ratings.dataset)
    columns = features.columns_of(films_and_ratings.dataset, split, np.concatenate([split.valid, split.test]))
    assert (columns["popularity"] == 0).all()


def test_hour_and_weekday_are_those_of_utc() -> None:
    dataset, split = own_dataset()
    columns = features.columns_of(dataset, split, np.arange(4))
    assert columns["hour"].tolist() == [0, 23, 12, 0]
    assert columns["weekday"].tolist() == [3, 3, 6, 0]
    moments = pd.to_datetime(dataset.interactions["timestamp"], unit="s", utc=True)
    assert columns["weekday"].tolist() == moments.dt.weekday.tolist()


def test_columns_follow_the_order_of_the_rows_asked_for() -> None:
    dataset, split = own_dataset()
    columns = features.columns_of(dataset, split, np.array([2, 0]))
    assert columns["user_id"].tolist() == ["u1", "u1"]
    assert columns["item_id"].tolist() == ["b", "a"]
    assert columns["price"].tolist() == [20.0, 10.0]
    assert columns["device"].tolist() == [None, "phone"]


def test_own_columns_become_features_by_their_type() -> None:
    dataset, split = own_dataset()
    contract = contract_of(dataset, split, name="shop", version=3)
    encodings = {feature.name: (feature.source, feature.encoding) for feature in contract.categorical}
    assert encodings["city"] == ("user", Vocabulary(values=("Paris", "Rome")))
    assert encodings["device"] == ("context", Vocabulary(values=("phone", "tv")))
    assert encodings["new"] == ("item", IntegerRange(low=0, high=1))
    price = next(feature for feature in contract.dense if feature.name == "price")
    assert (price.mean, price.std, price.default) == (16.666667, 4.71405, 16.666667)
    assert (contract.name, contract.version) == ("shop", 3)


def test_missing_values_and_unknown_users_become_missing_in_the_tensors() -> None:
    dataset, split = own_dataset()
    contract = contract_of(dataset, split)
    columns = features.columns(dataset, split, np.array([3]), contract)
    assert columns["city"].tolist() == [None]
    assert np.isnan(columns["price"][0])
    encoded = encode(contract.without_caption(), columns, None)
    by_name = dict(zip([feature.name for feature in contract.categorical], encoded["categorical"][0], strict=True))
    assert by_name["city"] == 0
    assert by_name["device"] == 1  # "watch" is not in training
    dense = dict(zip([feature.name for feature in contract.dense], encoded["dense"][0], strict=True))
    assert dense["price"] == pytest.approx(0, abs=1e-6)


def test_strings_of_many_values_are_hashed_and_a_constant_number_keeps_its_scale() -> None:
    rows = 1500
    interactions = pd.DataFrame(
        {"user_id": "u", "item_id": [str(n) for n in range(rows)], "label": 1.0, "timestamp": range(rows)}
    )
    items = pd.DataFrame(
        {"item_id": [str(n) for n in range(rows)], "brand": [f"b{n}" for n in range(rows)], "weight": 2.0}
    )
    dataset = Dataset.of(interactions, items, pd.DataFrame({"user_id": ["u"]}))
    split = Split("x", np.arange(rows), np.array([], dtype=np.int64), np.array([0]))
    contract = contract_of(dataset, split)
    brand = next(feature for feature in contract.categorical if feature.name == "brand")
    assert brand.encoding == HashBuckets(buckets=65_536, seed=3)
    weight = next(feature for feature in contract.dense if feature.name == "weight")
    assert (weight.mean, weight.std) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("ids", "buckets"), [(0, 1024), (32, 1024), (33, 2048), (943, 32_768), (1682, 65_536), (10**9, 2**20)]
)
def test_bucket_counts_are_powers_of_two_with_room(ids: int, buckets: int) -> None:
    assert features.id_buckets(ids) == buckets


def test_store_rows_hold_the_features_by_contract_name(films_and_ratings: movielens.MovieLens, split: Split) -> None:
    users = features.user_rows(films_and_ratings.dataset, split)
    items = features.item_rows(films_and_ratings.dataset, split)
    assert users["196"] == {"user_id": "196", "gender": "M", "occupation": "writer", "age": 49, "activity": 29}
    assert items["242"] == {"item_id": "242", "popularity": 96}
    assert (len(users), len(items)) == (943, 1682)
    assert all(type(value) in (str, int) for value in users["196"].values())


def test_store_rows_leave_out_what_is_missing() -> None:
    dataset, split = own_dataset()
    items = features.item_rows(dataset, split)
    assert items["c"] == {"item_id": "c", "new": 1, "stock": 5, "popularity": 0}
    assert items["a"] == {"item_id": "a", "price": 10.0, "new": 1, "stock": 3, "popularity": 1}


def test_a_request_with_the_stores_values_gives_the_bytes_of_a_held_out_row(
    contract: Contract, films_and_ratings: movielens.MovieLens, split: Split
) -> None:
    dataset = films_and_ratings.dataset
    row = int(split.test[123])
    seen = dataset.interactions.iloc[row]
    served = {
        **features.user_rows(dataset, split)[seen["user_id"]],
        **features.item_rows(dataset, split)[seen["item_id"]],
    }
    moment = pd.Timestamp(seen["timestamp"], unit="s", tz="UTC")
    served |= {"hour": moment.hour, "weekday": moment.weekday()}
    ablation = contract.without_caption()
    trained = encode(ablation, features.columns(dataset, split, np.array([row]), contract), None)
    requested = encode(ablation, {name: [value] for name, value in served.items()}, None)
    assert all(trained[name].tobytes() == requested[name].tobytes() for name in trained)


def test_the_tokenizers_digest_stands_in_the_contract(films_and_ratings: movielens.MovieLens, split: Split) -> None:
    tokenizer = CaptionTokenizer.from_file(TOKENIZER)
    contract = features.contract(films_and_ratings.dataset, tokenizer, split)
    assert contract.caption is not None
    assert contract.caption.tokenizer_sha256 == tokenizer.sha256
