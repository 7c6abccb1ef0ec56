"""Opening the LMDB folder of a store: every way in which it can be wrong becomes an `ItemStoreError`."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from models.items import ItemStoreError

FORMAT = b"sightline-items"
VERSION = 1
_FORMAT_KEY, _VERSION_KEY = b"format", b"version"
_MAX_READERS = 512


@dataclass(frozen=True, slots=True)
class StoreFile:
    """An open LMDB environment, its sub-databases, and the identity of the file behind it."""

    path: Path
    env: Any
    data: str
    inode: int
    page_size: int
    items: Any
    users: Any
    meta: Any

    def check(self) -> None:
        """Refuse a file that was moved, replaced or cut short: reading a cut map would kill the process."""
        with translated(self.path):
            known = self.env.info()
        try:
            found = os.stat(self.data)
        except OSError as cause:
            raise ItemStoreError(f"item store {self.path}: {cause.strerror}; {_MISSING}") from cause
        if found.st_ino != self.inode:
            raise ItemStoreError(f"item store {self.path}: another file took its place; open the store again")
        _check_size(self.path, known, found.st_size, self.page_size)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def _check_size(path: Path, known: dict[str, int], size: int, page_size: int) -> None:
    """Compare the file's size with LMDB's last page. Raises `ItemStoreError`."""
    needed = (known["last_pgno"] + 1) * page_size
    if known["last_txnid"] and size < needed:
        raise ItemStoreError(
            f"item store {path}: data.mdb has {size} bytes, its last page ends at {needed}; {_DAMAGED}"
        )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn LMDB's own errors into `ItemStoreError`; full and resized maps pass, their callers handle them."""
    try:
        yield
    except (lmdb.MapFullError, lmdb.MapResizedError):
        raise
    except lmdb.Error as cause:
        raise ItemStoreError(f"item store {path}: {cause}; {_advice(cause)}") from cause


def open_file(path: Path, readonly: bool, map_size: int) -> StoreFile:
    """Open the folder, create it when it may be written, and check whose it is. Raises `ItemStoreError`."""
    data = path / "data.mdb"
    if readonly and not data.is_file():
        raise ItemStoreError(f"item store {path}: there is no data.mdb; {_MISSING}")
    if not readonly:
        _make_folder(path)
    _refuse_empty(data)
    with translated(path):
        env = lmdb.open(
            str(path),
            map_size=0 if readonly else max(map_size, _size(data)),
            max_dbs=4,
            max_readers=_MAX_READERS,
            readonly=readonly,
            create=not readonly,
            readahead=False,
        )
        with ExitStack() as undo:
            undo.callback(env.close)
            file = _checked(path, env, readonly)
            undo.pop_all()
            return file


def _checked(path: Path, env: Any, readonly: bool) -> StoreFile:
    data, page_size = path / "data.mdb", env.stat()["psize"]
    _check_size(path, env.info(), _size(data), page_size)
    env.reader_check()
    _check_owner(path, env, readonly)
    items = env.open_db(b"items", create=not readonly)
    users = env.open_db(b"users", create=not readonly)
    meta = env.open_db(b"meta", create=False)
    return StoreFile(path, env, str(data), os.stat(data).st_ino, page_size, items, users, meta)


def _check_owner(path: Path, env: Any, readonly: bool) -> None:
    """Compare the format written in `meta`; a fresh file gets it, a foreign one is left untouched."""
    if not env.stat()["entries"] and not readonly:
        meta = env.open_db(b"meta")
        with env.begin(db=meta, write=True) as txn:
            txn.put(_FORMAT_KEY, FORMAT)
            txn.put(_VERSION_KEY, str(VERSION).encode())
        return
    found, version = _read_meta(env)
    if found != FORMAT:
        raise ItemStoreError(
            f"item store {path}: this LMDB folder was not written by Sightline (format {found!r}, expected "
            f"{FORMAT!r}); give the store a folder of its own"
        )
    if version != VERSION:
        raise ItemStoreError(
            f"item store {path}: written in format version {version}, this program reads version {VERSION}; "
            "upgrade Sightline, or delete the folder and caption the catalogue again"
        )


def _read_meta(env: Any) -> tuple[bytes | None, int | None]:
    try:
        meta = env.open_db(b"meta", create=False)
    except (lmdb.NotFoundError, lmdb.ReadonlyError, lmdb.IncompatibleError):
        return None, None
    with env.begin(db=meta) as txn:
        version = txn.get(_VERSION_KEY)
        return txn.get(_FORMAT_KEY), int(version) if version is not None and version.isdigit() else None


def _refuse_empty(data: Path) -> None:
    if data.exists() and not _size(data):
        raise ItemStoreError(f"item store {data.parent}: data.mdb is empty; {_DAMAGED}")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        message = f"item store {path}: {cause.strerror}; give a folder that can be written"
        raise ItemStoreError(message) from cause


def _size(data: Path) -> int:
    return data.stat().st_size if data.exists() else 0


def _advice(cause: lmdb.Error) -> str:
    if isinstance(cause, (lmdb.InvalidError, lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError)):
        return _DAMAGED
    if isinstance(cause, lmdb.VersionMismatchError):
        return "the file was written by another LMDB version: " + _DAMAGED
    if isinstance(cause, lmdb.ReadersFullError):
        return f"more than {_MAX_READERS} readers: end some"
    text = str(cause)
    if os.strerror(errno.ENOSPC) in text:
        return "the disk is full: free some space"
    if os.strerror(errno.EACCES) in text or os.strerror(errno.EROFS) in text:
        return "this user may not open it that way: check the folder's owner and mode"
    if "already open" in text:
        return "share the store that is open, LMDB allows one per process"
    return "check the folder"


_MISSING = "caption the catalogue first (sightline caption --dataset FOLDER), or name the folder that was written then"
_DAMAGED = "the store is damaged: delete the folder and caption the catalogue again"
