"""The transformer with its items in a Redis that changes, hangs, dies and comes back."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from redis_server import RedisServer, needs_redis, running_redis

from models.items import ItemRow, UserRow
from serving.items.redis_store import RedisStore

pytestmark = needs_redis


@dataclass
class World:
    """A Redis and a transformer of these tests alone."""

    redis: RedisServer
    transformer: Any

    def ask(self, *item_ids: str) -> dict[str, Any]:
        instance = {"user_id": "196", "candidates": [{"item_id": item_id} for item_id in item_ids]}
        url = f"{self.transformer.url}/v1/models/ranker:predict"
        answer = httpx.post(url, json={"instances": [instance]}).raise_for_status()
        prediction: dict[str, Any] = answer.json()["predictions"][0]
        return prediction

    def fill(self, rows: list[ItemRow]) -> None:
        with RedisStore.open(self.redis.uri, {}) as store:
            store.put_many(rows)
            store.put_users([UserRow("196", {"gender": "M", "age": 49})])


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, stack: Any, triton: Any, with_captions: Any, rows: list[ItemRow]
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("redis-world")
    with running_redis(folder / "redis") as server:
        World(server, None).fill(rows)
        with stack.running_transformer(folder, with_captions.bundle.path, server.uri, triton.grpc) as transformer:
            yield World(server, transformer)


def test_items_and_users_come_from_redis_as_they_do_from_a_folder(world: World, transformer: Any) -> None:
    instance = {"user_id": "196", "candidates": [{"item_id": str(i)} for i in (1, 2, 7, 13)]}
    body = {"instances": [{**instance, "user": {"gender": "M", "age": 49}}]}
    answers = [
        httpx.post(f"{url}/v1/models/ranker:predict", json=body).json()["predictions"][0]["ranking"]
        for url in (world.transformer.url, transformer.url)
    ]
    assert answers[0] == answers[1]
    assert world.ask("1")["user_known"] is True


def test_a_new_row_is_seen_by_the_next_request(world: World, rows: list[ItemRow]) -> None:
    assert world.ask("fresh")["ranking"][0]["item"] == "unknown"
    with RedisStore.open(world.redis.uri, {}) as store:
        store.put_many([ItemRow("fresh", rows[1].caption, {})])
    entry = world.ask("fresh")["ranking"][0]
    assert (entry["item"], entry["caption"]) == ("known", "known")


def test_items_without_caption_are_noted_in_redis_until_they_have_one(
    world: World, until: Callable[..., None], rows: list[ItemRow]
) -> None:
    world.ask("14", "never-seen", "15")
    with RedisStore.open(world.redis.uri, {}) as store:
        until(lambda: {"14", "never-seen"} <= set(store.wanted()))
        assert "15" not in store.wanted()
        store.put_many([ItemRow("14", rows[15].caption, {})])
        assert "14" not in store.wanted()


def test_a_hanging_redis_degrades_one_request_late_and_the_next_ones_at_once(
    world: World, until: Callable[..., None]
) -> None:
    timeout, usual = 0.15, []
    for _ in range(10):
        start = time.monotonic()
        world.ask("1", "2")
        usual.append(time.monotonic() - start)
    with world.redis.hanging():
        seconds = []
        until_then = time.monotonic() + 2.5  # long enough for attempts to connect in between
        while time.monotonic() < until_then:
            start = time.monotonic()
            found = world.ask("1", "2", "501")
            seconds.append(time.monotonic() - start)
            assert found["degraded"] == ["item_store_unavailable"]
            assert found["ranking"][0]["item_id"] in {"1", "2", "501"}
            time.sleep(0.02)
    assert max(seconds) >= timeout - 0.01, "one request waited for the timeout"
    assert statistics.median(seconds) < statistics.median(usual) + timeout / 2, (
        "most did not wait, however slow all are"
    )
    until(lambda: world.ask("1", "2")["degraded"] == [])


def test_a_dead_redis_degrades_and_never_fails_and_an_empty_one_too(
    world: World, until: Callable[..., None], rows: list[ItemRow]
) -> None:
    whole = world.ask("1", "2")
    world.redis.kill()
    found = world.ask("1", "2", "502")
    assert found["degraded"] == ["item_store_unavailable"]
    about = {entry["item_id"]: entry["caption"] for entry in found["ranking"]}
    assert about == {"1": "known", "2": "known", "502": "missing"}, "rows in the cache still serve"
    assert httpx.get(f"{world.transformer.url}/v2/health/ready").status_code == 200
    world.redis.start()  # it kept nothing
    until(lambda: "there is no item store; caption the catalogue first" in world.transformer.log.read_text())
    assert world.ask("1", "2")["degraded"] == ["item_store_unavailable"]
    world.fill(rows)
    until(lambda: world.ask("1", "2")["degraded"] == [])
    assert world.ask("1", "2") == whole
