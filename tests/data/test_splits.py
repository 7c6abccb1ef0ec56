from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data import movielens, splits
from training.data.dataset import Dataset
from training.data.errors import SplitError


def dataset(rows: Sequence[tuple[int, ...]]) -> Dataset:
    """Of (user, item, time, label)."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "label"]).astype(
        {"user_id": str, "item_id": str}
    )
    frame = frame.drop_duplicates(["user_id", "item_id", "timestamp"], ignore_index=True)
    items = frame[["item_id"]].drop_duplicates()
    users = frame[["user_id"]].drop_duplicates()
    return Dataset.of(frame, items, users)


def drawn(seed: int, users: int, rows: int) -> Dataset:
    """Few distinct moments, so that ties are everywhere."""
    rng = np.random.default_rng(seed)
    limits = (users, 30, 13, 2)
    return dataset([tuple(int(rng.integers(limit)) for limit in limits) for _ in range(rows)])


ROWS = st.builds(drawn, st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(60, 150))


def parts(data: Dataset, split: splits.Split) -> dict[str, set[tuple[str, str, int]]]:
    keys = list(data.interactions[["user_id", "item_id", "timestamp"]].itertuples(index=False, name=None))
    return {name: {keys[row] for row in getattr(split, name)} for name in ("train", "valid", "test")}


def made(data: Dataset, name: str) -> splits.Split | None:
    try:
        return splits.split(data, name)
    except SplitError:
        return None


@pytest.mark.parametrize("name", splits.SPLITS)
@settings(max_examples=20, deadline=None)
@given(data=ROWS)
def test_parts_are_disjoint_complete_and_ascending(name: str, data: Dataset) -> None:
    split = made(data, name)
    if split is None:
        return
    together = np.concatenate([split.train, split.valid, split.test])
    assert np.array_equal(np.sort(together), np.arange(len(data.interactions)))
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in (split.train, split.valid, split.test))


@pytest.mark.parametrize("name", splits.SPLITS)
@settings(max_examples=20, deadline=None)
@given(data=ROWS, seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(name: str, data: Dataset, seed: int) -> None:
    split = made(data, name)
    shuffled = Dataset.of(data.interactions.sample(frac=1.0, random_state=seed), data.items, data.users)
    other = made(shuffled, name)
    assert (split is None) == (other is None)
    if split is not None and other is not None:
        assert parts(data, split) == parts(shuffled, other)


@settings(max_examples=20, deadline=None)
@given(data=ROWS)
def test_within_a_user_nothing_in_training_is_later_than_what_is_held_out(data: Dataset) -> None:
    split = splits.within_user_time(data)
    frame = data.interactions
    for user, rows in frame.groupby("user_id").indices.items():
        times = [
            frame["timestamp"].to_numpy()[np.intersect1d(part, rows)] for part in (split.train, split.valid, split.test)
        ]
        assert len(times[0]) > 0, user
        assert [len(part) for part in times[1:]] == [len(rows) // 10, len(rows) // 5]
        ordered = [part for part in times if len(part)]
        assert all(before.max() <= after.min() for before, after in pairwise(ordered))


@settings(max_examples=20, deadline=None)
@given(data=ROWS)
def test_global_time_parts_strictly_by_moment(data: Dataset) -> None:
    split = made(data, "global_time")
    if split is None:
        return
    times = data.interactions["timestamp"].to_numpy()
    ordered = [times[part] for part in (split.train, split.valid, split.test) if len(part)]
    assert all(before.max() < after.min() for before, after in pairwise(ordered))


@settings(max_examples=20, deadline=None)
@given(data=ROWS, seed=st.integers(0, 1000))
def test_held_out_items_are_wholly_unseen_and_five_folds_test_each_once(data: Dataset, seed: int) -> None:
    items = data.interactions["item_id"].to_numpy()
    tested: list[str] = []
    for fold in range(splits.FOLDS):
        split = splits.new_items(data, seed, fold)
        train, valid, test = (set(items[part]) for part in (split.train, split.valid, split.test))
        assert not train & valid
        assert not train & test
        assert not valid & test
        tested += test
    assert sorted(tested) == sorted(set(items))


def test_another_seed_holds_out_other_items(films_and_ratings: movielens.MovieLens) -> None:
    data = films_and_ratings.dataset
    assert not np.array_equal(splits.new_items(data, 0, 0).test, splits.new_items(data, 1, 0).test)
    assert np.array_equal(splits.new_items(data, 1, 0).test, splits.new_items(data, 1, 0).test)


@pytest.mark.parametrize(
    ("name", "sizes", "unseen_users", "unseen_items"),
    [
        ("within_user", (70_771, 9_596, 19_633), 0, 114),
        ("global_time", (70_001, 10_002, 19_997), 17_590, 438),
        ("new_items", (68_989, 10_574, 20_437), 0, 20_437),
    ],
)
def test_movielens_is_parted_as_documented(
    films_and_ratings: movielens.MovieLens, name: str, sizes: tuple[int, int, int], unseen_users: int, unseen_items: int
) -> None:
    frame = films_and_ratings.dataset.interactions
    split = splits.split(films_and_ratings.dataset, name)
    train, test = frame.iloc[split.train], frame.iloc[split.test]
    assert split.name == name
    assert (len(split.train), len(split.valid), len(split.test)) == sizes
    assert (~test["user_id"].isin(set(train["user_id"]))).sum() == unseen_users
    assert (~test["item_id"].isin(set(train["item_id"]))).sum() == unseen_items


def test_ties_are_not_put_in_order_by_item_id() -> None:
    data = dataset([(0, item, 7, item % 2 == 0) for item in range(100)])
    held_out = data.interactions.iloc[splits.within_user_time(data).test]["item_id"].astype(int)
    assert 30 < held_out.mean() < 70


def test_a_user_with_few_interactions_is_only_trained_on() -> None:
    data = dataset([(0, item, item, True) for item in range(20)] + [(1, item, 99, False) for item in range(4)])
    split = splits.within_user_time(data)
    assert set(data.interactions.iloc[split.train]["user_id"]) == {"0", "1"}
    assert set(data.interactions.iloc[split.test]["user_id"]) == {"0"}


def test_what_cannot_be_parted_is_refused_with_the_reason() -> None:
    few = dataset([(0, 1, 5, True), (1, 2, 5, False)])
    with pytest.raises(SplitError, match="within_user gives 2 training, 0 validation and 0 test rows of 2"):
        splits.within_user_time(few)
    with pytest.raises(SplitError, match="global_time gives"):
        splits.global_time(few)
    with pytest.raises(SplitError, match="at least 10 items with interactions; the data set has 2"):
        splits.new_items(few)
    with pytest.raises(SplitError, match="fold 5 is out of range; expected 0 to 4"):
        splits.new_items(few, fold=5)
    with pytest.raises(SplitError, match="'random' is unknown; expected one of within_user, global_time, new_items"):
        splits.split(few, "random")
