"""The item store of one machine: an LMDB folder that many processes read while one writes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from models.items import ItemRow, ItemStoreError, Origin, UserRow
from serving.items.gate import ReaderGate
from serving.items.keys import lookup_key, stored_key
from serving.items.lmdb_file import StoreFile, open_file, translated
from serving.items.lmdb_rewrite import rewrite
from serving.items.origin import decoded, encoded
from serving.items.rows import RowCodec
from serving.items.user_keys import IN_CLEAR, UserKeys

__all__ = ["ItemStoreError", "LmdbStore"]

DEFAULT_MAP_SIZE = 64 << 20
_PAGE = 1000
_ORIGIN_KEY = b"origin"
_GROW_LIMIT = 1 << 44
Row = TypeVar("Row", ItemRow, UserRow)


class LmdbStore:
    """`ItemStore` and `UserStore` on one LMDB folder; safe to share between threads.

    Use `LmdbStore.open(path)`; close it, or use it as a context manager. A row carries a format byte and a
    checksum, the folder a format version; nothing is pickled.
    """

    def __init__(self, file: StoreFile, user_keys: UserKeys = IN_CLEAR) -> None:
        self._file, self.user_keys = file, user_keys
        self._codec = RowCodec()
        self._gate = ReaderGate()
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path | str,
        readonly: bool = False,
        map_size: int = DEFAULT_MAP_SIZE,
        user_keys: UserKeys = IN_CLEAR,
    ) -> "LmdbStore":
        """Open the folder `path`, creating it unless `readonly`.

        `map_size` is the first size in bytes; it doubles when full. `user_keys` hide users' ids. Raises
        `ItemStoreError` for a missing, corrupt or foreign folder or a newer format.
        """
        return cls(open_file(Path(path), readonly, map_size), user_keys)

    def __enter__(self) -> "LmdbStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the environment; a later call on this store raises `ItemStoreError`."""
        with self._gate.exclusive():
            if not self._closed:
                self._closed = True
                self._file.close()

    def get_many(self, item_ids: Sequence[str]) -> list[ItemRow | None]:
        """Return the rows in the order of `item_ids`, None where unknown, from one read transaction."""
        keys = [lookup_key(item_id) for item_id in item_ids]
        with self._reading(self._file.items) as txn:
            values = list(map(txn.get, keys))
        return self._codec.decode_items(item_ids, values)

    def put_many(self, rows: Iterable[ItemRow]) -> int:
        """Write all rows in one transaction, return how many. Raises `ItemRowError`, `ItemStoreError`."""
        return self._put(self._file.items, "item", rows, lambda row: row.item_id, self._codec.encode_item)

    def items(self) -> Iterator[ItemRow]:
        """Yield all items by key order, a page of rows per transaction: a slow reader holds nothing open, and
        rows that are written meanwhile may or may not be seen.
        """
        for page in self._pages(self._file.items):
            for row in self._codec.decode_items([key.decode() for key, _ in page], [value for _, value in page]):
                if row is not None:
                    yield row

    def count(self) -> int:
        """Return the number of items."""
        with self._reading(self._file.items) as txn:
            return int(txn.stat(self._file.items)["entries"])

    def generation(self) -> int:
        """Return LMDB's last transaction number: it grows with every committed write of any process."""
        with self._gate.shared(), translated(self._file.path):
            self._file.check()
            return int(self._file.env.info()["last_txnid"])

    def get_user(self, user_id: str) -> UserRow | None:
        """Return the user's row, None where unknown."""
        with self._reading(self._file.users) as txn:
            value = txn.get(lookup_key(self.user_keys.hidden(user_id)))
        return None if value is None else self._codec.decode_user(user_id, value)

    def put_users(self, rows: Iterable[UserRow]) -> int:
        """Write all rows in one transaction, return how many. Raises `ItemRowError`, `ItemStoreError`."""
        return self._put(
            self._file.users, "user", rows, lambda row: self.user_keys.hidden(row.user_id), self._codec.encode_user
        )

    def user_ids(self) -> Iterator[str]:
        """Yield every user's id as it is stored, by key order, as `items` yields rows."""
        for page in self._pages(self._file.users):
            yield from (key.decode() for key, _ in page)

    def remove_many(self, item_ids: Sequence[str]) -> None:
        """Remove the items in one transaction. Raises `ItemStoreError`."""
        self._change(self._file.items, [(lookup_key(item_id), None) for item_id in item_ids])

    def remove_users(self, user_ids: Sequence[str]) -> None:
        """Remove the users in one transaction. Raises `ItemStoreError`."""
        self.remove_stored_users([self.user_keys.hidden(user_id) for user_id in user_ids])

    def remove_stored_users(self, stored_ids: Sequence[str]) -> None:
        """Remove users by ids as `user_ids` yields them, in one transaction. Raises `ItemStoreError`."""
        self._change(self._file.users, [(lookup_key(stored_id), None) for stored_id in stored_ids])

    def has_user(self, user_id: str) -> bool:
        """Whether there is a row of this user, whole or damaged."""
        with self._reading(self._file.users) as txn:
            return txn.get(lookup_key(self.user_keys.hidden(user_id))) is not None

    def scrub(self) -> str:
        """Write the file anew: removed rows leave their bytes in it until then. See `lmdb_rewrite.rewrite`."""
        with self._gate.exclusive():
            rewrite(self._file)
            self._file.close()
            self._file = open_file(self._file.path, readonly=False, map_size=DEFAULT_MAP_SIZE)
        return ""

    def origin(self) -> Origin | None:
        """Return whose rows these are, None when that was never said."""
        with self._reading(self._file.meta) as txn:
            value = txn.get(_ORIGIN_KEY)
        return None if value is None else decoded(value, f"item store {self._file.path}")

    def set_origin(self, origin: Origin) -> None:
        """Say whose rows these are."""
        self._change(self._file.meta, [(_ORIGIN_KEY, encoded(origin))])

    def _pages(self, database: Any) -> Iterator[list[tuple[bytes, bytes]]]:
        after = b""
        while page := self._page(database, after):
            yield page
            after = page[-1][0]

    def _page(self, database: Any, after: bytes) -> list[tuple[bytes, bytes]]:
        with self._reading(database) as txn, txn.cursor() as cursor:
            if not cursor.set_range(after + b"\0" if after else b"\0"):
                return []
            return [pair for pair, _ in zip(cursor.iternext(), range(_PAGE), strict=False)]

    @contextmanager
    def _reading(self, database: Any) -> Iterator[Any]:
        """A read transaction on a file that is still whole; follows a map that another process grew."""
        for attempt in range(3):
            try:
                with self._gate.shared(), translated(self._file.path):
                    self._file.check()
                    txn = self._file.env.begin(db=database)
                    with txn:
                        yield txn
                    return
            except lmdb.MapResizedError:
                if attempt == 2:
                    raise
                self._resize(0)

    def _put(
        self,
        database: Any,
        kind: str,
        rows: Iterable[Row],
        key_of: Callable[[Row], str],
        encode: Callable[[Row], bytes],
    ) -> int:
        pairs = sorted((stored_key(kind, key_of(row)), encode(row)) for row in rows)
        self._change(database, pairs)
        return len(pairs)

    def _change(self, database: Any, pairs: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Write the pairs, and delete the keys of those without a value, in one transaction."""
        while True:
            try:
                with self._gate.shared(), translated(self._file.path):
                    self._file.check()
                    self._write(database, pairs)
                return
            except lmdb.MapFullError as cause:
                self._grow(cause)
            except lmdb.MapResizedError:
                self._resize(0)

    def _write(self, database: Any, pairs: Sequence[tuple[bytes, bytes | None]]) -> None:
        with self._file.env.begin(db=database, write=True) as txn, txn.cursor() as cursor:
            self._file.check()  # another process may have put a new file in its place while this one waited
            cursor.putmulti([(key, value) for key, value in pairs if value is not None])
            for key in [key for key, value in pairs if value is None]:
                txn.delete(key)

    def _grow(self, cause: lmdb.Error) -> None:
        size = int(self._file.env.info()["map_size"]) * 2
        if size > _GROW_LIMIT:
            message = f"item store {self._file.path}: full at {size // 2} bytes; split the catalogue"
            raise ItemStoreError(message) from cause
        self._resize(size)

    def _resize(self, size: int) -> None:
        with self._gate.exclusive(), translated(self._file.path):
            self._file.env.set_mapsize(size)
