"""The adapters that must pass the store contract: a new one adds a line to ADAPTERS."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis_server import PROGRAM, RedisServer, running_redis

from serving.items.lmdb_store import LmdbStore
from serving.items.redis_store import RedisStore

Store = LmdbStore | RedisStore
_fresh = itertools.count()


def on_lmdb(folder: Path, _: Callable[[], RedisServer]) -> Store:
    return LmdbStore.open(folder / "store", map_size=1 << 20)


def on_redis(_: Path, server: Callable[[], RedisServer]) -> Store:
    return RedisStore.open(f"{server().uri}?prefix=test-{next(_fresh)}:", {})


ADAPTERS: dict[str, Callable[[Path, Callable[[], RedisServer]], Store]] = {"lmdb": on_lmdb, "redis": on_redis}


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the tests that do not harm it."""
    if PROGRAM is None:
        pytest.skip("needs Redis: apt-get install redis-server")
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=sorted(ADAPTERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A fresh, empty store of each adapter."""
    with ADAPTERS[request.param](tmp_path, lambda: request.getfixturevalue("redis_server")) as opened:
        yield opened
