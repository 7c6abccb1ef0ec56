"""The bundled store's users, held by a real redis-server that starts as rendered: what each may do, and nobody else."""

import base64
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rendered_pods import Machine, container, short_folder, started

from charts.tooling.render import RenderError, parse, render
from models.items import ItemRow, ItemStoreError, Origin, StoredCaption, UserRow
from serving.forgetting.item_store import ItemStorePlace
from serving.forgetting.place import Found
from serving.items.redis_link import DEFAULT_PREFIX, RedisAddress
from serving.items.redis_store import RedisStore
from serving.rollout.experiment.ports import RetryError
from serving.rollout.kubernetes.redis_key import KEY, RedisPlace
from serving.transformer.assignment_sources import RedisSource
from serving.transformer.exposures.sink import Line, SinkError
from serving.transformer.exposures.stream_sink import StreamSink

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="no redis-server: apt-get install redis-server"
)

STREAM = "exposures"
ONCE = Retry(NoBackoff(), 0)
EVERYTHING = (
    "experiments.enabled=true",
    "experiments.crd.create=false",
    "experiments.assignments.via=redis",
    f"experiments.exposures.url=redis://sightline-items:6379/0?stream={STREAM}",
    "experiments.collector.enabled=false",
)
USERS = {
    "reader": "reader-password",
    "writer": "password",
    "controller": "controller-password",
    "exposures": "exposures-password",
}
ROWS = [ItemRow("i1", None, {}), ItemRow("i2", StoredCaption("a car", np.array([3], np.int32), "a" * 64, "m", "p"), {})]


