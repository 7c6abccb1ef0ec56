"""What the Redis adapter does with a server that is away, slow, full, locked, foreign or newer."""

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from redis_server import PROGRAM, RedisServer, free_port, needs_redis, running_redis

from models.items import ItemRow, ItemRowError, ItemStoreError, StoredCaption, UserRow
from serving.items.lmdb_store import LmdbStore
from serving.items.redis_link import RedisAddress
from serving.items.redis_store import RedisStore
from serving.items.uri import open_store

pytestmark = needs_redis


def rows(count: int, text: str = "a red car") -> list[ItemRow]:
    caption = StoredCaption(text, np.arange(20, dtype=np.int32), "a" * 64, "tiny@1", "p")
    return [ItemRow(f"item-{i}", caption, {"popularity": 1.0}) for i in range(count)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be harmed."""
    with running_redis(tmp_path / "redis") as running:
        yield running


def test_a_reader_of_an_empty_server_is_told_what_to_do_and_leaves_nothing(server: RedisServer) -> None:
    with pytest.raises(ItemStoreError, match=r"there is no item store; caption the catalogue first"):
        RedisStore.open(server.uri, {}, readonly=True)
    assert server.client().dbsize() == 0


def test_a_reader_reads_and_refuses_to_write(server: RedisServer) -> None:
    with RedisStore.open(server.uri, {}) as store:
        store.put_many(rows(3))
    with RedisStore.open(server.uri, {}, readonly=True) as store:
        assert store.count() == 3
        with pytest.raises(ItemStoreError, match="opened for reading"):
            store.put_many(rows(1))


def test_stores_with_prefixes_share_a_database_and_not_their_rows(server: RedisServer) -> None:
    with RedisStore.open(f"{server.uri}?prefix=a:", {}) as one, RedisStore.open(f"{server.uri}?prefix=b:", {}) as two:
        one.put_many(rows(2))
        assert (one.count(), two.count()) == (2, 0)
        assert all(key.startswith((b"a:", b"b:")) for key in server.client().scan_iter())


def test_nobody_there_is_said_with_the_address() -> None:
    with pytest.raises(ItemStoreError, match=r"redis://127\.0\.0\.1:\d+/0: .*refused.*; is Redis running"):
        RedisStore.open(f"redis://127.0.0.1:{free_port()}/0", {})


def test_a_store_works_again_when_its_server_is_back(server: RedisServer) -> None:
    with RedisStore.open(server.uri, {}) as store:
        store.put_many(rows(5))
        before = store.generation()
        server.kill()
        with pytest.raises(ItemStoreError, match="is Redis running"):
            store.get_many(["item-1"])
        server.start()
        with pytest.raises(ItemStoreError, match="is empty after a restart"):
            store.generation()
        assert store.get_many(["item-1"]) == [None]
        with RedisStore.open(server.uri, {}) as again:
            again.put_many(rows(5))
        assert store.get_many(["item-1"]) == rows(5)[1:2]
        assert store.generation() != before, "a store made anew must not look like the one before"


def test_a_restart_between_two_questions_is_not_noticed(tmp_path: Path) -> None:
    with (
        running_redis(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always") as server,
        RedisStore.open(server.uri, {}) as store,
    ):
        store.put_many(rows(5))
        generation = store.generation()
        server.kill()
        server.start()
        assert store.get_many(["item-1"]) == rows(5)[1:2]
        assert store.generation() == generation


def test_a_hanging_server_costs_no_more_than_the_timeout(server: RedisServer) -> None:
    RedisStore.open(server.uri, {}).close()
    with RedisStore.open(server.uri, {}, readonly=True, timeout=0.15) as store:
        assert store.generation()
        with server.hanging():
            for _ in range(2):  # the second one has to connect first
                start = time.monotonic()
                with pytest.raises(ItemStoreError, match=r"no answer within 0\.15 s"):
                    store.generation()
                assert time.monotonic() - start < 1.0
        assert store.generation()


def test_a_wrong_a_missing_and_the_right_password(tmp_path: Path) -> None:
    right = {"SIGHTLINE_STORE_PASSWORD": "open sesame"}
    with running_redis(tmp_path / "redis", "--requirepass", "open sesame", environ=right) as server:
        for environ in ({}, {"SIGHTLINE_STORE_PASSWORD": "wrong"}):
            with pytest.raises(ItemStoreError, match="set SIGHTLINE_STORE_PASSWORD") as raised:
                RedisStore.open(server.uri, environ)
            assert "open sesame" not in str(raised.value)
        with RedisStore.open(server.uri, right) as store:
            assert store.put_many(rows(1)) == 1


def test_a_user_who_may_only_read_is_told_so_when_writing(server: RedisServer) -> None:
    RedisStore.open(server.uri, {}).close()
    server.client().acl_setuser(
        "reader", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@read", "+@connection"]
    )
    environ = {"SIGHTLINE_STORE_USERNAME": "reader", "SIGHTLINE_STORE_PASSWORD": "pw"}
    with RedisStore.open(server.uri, environ, readonly=True) as store:
        assert store.count() == 0
    with RedisStore.open(server.uri, environ) as store, pytest.raises(ItemStoreError, match=r"ACL SETUSER"):
        store.put_many(rows(1))


@pytest.mark.parametrize(("kind", "value"), [("string", b"somebody else's"), ("hash", {"a": "b"})])
def test_keys_of_another_program_are_refused_and_left_alone(server: RedisServer, kind: str, value: object) -> None:
    client = server.client()
    if kind == "string":
        client.set("sightline:format", value)
    else:
        client.hset("sightline:format", mapping=value)
    for readonly in (True, False):
        with pytest.raises(ItemStoreError, match="give the store a database number or a prefix of its own"):
            RedisStore.open(server.uri, {}, readonly=readonly)
    assert client.keys() == [b"sightline:format"]


def test_a_newer_format_is_refused(server: RedisServer) -> None:
    server.client().set("sightline:format", "sightline-items 2")
    with pytest.raises(ItemStoreError, match="format version 2, this program reads version 1; upgrade Sightline"):
        RedisStore.open(server.uri, {})


def test_a_damaged_row_and_a_newer_row_are_named(server: RedisServer) -> None:
    with RedisStore.open(server.uri, {}) as store:
        store.put_many(rows(2))
        client = server.client()
        raw = client.get("sightline:item:item-0")
        client.set("sightline:item:item-0", raw[:-3])
        client.set("sightline:item:item-1", b"\x03" + raw[1:])
        with pytest.raises(ItemStoreError, match=r"'item-0': .* checksum"):
            store.get_many(["item-0"])
        with pytest.raises(ItemStoreError, match=r"'item-1': .* format 3"):
            store.get_many(["item-1"])


def test_a_full_server_takes_all_rows_or_none(tmp_path: Path) -> None:
    with (
        running_redis(tmp_path / "redis", "--maxmemory", "6mb", "--maxmemory-policy", "noeviction") as server,
        RedisStore.open(server.uri, {}) as store,
    ):
        store.put_many(rows(3))
        generation = store.generation()
        with pytest.raises(ItemStoreError, match="nothing was written; give Redis more memory"):
            store.put_many(rows(4000, "x" * 4000))
        assert (store.count(), store.generation()) == (3, generation)
        assert store.get_many(["item-0", "item-5"]) == [rows(1)[0], None]


def test_a_server_that_would_drop_rows_is_refused_for_writing(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as server:
        with pytest.raises(ItemStoreError, match=r"maxmemory-policy is allkeys-lru.*set it to noeviction"):
            RedisStore.open(server.uri, {})
        server.client().config_set("maxmemory-policy", "noeviction")
        RedisStore.open(server.uri, {}).close()


def test_a_replica_is_read_and_not_written(server: RedisServer, tmp_path: Path) -> None:
    with RedisStore.open(server.uri, {}) as store:
        store.put_many(rows(3))
    options = ("--replicaof", f"127.0.0.1 {server.port}", "--repl-diskless-sync-delay", "0")
    with running_redis(tmp_path / "replica", *options) as replica:
        deadline = time.monotonic() + 20
        while replica.client().dbsize() == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with RedisStore.open(replica.uri, {}, readonly=True) as store:
            assert store.get_many(["item-1"]) == rows(3)[1:2]
        with RedisStore.open(replica.uri, {}) as store, pytest.raises(ItemStoreError, match="at the primary"):
            store.put_many(rows(1))


WRITER = """
import os, sys
from models.items import ItemRow
from serving.items.redis_store import RedisStore
def rows():
    for i in range(5000):
        if i == 4000:
            print("nearly done", flush=True)
            sys.stdin.read()
        yield ItemRow(f"new-{i}", None, {})
RedisStore.open(sys.argv[1], {}).put_many(rows())
"""


def test_a_writer_that_is_killed_has_written_nothing(server: RedisServer) -> None:
    with RedisStore.open(server.uri, {}) as store:
        store.put_many(rows(3))
        generation = store.generation()
        command = [sys.executable, "-c", WRITER, server.uri]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ}) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"nearly done\n"
            writer.kill()
        assert (store.count(), store.generation()) == (3, generation)


def test_a_bad_row_far_into_a_long_write_leaves_nothing_and_the_store_usable(server: RedisServer) -> None:
    with RedisStore.open(server.uri, {}) as store:
        with pytest.raises(ItemRowError, match="item id '' has 0 bytes"):
            store.put_many([*rows(3000), ItemRow("", None, {})])
        assert store.count() == 0
        assert store.put_many(rows(3000)) == 3000


def test_a_long_write_does_not_hold_its_rows_in_this_process(server: RedisServer) -> None:
    def many() -> Iterator[ItemRow]:
        for i in range(20_000):
            yield ItemRow(f"{i}", None, {"text": f"{i}" * 200})

    with RedisStore.open(server.uri, {}) as store:
        tracemalloc.start()
        try:
            assert store.put_many(many()) == 20_000  # about 20 MB of rows
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()
        assert store.count() == 20_000


def test_wanted_items_are_kept_once_bounded_and_leave_when_captioned(server: RedisServer) -> None:
    with RedisStore.open(server.uri, {}) as writer, RedisStore.open(server.uri, {}, readonly=True) as reader:
        reader.want([], limit=3)
        reader.want(["b", "item-0"], limit=3)
        reader.want(["c", "item-0", "d", "e"], limit=3)
        assert set(writer.wanted()[:2]) == {"b", "item-0"}, "who waits longest stays"
        assert len(writer.wanted()) == 3
        writer.put_many([*rows(1), ItemRow("b", None, {})])
        assert "item-0" not in writer.wanted()
        assert "b" in writer.wanted(), "a row without caption changes nothing"
        reader.unwant(["b", "never"])
        assert len(writer.wanted()) == 1


def test_users_of_a_long_write_all_arrive(server: RedisServer) -> None:
    with RedisStore.open(server.uri, {}) as store:
        assert store.put_users(UserRow(f"{i}", {"age": i}) for i in range(1201)) == 1201
        assert store.get_user("1200") == UserRow("1200", {"age": 1200})
        assert store.count() == 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    try:
        subprocess.run(
            [*command, "-keyout", "key.pem", "-out", "cert.pem"],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=60,
        )
    except FileNotFoundError:
        pytest.skip("needs openssl: apt-get install openssl")
    return folder


def test_tls_is_verified(tmp_path: Path, certificates: Path) -> None:
    port = free_port()
    files = ("--tls-cert-file", f"{certificates}/cert.pem", "--tls-key-file", f"{certificates}/key.pem")
    options = ("--tls-port", str(port), *files, "--tls-auth-clients", "no")
    with running_redis(tmp_path / "redis", *options) as server:
        uri = f"rediss://127.0.0.1:{port}/0"
        with RedisStore.open(uri, {"SIGHTLINE_STORE_CA_FILE": f"{certificates}/cert.pem"}) as store:
            assert store.put_many(rows(1)) == 1
        with pytest.raises(ItemStoreError, match="set SIGHTLINE_STORE_CA_FILE"):
            RedisStore.open(uri, {})
        with pytest.raises(ItemStoreError, match="which is no file"):
            RedisStore.open(uri, {"SIGHTLINE_STORE_CA_FILE": "/nowhere.pem"})
        with pytest.raises(ItemStoreError, match="speak TLS on this port"):
            RedisStore.open(f"rediss://127.0.0.1:{server.port}/0", {}, timeout=2.0)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("redis://cache", "redis://cache:6379/0"),
        ("redis://cache:7000/3", "redis://cache:7000/3"),
        ("rediss://cache.example:6380/?prefix=shop:", "rediss://cache.example:6380/0?prefix=shop:"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
    ],
)
def test_addresses(uri: str, shown: str) -> None:
    assert str(RedisAddress.parse(uri)) == shown


@pytest.mark.parametrize(
    "uri",
    [
        "redis://",
        "redis://host:port/0",
        "redis://host/first",
        "redis://host/-1",
        "redis://host?db=1",
        "redis://host/0#x",
    ],
)
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(ItemStoreError, match="expected redis://host:port/number"):
        RedisAddress.parse(uri)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ItemStoreError, match="set SIGHTLINE_STORE_PASSWORD") as raised:
        RedisAddress.parse("redis://:hunter2@cache:6379/0")
    assert "hunter2" not in str(raised.value)


def test_a_place_says_which_store_it_is(server: RedisServer, tmp_path: Path) -> None:
    assert PROGRAM
    with open_store(server.uri, {}) as remote, open_store(str(tmp_path / "store"), {}) as local:
        assert isinstance(remote, RedisStore)
        assert isinstance(local, LmdbStore)
    with pytest.raises(ItemStoreError, match="expected a folder, redis://"):
        open_store("memcached://host/0", {})
