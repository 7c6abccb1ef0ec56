"""A user's row is out of an item store: out of its files, and out of what a transformer remembers."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import redis
from redis_server import needs_redis, running_redis

from models.items import ItemRow, ItemStoreError, Origin, StoredCaption, UserRow
from serving.items.lmdb_store import LmdbStore
from serving.items.redis_store import RedisStore
from serving.transformer.stores import StoreConnection
from tests.forgetting.user_command import content, run, user


def filled(folder: Path, users: int = 2000) -> list[str]:
    """A store whose rows were written in no order and again, so that LMDB's pages split, move and are free."""
    chance = random.Random(3)
    names = [f"somebody-{n:05d}@example.org" for n in range(users)]
    caption = StoredCaption("a red car", np.arange(50, dtype=np.int32), "t", "c", "p")
    with LmdbStore.open(folder) as store:
        store.set_origin(Origin("somewhere", "sha256:1"))
        for _ in range(3):
            chance.shuffle(names)
            for at in range(0, users, 100):
                store.put_users([UserRow(name, {"city": f"of {name}"}) for name in names[at : at + 100]])
                store.put_many([ItemRow(f"item {n}", caption, {"price": n}) for n in range(at, at + 100)])
    return sorted(names)


def test_after_forget_no_byte_of_the_users_is_in_the_folder_and_the_others_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    names = filled(folder)
    gone, kept = names[::100], [name for name in names if names.index(name) % 100]
    assert all(name.encode() in content(folder) for name in gone)
    found = user("find", *gone, "--store", str(folder), code=3)
    assert found["places"][0]["there"] == {"rows of users": 20}
    answer = user("forget", *gone, "--store", str(folder))
    assert answer["places"][0]["removed"] == {"rows of users": 20}
    left = content(folder)
    assert [name for name in gone if name.encode() in left] == []
    assert {each.name for each in folder.iterdir()} <= {"data.mdb", "lock.mdb"}
    assert user("find", *gone, "--store", str(folder))["gone"] is True
    with LmdbStore.open(folder) as store:
        assert list(store.user_ids()) == kept
        assert store.get_user(kept[0]) == UserRow(kept[0], {"city": f"of {kept[0]}"})
        assert (store.count(), len(list(store.items()))) == (2000, 2000)
        assert store.origin() == Origin("somewhere", "sha256:1")
        store.put_users([UserRow("new", {})])
        assert store.get_user("new") is not None


def test_a_row_that_was_removed_before_leaves_its_bytes_with_forget(tmp_path: Path) -> None:
    names = filled(tmp_path / "store", 300)
    with LmdbStore.open(tmp_path / "store") as store:
        store.remove_users(names[:1])
    assert names[0].encode() in content(tmp_path), "LMDB keeps what was removed"
    assert user("forget", names[0], "--store", str(tmp_path / "store"))["places"][0]["removed"] == {"rows of users": 0}
    assert names[0].encode() not in content(tmp_path)


def test_a_transformer_that_has_the_store_open_serves_the_row_no_more(tmp_path: Path) -> None:
    names = filled(tmp_path / "store", 300)
    now = 0.0
    folder = tmp_path / "store"
    connection = StoreConnection(
        lambda: LmdbStore.open(folder, readonly=True), clock=lambda: now, report=lambda _: None
    )
    before = connection.refresh()
    assert connection.get_user(names[0]) is not None
    user("forget", names[0], "--store", str(folder))
    with pytest.raises(ItemStoreError, match="another file took its place"):
        connection.get_user(names[0])
    now = 2.0
    assert connection.refresh() > before, "rows remembered of the epoch before are not served"
    assert connection.get_user(names[0]) is None
    assert connection.get_user(names[1]) is not None
    connection.close()


WRITER = """
import sys
from models.items import ItemStoreError, UserRow
from serving.items.lmdb_store import LmdbStore
with LmdbStore.open(sys.argv[1]) as store:
    print("open", flush=True)
    sys.stdin.readline()
    try:
        store.put_users([UserRow("written later", {})])
    except ItemStoreError as error:
        print(error)
"""


def test_a_writer_that_had_the_old_file_open_is_told_and_writes_into_no_lost_file(tmp_path: Path) -> None:
    names = filled(tmp_path / "store", 300)
    command = [sys.executable, "-c", WRITER, str(tmp_path / "store")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        user("forget", names[0], "--store", str(tmp_path / "store"))
        said, _ = writer.communicate("go\n", timeout=60)
    assert "another file took its place; open the store again" in said


def test_a_store_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    for what in ("find", "forget"):
        answer = user(what, "ann", "--store", str(tmp_path / "none"), code=1)
        assert "there is no data.mdb" in answer["places"][0]["fault"]
        assert answer["gone"] is False
    assert list(tmp_path.iterdir()) == []
    refused = run("forget", "ann", root=tmp_path / "root")
    assert (refused.returncode, "name the places: --store" in refused.stderr) == (1, True)


def test_the_stores_of_the_state_folder_are_found(tmp_path: Path) -> None:
    for home in ("store", "own/store"):
        with LmdbStore.open(tmp_path / home) as store:
            store.put_users([UserRow("ann", {"age": 30}), UserRow("bob", {})])
    answer = user("forget", "ann", root=tmp_path)
    assert [each["removed"] for each in answer["places"]] == [{"rows of users": 1}] * 2
    assert answer["not_looked_in"] == ["collector (--collector)", "exposures in files or a stream (--exposures)"]
    assert user("find", "ann", root=tmp_path)["gone"] is True
    assert user("find", "bob", root=tmp_path, code=3)["gone"] is False


@needs_redis
def test_after_forget_no_byte_of_the_user_is_in_redis_or_in_its_log(tmp_path: Path) -> None:
    with running_redis(tmp_path, "--appendonly", "yes", "--save", "") as server:
        with RedisStore.open(server.uri, {}) as store:
            store.put_users([UserRow("ann@example.org", {"city": "of ann@example.org"}), UserRow("bob", {})])
            generation = store.generation()
        assert b"ann@example.org" in content(tmp_path)
        assert user("find", "ann@example.org", "--store", server.uri, code=3)["gone"] is False
        answer = user("forget", "ann@example.org", "--store", server.uri)
        assert answer["places"][0]["note"] == ""
        assert b"ann@example.org" not in content(tmp_path)
        with RedisStore.open(server.uri, {}) as store:
            assert (store.get_user("ann@example.org"), store.get_user("bob")) == (None, UserRow("bob", {}))
            assert store.generation() != generation
        client = redis.Redis.from_url(server.uri)
        client.config_set("appendonly", "no")
        client.acl_setuser("limited", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-config"])
        told = user(
            *("forget", "bob", "--store", server.uri),
            SIGHTLINE_STORE_USERNAME="limited",
            SIGHTLINE_STORE_PASSWORD="pw",
        )
        assert "redis-cli SAVE" in told["places"][0]["note"]
        client.close()
    away = user("forget", "ann", "--store", server.uri, code=1)
    assert "is Redis running" in away["places"][0]["fault"]
