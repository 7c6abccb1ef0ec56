"""Users' ids hidden by a key of the site: in every store, by every program, and never mixed in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from models.items import ItemStoreError, ItemStoreOriginError, Origin, UserRow
from serving.forgetting.item_store import ItemStorePlace
from serving.forgetting.place import PlaceError
from serving.items.uri import open_store
from serving.items.user_keys import VARIABLE, UserKeys, read_user_keys

KEY, OTHER = {VARIABLE: "a key of this site alone"}, {VARIABLE: "another key altogether"}
NAMES = [f"somebody-{n}@example.org" for n in range(50)]
Opened = Callable[[Mapping[str, str]], Any]


@pytest.fixture(params=["lmdb", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "lmdb":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('redis_server').uri}?prefix={tmp_path.name}:"


@pytest.fixture
def filled(place: str) -> str:
    with open_store(place, KEY) as store:
        store.set_origin(Origin("shop", "sha256:1", users=store.user_keys.fingerprint))
        store.put_users([UserRow(name, {"city": f"of {name}"}) for name in NAMES])
    return place


def test_a_user_is_found_by_the_id_and_stored_without_it(filled: str) -> None:
    with open_store(filled, KEY, readonly=True) as store:
        assert store.get_user(NAMES[3]) == UserRow(NAMES[3], {"city": f"of {NAMES[3]}"})
        assert store.has_user(NAMES[3])
        stored = list(store.user_ids())
        assert len(stored) == len(NAMES)
        assert not [each for each in stored if "@" in each or len(each) != 32]
        assert UserKeys(KEY[VARIABLE].encode()).hidden(NAMES[0]) in stored


def test_the_same_id_has_another_key_at_another_site() -> None:
    hidden = {read_user_keys(each).hidden("ann") for each in (KEY, OTHER, {})}
    assert len(hidden) == 3
    assert "ann" in hidden
    prints = {read_user_keys(each).fingerprint for each in (KEY, OTHER, {})}
    assert len(prints) == 3
    assert "" in prints


def test_forget_and_find_work_by_the_id_and_refuse_the_wrong_key(filled: str) -> None:
    mine = ItemStorePlace(filled, KEY)
    assert mine.find(NAMES[:2]).counts == {"rows of users": 2}
    for environ in ({}, OTHER):
        for work in (ItemStorePlace(filled, environ).find, ItemStorePlace(filled, environ).forget):
            with pytest.raises(PlaceError, match=r"users' ids hashed by the key with the fingerprint [0-9a-f]{16}"):
                work(NAMES[:2])
    mine.forget(NAMES[:2])
    assert mine.find(NAMES[:3]).counts == {"rows of users": 1}


@pytest.mark.parametrize("environ", [{}, OTHER])
def test_rows_that_nobody_would_find_are_refused(filled: str, environ: Mapping[str, str]) -> None:
    with open_store(filled, environ, readonly=True) as store:
        assert store.get_user(NAMES[0]) is None
        with pytest.raises(ItemStoreOriginError, match=f"give it the key .* as {VARIABLE}"):
            store.user_keys.require(store.origin(), "the item store")
    with open_store(filled, KEY, readonly=True) as store:
        store.user_keys.require(store.origin(), "the item store")


def test_ids_in_clear_are_refused_where_a_key_is_set(place: str) -> None:
    with open_store(place, {}) as store:
        store.set_origin(Origin("shop", "sha256:1"))
        store.put_users([UserRow("ann", {})])
    with (
        open_store(place, KEY, readonly=True) as store,
        pytest.raises(ItemStoreOriginError, match="has users' ids in clear, and this process has the key"),
    ):
        store.user_keys.require(store.origin(), "the item store")


def test_a_short_key_is_refused_and_not_shown(place: str) -> None:
    with pytest.raises(ItemStoreError, match=f"{VARIABLE}: has 6 bytes; expected at least 16") as refused:
        open_store(place, {VARIABLE: "secret"})
    assert "secret" not in str(refused.value)
