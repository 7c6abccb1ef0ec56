"""A store is used by a ranker whose data set it holds, and by no other."""

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis_server import needs_redis, running_redis

from models.bundle import Manifest
from models.contract import CaptionTokenizer, Contract
from models.experiments.assignment import Arm
from models.items import ItemRow, ItemStoreError, ItemStoreOriginError, Origin, StoredCaption, UserRow
from serving.items.lmdb_store import LmdbStore
from serving.items.uri import open_store
from serving.items.user_keys import IN_CLEAR, UserKeys
from serving.transformer.arm_build import arm_build
from serving.transformer.candidate import ArmBuildError
from serving.transformer.features import OTHER_DATA, FeatureBuilder
from serving.transformer.metrics import Metrics
from serving.transformer.missing import MissingCaptions
from serving.transformer.own_rows import OwnRows
from serving.transformer.request import RankRequest
from serving.transformer.settings import read_settings
from serving.transformer.stores import StoreConnection

MINE, OTHER, GROWN = (f"sha256:{letter * 64}" for letter in "abc")


class Store:
    """A store whose data set changes under the ranker."""

    def __init__(self, origin: Origin | None) -> None:
        self.found, self.epoch, self.away, self.asked = origin, 1, False, 0
        self.rows: dict[str, ItemRow] = {}

    def refresh(self) -> int:
        if self.away:
            raise ItemStoreError("the store is away")
        return self.epoch

    def origin(self) -> Origin | None:
        self.asked += 1
        return self.found

    def becomes(self, origin: Origin | None) -> None:
        self.found, self.epoch = origin, self.epoch + 1

    def get_many(self, item_ids: Sequence[str]) -> list[ItemRow | None]:
        return [self.rows.get(item_id) for item_id in item_ids]

    def get_user(self, user_id: str) -> UserRow | None:
        return None


def rows_over(store: Store, any_data: bool = False, user_keys: UserKeys = IN_CLEAR) -> OwnRows:
    manifest = Manifest(
        name="ranker",
        created="2026-11-22T20:00:00+00:00",
        git_revision="unknown",
        data_digest=MINE,
        contract_digest=OTHER,
        contract_version=1,
        files={},
    )
    return OwnRows(store, "ranker", manifest, any_data, user_keys)


def test_a_store_of_another_data_set_is_refused_by_both_names() -> None:
    says = rf"bundle ranker was trained on the data {MINE[:19]}, .* holds s3://films \({OTHER[:19]}\): its ids may mean"
    with pytest.raises(ItemStoreOriginError, match=says):
        rows_over(Store(Origin("s3://films", OTHER))).require()
    rows_over(Store(Origin("s3://films", OTHER)), any_data=True).require()


def test_the_same_data_set_is_used_also_after_it_grew_and_is_asked_once_an_epoch() -> None:
    store = Store(Origin("s3://shop", MINE))
    rows = rows_over(store)
    assert [rows.refresh() for _ in range(5)] == [1] * 5
    assert store.asked == 1
    store.becomes(Origin("s3://shop", GROWN, (MINE,)))
    assert [rows.refresh() for _ in range(5)] == [2] * 5
    assert store.asked == 2


@pytest.mark.parametrize("any_data", [False, True])
def test_users_whose_ids_are_hidden_in_another_way_are_refused_not_unknown(any_data: bool) -> None:
    mine = UserKeys(b"a key of this site alone")
    hidden = Origin("s3://shop", MINE, users=mine.fingerprint)
    rows_over(Store(hidden), any_data, mine).require()
    for origin, keys in ((hidden, IN_CLEAR), (Origin("s3://shop", MINE), mine), (hidden, UserKeys(b"x" * 16))):
        with pytest.raises(ItemStoreOriginError, match="the item store has users' ids"):
            rows_over(Store(origin), any_data, keys).require()


