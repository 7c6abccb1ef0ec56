"""The item store of a cluster: rows in Redis or Valkey, which many transformers read while Jobs write."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from redis.exceptions import NoPermissionError

from models.items import ItemRow, ItemStoreError, Origin, UserRow
from serving.items.keys import lookup_key, stored_key
from serving.items.origin import decoded, encoded
from serving.items.redis_disk import rewrite_log
from serving.items.redis_link import RedisAddress, RedisLink, RedisTransaction
from serving.items.rows import RowCodec
from serving.items.user_keys import IN_CLEAR, UserKeys, read_user_keys

FORMAT, VERSION = "sightline-items", 1
TIMEOUT_SECONDS = 10.0
_PAGE = 1000
_CHUNK = 500  # rows handed over at once: with captions a few hundred kilobytes
Row = TypeVar("Row", ItemRow, UserRow)


class RedisStore:
    """`ItemStore` and `UserStore` on a Redis or Valkey server (not a Cluster); safe to share between threads.

    Keys, each beginning with the address's prefix: `format`; `generation`, a counter; `origin`, whose rows these are;
    `item:<id>` and `user:<id>`, a row each; `ids`, a sorted set of the items' ids; `wanted`, a sorted set of ids that
    were ranked without caption.
    """

    def __init__(self, link: RedisLink, prefix: str, readonly: bool, user_keys: UserKeys = IN_CLEAR) -> None:
        self._link, self._readonly, self.user_keys = link, readonly, user_keys
        self._codec = RowCodec()
        names = ("format", "generation", "origin", "ids", "wanted", "item:", "user:")
        keys = [f"{prefix}{name}".encode() for name in names]
        self._format, self._generation, self._origin, self._ids, self._wanted, self._item, self._user = keys

    @classmethod
    def open(
        cls, uri: str, environ: Mapping[str, str], readonly: bool = False, timeout: float = TIMEOUT_SECONDS
    ) -> RedisStore:
        """Open the store at `uri`, making it unless `readonly`. Credentials and the users' key come from `environ`.

        Raises:
            ItemStoreError: the server does not answer within `timeout` seconds or refuses; there is no store and it
                may not be made; the keys are another program's or of a newer format; the server may drop rows.
        """
        address = RedisAddress.parse(uri)
        store = cls(RedisLink(address, environ, timeout), address.prefix, readonly, read_user_keys(environ))
        try:
            store._check_owner()
        except ItemStoreError:
            store.close()
            raise
        return store

    def __enter__(self) -> RedisStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call on this store raises `ItemStoreError`."""
        self._link.close()

    def get_many(self, item_ids: Sequence[str]) -> list[ItemRow | None]:
        """Return the rows in the order of `item_ids`, None where unknown, by one command."""
        if not item_ids:
            return []
        keys = [self._item + lookup_key(item_id) for item_id in item_ids]
        with self._link.client() as client:
            values = client.mget(keys)
        return self._codec.decode_items(item_ids, values)

    def put_many(self, rows: Iterable[ItemRow]) -> int:
        """Write all rows in one transaction, return how many. Raises `ItemRowError`, `ItemStoreError`.

        The rows are taken as they come and kept by the server until the last one: this process holds a few hundred. The
        server carries the transaction out in one go, in which it answers nobody else (2 to 5 µs a row).
        """
        return self._put("item", rows, lambda row: row.item_id, self._codec.encode_item, self._queue_items)

    def items(self) -> Iterator[ItemRow]:
        """Yield all items by key order, a page of rows at a time: what is written meanwhile may or may not be seen."""
        after = b"-"
        while True:
            with self._link.client() as client:
                keys = client.zrangebylex(self._ids, after, b"+", start=0, num=_PAGE)
            if not keys:
                return
            yield from (row for row in self.get_many([key.decode() for key in keys]) if row is not None)
            after = b"(" + keys[-1]

    def count(self) -> int:
        """Return the number of items."""
        with self._link.client() as client:
            return int(client.zcard(self._ids))

    def generation(self) -> int:
        """Return the counter that every write moves; it starts at random, so that a store made anew differs."""
        with self._link.client() as client:
            found = client.get(self._generation)
        if found is None:
            raise self._absent()
        return int(found)

    def get_user(self, user_id: str) -> UserRow | None:
        """Return the user's row, None where unknown."""
        with self._link.client() as client:
            value = client.get(self._user + lookup_key(self.user_keys.hidden(user_id)))
        return None if value is None else self._codec.decode_user(user_id, value)

    def put_users(self, rows: Iterable[UserRow]) -> int:
        """Write all rows in one transaction, return how many; see `put_many`."""
        return self._put(
            "user", rows, lambda row: self.user_keys.hidden(row.user_id), self._codec.encode_user, self._queue_users
        )

    def user_ids(self) -> Iterator[str]:
        """Yield every user's id as it is stored, in no order; an id may come twice while the server's table grows."""
        pattern = b"".join(b"\\" + bytes([byte]) if byte in b"*?[]^\\" else bytes([byte]) for byte in self._user) + b"*"
        cursor = 0
        while True:
            with self._link.client() as client:
                cursor, keys = client.scan(cursor, match=pattern, count=_PAGE)
            yield from (key[len(self._user) :].decode() for key in keys)
            if not cursor:
                return

    def remove_many(self, item_ids: Sequence[str]) -> None:
        """Remove the items in one transaction. Raises `ItemStoreError`."""
        self._remove(item_ids, self._item, (self._ids, self._wanted))

    def remove_users(self, user_ids: Sequence[str]) -> None:
        """Remove the users in one transaction. Raises `ItemStoreError`."""
        self.remove_stored_users([self.user_keys.hidden(user_id) for user_id in user_ids])

    def remove_stored_users(self, stored_ids: Sequence[str]) -> None:
        """Remove users by ids as `user_ids` yields them, in one transaction. Raises `ItemStoreError`."""
        self._remove(stored_ids, self._user, ())

    def has_user(self, user_id: str) -> bool:
        """Whether there is a row of this user, whole or damaged."""
        with self._link.client() as client:
            return client.get(self._user + lookup_key(self.user_keys.hidden(user_id))) is not None

    def scrub(self) -> str:
        """Have the server's log written anew; returns what is left to do by hand, see `redis_disk.rewrite_log`."""
        return rewrite_log(self._link)

    def origin(self) -> Origin | None:
        """Return whose rows these are, None when that was never said."""
        with self._link.client() as client:
            found = client.get(self._origin)
        return None if found is None else decoded(found, self._link.where)

    def set_origin(self, origin: Origin) -> None:
        """Say whose rows these are."""
        self._refuse_readonly()
        with self._link.transaction() as transaction:
            transaction.queue("SET", self._origin, encoded(origin))
            transaction.queue("INCR", self._generation)

    def want(self, item_ids: Sequence[str], limit: int) -> None:
        """Note items that were asked for and have no caption; the first `limit` stay. A reader may do this too."""
        now = time.time()
        if not item_ids:
            return
        with self._link.transaction() as transaction:
            for chunk in _chunks(item_ids, _CHUNK):
                noted = [part for item_id in chunk for part in (now, lookup_key(item_id))]
                transaction.queue("ZADD", self._wanted, "NX", *noted)
            transaction.queue("ZREMRANGEBYRANK", self._wanted, limit, -1)

    def unwant(self, item_ids: Sequence[str]) -> None:
        """Forget noted items."""
        with self._link.client() as client:
            for chunk in _chunks(item_ids, _CHUNK):
                client.zrem(self._wanted, *map(lookup_key, chunk))

    def wanted(self) -> list[str]:
        """The noted items, longest waiting first."""
        with self._link.client() as client:
            return [key.decode() for key in client.zrange(self._wanted, 0, -1)]

    def _put(
        self,
        kind: str,
        rows: Iterable[Row],
        key_of: Callable[[Row], str],
        encode: Callable[[Row], bytes],
        queue: Callable[[RedisTransaction, Sequence[Row], list[bytes], list[bytes]], None],
    ) -> int:
        self._refuse_readonly()
        count = 0
        with self._link.transaction() as transaction:
            for chunk in _chunks(rows, _CHUNK):
                keys = [stored_key(kind, key_of(row)) for row in chunk]
                queue(transaction, chunk, keys, [encode(row) for row in chunk])
                count += len(chunk)
            transaction.queue("INCR", self._generation)
        return count

    def _remove(self, ids: Sequence[str], kind: bytes, listed: Sequence[bytes]) -> None:
        self._refuse_readonly()
        with self._link.transaction() as transaction:
            for chunk in _chunks(ids, _CHUNK):
                keys = [lookup_key(each) for each in chunk]
                transaction.queue("DEL", *(kind + key for key in keys))
                for name in listed:
                    transaction.queue("ZREM", name, *keys)
            transaction.queue("INCR", self._generation)

    def _refuse_readonly(self) -> None:
        if self._readonly:
            raise ItemStoreError(f"{self._link.where}: was opened for reading; open it with readonly=False to write")

    def _queue_items(
        self, transaction: RedisTransaction, rows: Sequence[ItemRow], keys: list[bytes], values: list[bytes]
    ) -> None:
        pairs = zip(keys, values, strict=True)
        transaction.queue("MSET", *(part for key, value in pairs for part in (self._item + key, value)))
        transaction.queue("ZADD", self._ids, *(part for key in keys for part in (0, key)))
        captioned = [key for key, row in zip(keys, rows, strict=True) if row.caption is not None]
        if captioned:
            transaction.queue("ZREM", self._wanted, *captioned)

    def _queue_users(
        self, transaction: RedisTransaction, rows: Sequence[UserRow], keys: list[bytes], values: list[bytes]
    ) -> None:
        pairs = zip(keys, values, strict=True)
        transaction.queue("MSET", *(part for key, value in pairs for part in (self._user + key, value)))

    def _check_owner(self) -> None:
        """Compare the format that is written down; an absent one is written unless this is a reader."""
        with self._link.client() as client:
            if not self._readonly:
                self._refuse_eviction(client)
            found = client.get(self._format)
        if found is None:
            if self._readonly:
                raise self._absent()
            with self._link.transaction() as transaction:  # several Jobs may start at once: one of them makes it
                transaction.queue("SET", self._format, f"{FORMAT} {VERSION}", "NX")
                transaction.queue("SET", self._generation, secrets.randbits(48), "NX")
            return
        name, _, version = found.decode(errors="replace").partition(" ")
        if name != FORMAT:
            raise ItemStoreError(
                f"{self._link.where}: key {self._format.decode()!r} holds {name[:40]!r}, expected {FORMAT!r}: "
                "another program uses these keys; give the store a database number or a prefix of its own"
            )
        if version != str(VERSION):
            raise ItemStoreError(
                f"{self._link.where}: written in format version {version}, this program reads version {VERSION}; "
                "upgrade Sightline, or caption the catalogue into another database or prefix"
            )

    def _refuse_eviction(self, client: Any) -> None:
        """A server that drops any key when memory is short would drop single rows, and nobody would hear of it."""
        try:
            memory = client.info("memory")
        except NoPermissionError:  # some hosted servers keep INFO to themselves: then their owner answers for it
            return
        policy = str(memory.get("maxmemory_policy", ""))
        if policy.startswith("allkeys") and int(memory.get("maxmemory", 0)):
            raise ItemStoreError(
                f"{self._link.where}: maxmemory-policy is {policy}, with which the server drops rows when memory is "
                "short; set it to noeviction"
            )

    def _absent(self) -> ItemStoreError:
        return ItemStoreError(
            f"{self._link.where}: there is no item store; caption the catalogue first (the backfill Job), or correct "
            "the address. A server that keeps nothing on disk is empty after a restart"
        )


def _chunks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(rows)
    while chunk := list(islice(rest, size)):
        yield chunk
