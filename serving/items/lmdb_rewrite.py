"""A store's file written anew from its rows: LMDB keeps what was removed in free pages and in gaps of others."""

import os
import shutil
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb

from models.files import remove_abandoned, room_for, sync_folder, temporary_prefix
from serving.items.lmdb_file import StoreFile, translated

_ROWS = 10_000  # in one transaction


def rewrite(file: StoreFile) -> None:
    """Put a file without a byte of removed rows in the place of `file`, whose environment then reads the old one.

    No process writes meanwhile. Readers find out by `StoreFile.check` and open the store again. There must be room for
    a second copy.

    Raises:
        ItemStoreError: the file cannot be read, or another took its place.
        NoRoomError, OSError: the copy cannot be written; nothing has changed.
    """
    with translated(file.path), room_for(file.path), file.env.begin(write=True) as held:
        file.check()
        remove_abandoned(file.path)
        fresh = Path(tempfile.mkdtemp(dir=file.path, prefix=temporary_prefix("rewritten")))
        try:
            _copy(file, held, fresh)
            _take_place(fresh / "data.mdb", file.path / "data.mdb")
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _copy(file: StoreFile, held: Any, fresh: Path) -> None:
    size = int(file.env.info()["map_size"])
    with lmdb.open(str(fresh), map_size=size, max_dbs=4, sync=False, readahead=False) as env:
        for name, database in ((b"meta", file.meta), (b"items", file.items), (b"users", file.users)):
            copy = env.open_db(name)
            with held.cursor(db=database) as cursor:
                pairs = cursor.iternext()
                while chunk := list(islice(pairs, _ROWS)):
                    with env.begin(db=copy, write=True) as txn, txn.cursor() as writing:
                        writing.putmulti(chunk, append=True)
        env.sync(True)


def _take_place(new: Path, old: Path) -> None:
    """The lock's file goes first: who opens the new data must not read the old one's transaction numbers in it."""
    found = old.stat()
    shutil.copymode(old, new)
    if os.geteuid() == 0:
        os.chown(new, found.st_uid, found.st_gid)
    old.with_name("lock.mdb").unlink(missing_ok=True)
    new.replace(old)
    sync_folder(old.parent)