def test_a_store_that_is_away_is_compared_when_it_comes() -> None:
    store = Store(Origin("s3://films", OTHER))
    store.away = True
    rows = rows_over(store)
    rows.require()
    store.away = False
    with pytest.raises(ItemStoreOriginError):
        rows.refresh()


def test_a_store_without_an_origin_is_used_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(None)
    rows = rows_over(store)
    with caplog.at_level(logging.WARNING):
        rows.require()
        store.becomes(None)
        rows.require()
    assert [record.getMessage() for record in caplog.records] == [
        "the item store does not say of which data set it is (an earlier version filled it), so it is not compared "
        "with bundle ranker; caption the catalogue again"
    ]


def test_rows_of_a_data_set_that_came_later_are_never_ranked_by(
    tokenizer: CaptionTokenizer, contract: Contract, caplog: pytest.LogCaptureFixture
) -> None:
    (tokens,) = tokenizer.encode(["a red car"])
    store = Store(Origin("s3://shop", MINE))
    films = ItemRow("1", StoredCaption("a red car", tokens, tokenizer.sha256, "tiny@1", "p"), {"popularity": 4.0})
    builder = FeatureBuilder(contract, tokenizer, rows_over(store), cache_rows=10)
    store.becomes(Origin("s3://films", OTHER))
    store.rows["1"] = films
    with caplog.at_level(logging.ERROR):
        first, second = (builder.build(RankRequest("u", ("1",), {}, {}, {}, {})) for _ in range(2))
    assert first.degraded == second.degraded == (OTHER_DATA,)
    assert (first.caption_stored.tolist(), first.item_known.tolist()) == ([False], [False])
    assert len(caplog.records) == 1, "told once"
    store.becomes(Origin("s3://shop", MINE))
    back = builder.build(RankRequest("u", ("1",), {}, {}, {}, {}))
    assert (back.degraded, back.caption_stored.tolist()) == ((), [True])


@pytest.mark.parametrize("kind", ["folder", pytest.param("redis", marks=needs_redis)])
def test_the_process_does_not_start_on_a_store_of_another_data_set(
    kind: str, tmp_path: Path, stack: Any, ids_only: Any
) -> None:
    says = r"cannot start: bundle ranker .* was trained on the data sha256:0, and the item store holds s3://films"
    with contextlib.ExitStack() as held:
        place: Path | str = tmp_path / "store"
        if kind == "redis":
            place = held.enter_context(running_redis(tmp_path / "redis")).uri
        with open_store(place, {}) as store:
            store.put_many([ItemRow("1", None, {})])
            store.set_origin(Origin("s3://films", OTHER))
        with (
            pytest.raises(AssertionError, match=says),
            stack.running_transformer(tmp_path, ids_only.path, place, 1),  # nobody listens on that port
        ):
            pass


async def test_an_arm_of_another_data_set_is_not_ready_and_says_why(
    tmp_path: Path, ids_only: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.transformer.arm_build.read_arm_bundle", lambda arm, folder: ids_only)
    settings = read_settings(["--bundle", "b", "--store", "s", "--predictor_host", "127.0.0.1:1"], {})
    store = StoreConnection(
        lambda: LmdbStore.open(tmp_path / "store", readonly=True), clock=lambda: 0.0, report=lambda _: None
    )
    with LmdbStore.open(tmp_path / "store") as filled:
        filled.set_origin(Origin("s3://films", OTHER))
    with contextlib.closing(store):
        build = arm_build(settings, "ranker", store, MissingCaptions(1, lambda _: None), Metrics(CollectorRegistry()))
        arm = Arm(
            name="candidate",
            bundle="s3://models/ranker/2",
            bundle_id=ids_only.id,
            contract_digest=ids_only.contract.digest,
            predictor_host="127.0.0.1:1",
            model="ranker",
        )
        with pytest.raises(ArmBuildError, match=r"bundle s3://models/ranker/2: .* the item store holds s3://films"):
            await build(arm, lambda *_: None)
