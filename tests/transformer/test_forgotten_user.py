"""A user who was forgotten is an unknown one, to a transformer that is running and remembers the row."""

from pathlib import Path

import numpy as np

from models.contract import CaptionTokenizer, Contract
from models.items import ItemRow, UserRow
from serving.items.lmdb_store import LmdbStore
from serving.transformer.features import STORE_AWAY, FeatureBuilder
from serving.transformer.request import RankRequest
from serving.transformer.stores import StoreConnection
from tests.forgetting.user_command import user


def test_after_forget_a_users_tensors_are_those_of_a_user_without_a_row(
    contract: Contract, tokenizer: CaptionTokenizer, tmp_path: Path
) -> None:
    with LmdbStore.open(tmp_path / "store") as store:
        store.put_many([ItemRow("1", None, {"popularity": 3.0})])
        store.put_users([UserRow("ann", {"gender": "F", "age": 49}), UserRow("bob", {"gender": "M", "age": 20})])
    now = 0.0
    connection = StoreConnection(
        lambda: LmdbStore.open(tmp_path / "store", readonly=True), clock=lambda: now, report=lambda _: None
    )
    made = FeatureBuilder(contract, tokenizer, connection, cache_rows=100)
    ann, bob = RankRequest("ann", ("1",)), RankRequest("bob", ("1",))
    before = made.build(ann)
    assert (before.user_known, made.build(bob).user_known) == (True, True)
    user("forget", "ann", "--store", str(tmp_path / "store"))
    away = made.build(ann)
    assert (away.user_known, away.degraded) == (False, (STORE_AWAY,)), "not even while the new file is opened"
    now = 2.0
    after = made.build(ann)
    with LmdbStore.open(tmp_path / "other") as store:
        store.put_many([ItemRow("1", None, {"popularity": 3.0})])
        unknown = FeatureBuilder(
            contract,
            tokenizer,
            StoreConnection(lambda: store, clock=lambda: now, report=lambda _: None),
            cache_rows=100,
        ).build(ann)
    assert (after.user_known, after.degraded) == (False, ())
    assert list(after.tensors) == list(unknown.tensors)
    for name, tensor in unknown.tensors.items():
        np.testing.assert_array_equal(after.tensors[name], tensor)
    assert any((before.tensors[name] != after.tensors[name]).any() for name in after.tensors)
    assert made.build(bob).user_known
    connection.close()