@dataclasses.dataclass(frozen=True)
class Server:
    """The store's port, and the passwords of its users."""

    port: int
    passwords: dict[str, str]

    @property
    def uri(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def environ(self, user: str) -> dict[str, str]:
        return {"SIGHTLINE_STORE_USERNAME": user, "SIGHTLINE_STORE_PASSWORD": self.passwords[user]}

    def client(self, user: str | None) -> "redis.Redis":
        given: dict[str, Any] = {"username": user, "password": self.passwords[user]} if user else {}
        return redis.Redis(port=self.port, protocol=2, decode_responses=True, retry=ONCE, **given)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with short_folder() as folder:
        machine = Machine(parse(render(settings=EVERYTHING)), Path("/nowhere"), folder)
        (secret,) = [o for o in machine.objects if o["kind"] == "Secret" and o["metadata"]["name"] == "sightline-items"]
        assert secret["data"].keys() == set(USERS.values())
        passwords = {user: base64.b64decode(secret["data"][key]).decode() for user, key in USERS.items()}
        assert len(set(passwords.values())) == len(passwords)
        with started(container(machine, machine.pod("items"))):
            yield Server(machine.port("items", 6379), passwords)


@pytest.fixture
def filled(server: Server) -> Server:
    with RedisStore.open(server.uri, server.environ("writer")) as store:
        store.set_origin(Origin("demo", "a" * 64))
        assert store.put_many(ROWS) == 2
        assert store.put_users([UserRow("u1", {})]) == 1
    return server


def test_the_jobs_user_fills_counts_lists_and_removes(filled: Server) -> None:
    with RedisStore.open(filled.uri, filled.environ("writer")) as store:
        store.put_many([ItemRow("gone", None, {})])
        store.put_users([UserRow("gone", {})])
        assert store.count() == 3
        assert [row.item_id for row in store.items()] == ["gone", "i1", "i2"]
        assert sorted(store.user_ids()) == ["gone", "u1"]
        store.remove_many(["gone"])
        store.remove_users(["gone"])
        store.want(["i1"], 10)
        assert store.wanted() == ["i1"]
        store.unwant(["i1"])
        assert store.origin() == Origin("demo", "a" * 64)


def test_the_jobs_user_forgets_a_user_and_nobody_else_has_the_log_written_anew(filled: Server) -> None:
    with RedisStore.open(filled.uri, filled.environ("writer")) as store:
        store.put_users([UserRow("gone", {})])
    place = ItemStorePlace(filled.uri, filled.environ("writer"))
    assert place.find(["gone"]).total == 1
    assert place.forget(["gone"]) == Found({"rows of users": 1}), "with nothing left to do by hand"
    assert ItemStorePlace(filled.uri, filled.environ("reader")).find(["gone", "u1"]).total == 1
    for user in set(USERS) - {"writer"}:
        with filled.client(user) as client, pytest.raises(redis.exceptions.NoPermissionError):
            client.bgrewriteaof()


def test_the_transformers_user_reads_rows_and_notes_what_misses_a_caption(filled: Server) -> None:
    with RedisStore.open(filled.uri, filled.environ("reader"), readonly=True) as store:
        assert [row is not None for row in store.get_many(["i1", "i2", "i3"])] == [True, True, False]
        assert store.get_user("u1") == UserRow("u1", {})
        assert store.generation() > 0
        assert store.origin() == Origin("demo", "a" * 64)
        store.want(["i1"], 10)
    assert filled.client("writer").zrange("sightline:wanted", 0, -1) == ["i1"]


def test_the_transformers_user_cannot_write_a_row(filled: Server) -> None:
    with (
        RedisStore.open(filled.uri, filled.environ("reader")) as store,
        pytest.raises(ItemStoreError, match="ACL SETUSER"),
    ):
        store.put_many(ROWS)
    with RedisStore.open(filled.uri, filled.environ("reader"), readonly=True) as store:
        assert store.get_many(["i2"]) == [ROWS[1]]


def place(server: Server, user: str) -> RedisPlace:
    return RedisPlace(server.uri, username=user, password=server.passwords[user])


def test_the_controllers_user_writes_the_assignment_that_transformers_read(server: Server) -> None:
    book = place(server, "controller")
    page = book.read()
    assert book.write('{"generation": 1}', page.version)
    assert not book.write("{}", "an old version")
    assert RedisSource(server.uri, server.environ("reader")).read() == b'{"generation": 1}'


@pytest.mark.parametrize("user", ["reader", "writer", "exposures"])
def test_nobody_else_moves_users_between_arms(server: Server, user: str) -> None:
    with pytest.raises(RetryError, match=f"{DEFAULT_PREFIX}{KEY}.*(permission|access)"):
        place(server, user).write("{}", "")


def test_exposures_are_written_by_transformers_and_taken_out_by_their_reader(server: Server) -> None:
    line = Line("e1", 0.0, b'{"user": "u1"}')
    sink = StreamSink(RedisAddress.parse(server.uri), STREAM, 1000, server.environ("reader"))
    assert sink.write([line]) == 1
    taker = server.client("exposures")
    taker.xgroup_create(STREAM, "site", id="0")
    ((_, ((key, entry),)),) = taker.xreadgroup("site", "one", {STREAM: ">"})
    assert entry == {"id": "e1", "event": '{"user": "u1"}'}
    assert taker.xack(STREAM, "site", key) == taker.xdel(STREAM, key) == 1
    for user in ("writer", "controller", "exposures"):
        with pytest.raises(SinkError, match="permission"):
            StreamSink(RedisAddress.parse(server.uri), STREAM, 1000, server.environ(user)).write([line])
    with pytest.raises(redis.exceptions.NoPermissionError):
        server.client("reader").xrange(STREAM)


REFUSED = [
    "FLUSHALL",
    "FLUSHDB",
    "CONFIG GET *",
    "CONFIG SET dir /tmp",
    "EVAL return(1) 0",
    "FUNCTION LIST",
    "SCRIPT FLUSH",
    "MODULE LIST",
    "MODULE LOAD /tmp/x.so",
    "DEBUG SLEEP 0",
    "ACL LIST",
    "ACL SETUSER mine on nopass ~* +@all",
    "SHUTDOWN NOSAVE",
    "SLAVEOF 127.0.0.1 1",
    "REPLICAOF 127.0.0.1 1",
    "MIGRATE 127.0.0.1 1 k 0 1",
    "MONITOR",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "SAVE",
    "KEYS *",
    "RENAME sightline:format x",
    "COPY sightline:item:i1 x",
    "RESTORE x 0 y",
    "SORT sightline:ids",
    "PUBLISH c m",
    "SUBSCRIBE c",
    "GET somebody:else",
    "SET somebody:else 1",
    "OBJECT HELP",
    "DUMP sightline:item:i1",
]


@pytest.mark.parametrize("command", REFUSED)
@pytest.mark.parametrize("user", list(USERS))
def test_what_no_program_needs_is_refused_to_every_user(filled: Server, user: str, command: str) -> None:
    with (
        filled.client(user) as client,
        pytest.raises(redis.exceptions.ResponseError, match=r"no permissions|command not allowed"),
    ):
        client.execute_command(*command.split())


OWN = {
    "reader": [
        *("SET sightline:item:i1 x", "DEL sightline:item:i1", "INCR sightline:generation", "SCAN 0"),
        *(
            "ZADD sightline:ids 0 x",
            "GET sightline:wanted",
            f"SET {DEFAULT_PREFIX}{KEY} x",
            "ZRANGE sightline:ids 0 -1",
        ),
    ],
    "writer": [f"GET {DEFAULT_PREFIX}{KEY}", f"DEL {DEFAULT_PREFIX}{KEY}", f"DEL {STREAM}"],
    "controller": ["GET sightline:item:i1", "SET sightline:item:i1 x", f"DEL {DEFAULT_PREFIX}{KEY}", "SCAN 0"],
    "exposures": ["GET sightline:user:u1", "XADD exposures * a b", "XREAD STREAMS other 0", "SCAN 0"],
}


@pytest.mark.parametrize(("user", "command"), [(user, command) for user, all_ in OWN.items() for command in all_])
def test_a_user_keeps_to_its_own_part(filled: Server, user: str, command: str) -> None:
    with filled.client(user) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


@pytest.mark.parametrize("command", ["PING", "GET sightline:user:u1", "INFO", "HELLO 3", "FLUSHALL", "CONFIG GET *"])
def test_who_gives_no_name_is_nobody(server: Server, command: str) -> None:
    with server.client(None) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.execute_command(*command.split())
    for password in server.passwords.values():
        with (
            redis.Redis(port=server.port, password=password, protocol=2, retry=ONCE) as client,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            client.ping()


def rules(*settings: str) -> str:
    (found,) = [each for each in parse(render(settings=settings)) if each["kind"] == "StatefulSet"]
    (store,) = found["spec"]["template"]["spec"]["containers"]
    (script,) = store["args"]
    return str(script)


def test_users_are_there_only_for_what_is_installed() -> None:
    assert [word for word in USERS if f"user {word} " in rules()] == ["reader", "writer"]
    assert "assignments" not in rules()
    assert [word for word in USERS if f"user {word} " in rules(*EVERYTHING)] == list(USERS)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("items.redis.bundled.readerKey=password", "the same password"),
        (
            "experiments.exposures.url=redis://sightline-items:6379/0?stream=a*",
            "cannot be a key",
        ),
        (
            "experiments.exposures.url=redis://sightline-items:6379/0?stream=sightline:ids",
            "where its rows are",
        ),
    ],
)
def test_values_that_would_widen_a_users_rights_are_refused(setting: str, words: str) -> None:
    with pytest.raises(RenderError, match=words):
        render(settings=[*EVERYTHING, setting])
