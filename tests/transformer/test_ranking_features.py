"""From a request to tensors: the store, the cache, the request's own values, and a store that is away."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import CaptionTokenizer, CategoricalFeature, Contract, IntegerRange, Side, encode
from models.items import ItemRow, ItemStoreError, StoredCaption, UserRow
from serving.transformer.errors import InvalidRequestError
from serving.transformer.features import STORE_AWAY, STORED_VALUE, FeatureBuilder
from serving.transformer.item_cache import EncodedItems, ItemCache
from serving.transformer.request import RankRequest
from serving.transformer.stores import StoreConnection


class FakeStore:
    """A store in memory that counts, and fails when told to."""

    def __init__(self, rows: Sequence[ItemRow], users: Sequence[UserRow] = ()) -> None:
        self.rows = {row.item_id: row for row in rows}
        self.users = {user.user_id: user for user in users}
        self.read: list[str] = []
        self.epoch = 1
        self.broken = False

    def refresh(self) -> int:
        self._maybe_fail()
        return self.epoch

    def get_many(self, item_ids: Sequence[str]) -> list[ItemRow | None]:
        self._maybe_fail()
        self.read += item_ids
        return [self.rows.get(item_id) for item_id in item_ids]

    def get_user(self, user_id: str) -> UserRow | None:
        self._maybe_fail()
        return self.users.get(user_id)

    def _maybe_fail(self) -> None:
        if self.broken:
            raise ItemStoreError("the store is away")


def captioned(tokenizer: CaptionTokenizer, item_id: str, text: str, **features: Any) -> ItemRow:
    (tokens,) = tokenizer.encode([text])
    return ItemRow(item_id, StoredCaption(text, tokens, tokenizer.sha256, "tiny@1", "p"), features)


@pytest.fixture
def store(tokenizer: CaptionTokenizer) -> FakeStore:
    rows = [
        captioned(tokenizer, "1", "a red car", popularity=3.0),
        captioned(tokenizer, "2", "two small dogs", popularity=40.0, genre="of another contract"),
        ItemRow("3", None, {"popularity": 7}),
    ]
    return FakeStore(rows, [UserRow("u", {"gender": "M", "age": 49, "occupation": "writer"})])


def builder(contract: Contract, tokenizer: CaptionTokenizer, store: Any, **more: Any) -> FeatureBuilder:
    return FeatureBuilder(contract, tokenizer, store, **{"cache_rows": 100, **more})


def same(tensors: Any, expected: Any) -> None:
    assert list(tensors) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(tensors[name], expected[name])
        assert tensors[name].dtype == expected[name].dtype
        assert tensors[name].flags["C_CONTIGUOUS"]


def test_tensors_are_those_of_trainings_encoder(
    contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore
) -> None:
    request = RankRequest("u", ("1", "3", "2", "x"), context={"hour": 4}, captions={3: "Green  BOTTLE"})
    expected = encode(
        contract,
        {
            "user_id": ["u"] * 4,
            "gender": ["M"] * 4,
            "age": [49] * 4,
            "item_id": ["1", "3", "2", "x"],
            "popularity": [3.0, 7.0, 40.0, None],
            "hour": [4] * 4,
        },
        [tokenizer.encode([t])[0] if t else None for t in ("a red car", "", "two small dogs", "green bottle")],
    )
    made = builder(contract, tokenizer, store)
    for turn in range(3):  # from the store, then from the cache
        features = made.build(request, tokenizer.encode(["Green  BOTTLE"]))
        same(features.tensors, expected)
        assert features.cache_hits == (0 if turn == 0 else 4)
        assert features.caption_stored.tolist() == [True, False, True, False]
        assert features.caption_inline.tolist() == [False, False, False, True]
        assert features.item_known.tolist() == [True, True, True, False]
    assert store.read == ["1", "3", "2", "x"]


@settings(max_examples=40, deadline=None)
@given(asks=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True), max_size=12))
def test_no_history_of_requests_changes_a_row(
    contract: Contract, tokenizer: CaptionTokenizer, asks: list[list[int]]
) -> None:
    rows = [captioned(tokenizer, str(i), "a red car in the snow"[: i + 1], popularity=float(i)) for i in range(25)]
    small = builder(contract, tokenizer, FakeStore(rows), cache_rows=8)
    for ask in asks:
        item_ids = tuple(map(str, ask))
        fresh = builder(contract, tokenizer, FakeStore(rows)).build(RankRequest("u", item_ids))
        same(small.build(RankRequest("u", item_ids)).tensors, fresh.tensors)


def test_a_changed_row_is_read_again(contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore) -> None:
    made = builder(contract, tokenizer, store)
    request = RankRequest("u", ("1", "3"))
    before = made.build(request).tensors["caption"].copy()
    store.rows["3"] = captioned(tokenizer, "3", "green bottle")
    same({"caption": made.build(request).tensors["caption"]}, {"caption": before})
    store.epoch = 2
    features = made.build(request)
    assert features.caption_stored.tolist() == [True, True]
    assert features.tensors["caption"][0].tolist() == before[0].tolist()
    assert features.tensors["caption"][1].tolist() != before[1].tolist()


def test_a_users_changed_row_is_read_again(contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore) -> None:
    made = builder(contract, tokenizer, store)
    before = made.build(RankRequest("u", ("1",)))
    given = made.build(RankRequest("u", ("1",), {"gender": "F"}))
    assert given.tensors["categorical"].tolist() != before.tensors["categorical"].tolist()
    same(made.build(RankRequest("u", ("1",))).tensors, before.tensors)
    store.users["u"] = UserRow("u", {"gender": "F", "age": 49})
    store.epoch = 2
    same(made.build(RankRequest("u", ("1",))).tensors, given.tensors)
    store.broken = True
    away = made.build(RankRequest("u", ("1",)))
    assert (away.user_known, away.degraded) == (False, (STORE_AWAY,))
    store.broken = False
    assert made.build(RankRequest("u", ("1",))).user_known


def test_a_store_that_is_away_degrades(contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore) -> None:
    made = builder(contract, tokenizer, store)
    whole = made.build(RankRequest("u", ("1",), features={0: {"popularity": 1}}))
    store.broken = True
    features = made.build(RankRequest("u", ("1", "2"), {"gender": "F"}, features={1: {"popularity": 1}}))
    assert features.degraded == (STORE_AWAY,)
    assert not features.user_known
    assert features.caption_stored.tolist() == [True, False], "rows in the cache still serve"
    assert features.tensors["caption"][0].tolist() == whole.tensors["caption"][0].tolist()
    store.broken = False
    assert made.build(RankRequest("u", ("1", "2"))).caption_stored.tolist() == [True, True], "nothing empty was cached"


def test_a_caption_of_another_tokenizer_is_tokenized_again(
    contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore
) -> None:
    right = builder(contract, tokenizer, store).build(RankRequest("u", ("1",))).tensors["caption"]
    store.rows["1"] = ItemRow("1", StoredCaption("a red car", np.array([9], np.int32), "b" * 64, "c", "p"), {})
    found = builder(contract, tokenizer, store).build(RankRequest("u", ("1",)))
    assert found.tensors["caption"].tolist() == right.tolist()
    assert found.degraded == ()


@pytest.mark.parametrize("value", ["many", True, float("nan"), -2.0, [1]])
def test_a_stored_value_that_does_not_fit_is_left_out_and_said(
    contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore, value: Any
) -> None:
    store.rows["4"] = ItemRow("4", None, {"popularity": value})
    store.rows["5"] = ItemRow("5", None, {})
    features = builder(contract, tokenizer, store).build(RankRequest("u", ("4", "5")))
    assert features.degraded == (STORED_VALUE,)
    assert features.tensors["dense"][0].tolist() == features.tensors["dense"][1].tolist()


def test_stored_tokens_that_no_tokenizer_gives_are_left_out_and_said(
    contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore
) -> None:
    caption = StoredCaption("x", np.array([-5], np.int32), tokenizer.sha256, "c", "p")
    store.rows["4"] = ItemRow("4", caption, {})
    features = builder(contract, tokenizer, store).build(RankRequest("u", ("1", "4")))
    assert features.degraded == (STORED_VALUE,)
    assert features.tensors["caption"][1].tolist()[:2] == [1, 0]


def test_a_stored_user_value_that_does_not_fit_is_left_out_and_said(
    contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore
) -> None:
    store.users["bad"] = UserRow("bad", {"age": "old"})
    features = builder(contract, tokenizer, store).build(RankRequest("bad", ("1",)))
    assert (features.degraded, features.user_known) == ((STORED_VALUE,), True)


def test_a_value_of_the_request_that_the_contract_refuses_is_the_clients_fault(
    contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore
) -> None:
    request = RankRequest("u", ("1", "2"), features={1: {"popularity": -3}})
    with pytest.raises(InvalidRequestError, match=r"candidates\[1\]\.features\.popularity: is -3"):
        builder(contract, tokenizer, store).build(request)


@pytest.mark.parametrize("value", [1e39, -1e39, 1e308, 2**1000, 5.6e13])
def test_an_absurd_number_of_a_request_is_refused_by_field_where_the_contract_has_no_bounds(
    contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore, value: float
) -> None:
    with pytest.raises(
        InvalidRequestError, match=r"^user\.age: is -?\d\S+; expected a number within 1e\+09 deviations"
    ):
        builder(contract, tokenizer, store).build(RankRequest("u", ("1",), user={"age": value}))


def test_an_absurd_number_is_clipped_where_the_contract_has_bounds(
    contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore
) -> None:
    age = next(f for f in contract.dense if f.name == "age").model_copy(update={"low": 7.0, "high": 73.0})
    bounded = contract.model_copy(update={"format": 2, "dense": (contract.dense[0], age)})
    made = builder(bounded, tokenizer, store)
    store.users["old"] = UserRow("old", {"age": 5.6e12})
    served = [made.build(RankRequest("u", ("1",), user={"age": v})) for v in (73, 1e39, 2**1000)]
    served.append(made.build(RankRequest("old", ("1",))))
    column = [f.name for f in contract.dense].index("age")
    assert {float(features.tensors["dense"][0, column]) for features in served} == {np.float32(40 / 11)}
    assert not any(features.degraded for features in served)


def test_a_stored_number_that_an_old_contract_cannot_scale_is_left_out_and_said(
    contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore
) -> None:
    store.users["old"] = UserRow("old", {"age": 1e39})
    assert builder(contract, tokenizer, store).build(RankRequest("old", ("1",))).degraded == (STORED_VALUE,)


def test_true_is_one_of_a_boolean_feature(contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore) -> None:
    flag = CategoricalFeature(name="member", source="user", encoding=IntegerRange(low=0, high=1))
    made = builder(contract.model_copy(update={"categorical": (*contract.categorical, flag)}), tokenizer, store)

    def bucket(value: bool | float | None) -> int:
        return int(made.build(RankRequest("u", ("1",), user={"member": value})).tensors["categorical"][0, -1])

    assert [bucket(value) for value in (True, 1, 1.0)] == [3, 3, 3]
    assert [bucket(value) for value in (False, 0, 0.0)] == [2, 2, 2]
    assert (bucket(7), bucket(None)) == (1, 0)


def test_candidate_features_win_over_the_stores(
    contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore
) -> None:
    made = builder(contract, tokenizer, store)
    plain = made.build(RankRequest("u", ("1", "2"))).tensors
    given = made.build(RankRequest("u", ("1", "2"), features={1: {"popularity": 3.0}})).tensors
    column = [f.name for f in contract.dense].index("popularity")
    assert given["dense"][1, column] == plain["dense"][0, column] != plain["dense"][1, column]
    same({"caption": given["caption"]}, {"caption": plain["caption"]})
    same(made.build(RankRequest("u", ("1", "2"))).tensors, plain)


def test_a_contract_without_caption_takes_the_same_requests(contract: Contract, store: FakeStore) -> None:
    missing: list[str] = []
    made = FeatureBuilder(contract.without_caption(), None, store, cache_rows=9, on_missing=missing.extend)
    features = made.build(RankRequest("u", ("1", "3"), captions={1: "a car"}))
    assert list(features.tensors) == ["dense", "categorical"]
    assert features.caption_stored.tolist() == [True, False]
    assert missing == []


def test_missing_and_found_captions_are_told(contract: Contract, tokenizer: CaptionTokenizer, store: FakeStore) -> None:
    missing: list[str] = []
    found: list[str] = []
    made = builder(contract, tokenizer, store, on_missing=missing.extend, on_captioned=found.extend)
    made.build(RankRequest("u", ("1", "3", "x", "y"), captions={3: "a car"}), tokenizer.encode(["a car"]))
    assert (missing, found) == (["3", "x"], ["1"])


def encoded(values: Sequence[int]) -> EncodedItems:
    column = np.array(values, np.int64).reshape(-1, 1)
    yes = np.ones(len(values), np.bool_)
    return EncodedItems(Side(column.astype(np.float32), column), column, yes, yes, ~yes)


def test_the_cache_is_bounded_and_keeps_what_was_used_last() -> None:
    cache = ItemCache(16)
    for start in range(0, 160, 8):
        names = [str(i) for i in range(start, start + 8)]
        cache.put(names, encoded(range(start, start + 8)), epoch=1)
        assert len(cache) <= 16
        slots = cache.find(names, 1)
        assert cache.gather(slots).caption.ravel().tolist() == list(range(start, start + 8))
    cache.find(["152"], 1)
    cache.put(["new"], encoded([5]), epoch=1)
    assert cache.find(["152", "new"], 1).min() >= 0


def test_more_rows_than_the_cache_holds_are_not_kept() -> None:
    cache = ItemCache(4)
    assert not cache.put(list("abcde"), encoded(range(5)), epoch=1)
    assert cache.find(list("abcde"), 1).tolist() == [-1] * 5


def test_rows_of_an_earlier_epoch_are_not_found_unless_any_will_do() -> None:
    cache = ItemCache(4)
    cache.put(["a"], encoded([1]), epoch=1)
    assert cache.find(["a"], 2).tolist() == [-1]
    assert cache.find(["a"], None).min() >= 0
    cache.put(["a"], encoded([2]), epoch=2)
    assert len(cache) == 1
    assert cache.gather(cache.find(["a"], 2)).caption.tolist() == [[2]]


class Opened(FakeStore):
    """What a connection opens."""

    closed = False

    def generation(self) -> int:
        return self.refresh()

    def close(self) -> None:
        self.closed = True


def test_a_lost_store_is_opened_again_after_a_pause_and_its_epoch_never_repeats() -> None:
    now, stores, reports = [0.0], [Opened([]), Opened([])], []

    def opened() -> Opened:
        if len(stores) == 1 and now[0] < 5:
            raise ItemStoreError("not there yet")
        return stores.pop(0)

    first = stores[0]
    connection = StoreConnection(opened, clock=lambda: now[0], report=reports.append, pause=1.0)
    epoch = connection.refresh()
    first.broken = True
    for _ in range(3):
        with pytest.raises(ItemStoreError, match="away"):
            connection.refresh()
    assert first.closed
    now[0] = 2.0
    with pytest.raises(ItemStoreError, match="not there yet"):
        connection.refresh()
    now[0] = 6.0
    assert connection.refresh() == epoch + 1, "the same generation of another store is another epoch"
    assert [report and str(report) for report in reports] == ["the store is away", "not there yet", None]


def test_a_store_that_is_opened_beside_the_requests_never_makes_them_wait() -> None:
    now, attempts, reports = [0.0], [], []
    lost, found = Opened([]), Opened([])
    stores = [lost, found]
    connection = StoreConnection(
        lambda: stores.pop(0), clock=lambda: now[0], report=reports.append, pause=1.0, reopen=attempts.append
    )
    connection.refresh()
    assert attempts == [], "the first request waits: it would be degraded otherwise"
    lost.broken = True
    for moment in (0.0, 0.5, 1.5, 3.0):
        now[0] = moment
        with pytest.raises(ItemStoreError, match="away"):
            connection.refresh()
    assert len(attempts) == 1, "one attempt at a time, after the pause"
    attempts[0]()
    assert connection.refresh()
    assert [report and str(report) for report in reports] == ["the store is away", None]
