"""The database: one SQLite file in a folder, in WAL mode. One process writes; readers have snapshots of their own.

Users and ids of events are stored as 16 bytes, made with the key of pseudonyms; names that repeat are numbers of
`words`. Both tables of events are in the order of arrival, so that the oldest are at the beginning.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from models.experiments.events import key_fingerprint
from serving.rollout.collector.migration import from_format_1

FORMAT = 2
FILE = "events.sqlite3"
LOCK_SECONDS = 2.0
"""So long a transaction waits for somebody else's lock, a backup's for instance."""
_WAL_PAGES = 4000  # a checkpoint every 16 MB
_WAL_BYTES = 64 << 20  # the WAL is cut to this after a checkpoint
_CACHE_KIB = 64 << 10

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
-- `uses` counts the events that have the word, one that has it twice twice.
CREATE TABLE words (
    number INTEGER PRIMARY KEY, field TEXT NOT NULL, word TEXT NOT NULL, uses INTEGER NOT NULL, UNIQUE (field, word)
);
-- The earliest exposure that ever arrived, kept when its row is gone, by a hash of the experiment's uid.
CREATE TABLE experiments (uid BLOB PRIMARY KEY, began REAL NOT NULL) WITHOUT ROWID;
-- A user's first exposure by arm; `repeats` counts exposures that were sent again.
CREATE TABLE firsts (
    user BLOB NOT NULL, uid INTEGER NOT NULL, arm INTEGER NOT NULL,
    time REAL NOT NULL, captioned INTEGER NOT NULL, repeats INTEGER NOT NULL,
    PRIMARY KEY (user, uid, arm)
) WITHOUT ROWID;
CREATE TABLE exposures (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, user BLOB NOT NULL, uid INTEGER NOT NULL, arm INTEGER NOT NULL,
    time REAL NOT NULL, experiment INTEGER NOT NULL, revision INTEGER NOT NULL, served INTEGER NOT NULL,
    model INTEGER NOT NULL, bundle INTEGER NOT NULL, contract INTEGER NOT NULL, candidates INTEGER NOT NULL,
    captioned INTEGER NOT NULL, seconds REAL NOT NULL, detail TEXT, received INTEGER NOT NULL
);
CREATE INDEX exposures_of_user ON exposures (user, uid, arm, time);
CREATE TABLE outcomes (
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, user BLOB NOT NULL, event INTEGER NOT NULL, time REAL NOT NULL,
    value REAL NOT NULL, item TEXT, received INTEGER NOT NULL, repeats INTEGER NOT NULL DEFAULT 0,
    sender INTEGER NOT NULL DEFAULT 0
);
"""
_SENDERS = """
-- Names of tokens for outcomes; 0, which is none of them, is the sender of what came before names were stored.
CREATE TABLE senders (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
-- The newest time of an outcome, by sender and event.
CREATE TABLE sent (sender INTEGER NOT NULL, event INTEGER NOT NULL, last REAL NOT NULL, PRIMARY KEY (sender, event))
WITHOUT ROWID;
CREATE INDEX outcomes_of_user ON outcomes (user, event, time, value, received, repeats, sender);
"""
_NAME_SENDERS = f"""
ALTER TABLE outcomes ADD COLUMN sender INTEGER NOT NULL DEFAULT 0;
DROP INDEX outcomes_of_user;
{_SENDERS}
INSERT INTO sent SELECT 0, event, max(time) FROM outcomes GROUP BY event;
"""


class DatabaseError(RuntimeError):
    """A database that cannot be used; the message says why and what to do."""


def open_for_writing(folder: Path, key: bytes) -> sqlite3.Connection:
    """Open or make the database, in autocommit mode, for one thread at a time.

    Raises:
        DatabaseError: it is damaged, another program's, newer, or was made with another key.
    """
    path = folder / FILE
    try:
        connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as cause:
        raise DatabaseError(f"database {path} cannot be opened: {cause}") from cause
    try:
        _prepare(connection, path, key)
    except sqlite3.Error as cause:
        connection.close()
        raise DatabaseError(
            f"database {path} cannot be used: {cause}; free space, end the program that holds it, or restore a backup "
            "if it is damaged"
        ) from cause
    except DatabaseError:
        connection.close()
        raise
    return connection


def open_for_reading(folder: Path) -> sqlite3.Connection:
    """Open the database to read, in autocommit mode. It never checkpoints. Raises sqlite3.Error."""
    uri = f"{(folder / FILE).absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    connection.execute(f"PRAGMA mmap_size={1 << 31}")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, key: bytes) -> None:
    if not _tables(connection):
        connection.execute("PRAGMA journal_mode=WAL")
        _create(connection, key)
    earlier = _refuse_foreign(connection, path, key)
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise DatabaseError(
            f"database {path} stays in journal mode {mode}; expected a volume that allows shared memory"
        )
    for pragma in (
        "synchronous=FULL",  # a commit returns after the WAL's fsync
        "secure_delete=ON",  # deleted bytes become zeros
        f"wal_autocheckpoint={_WAL_PAGES}",
        f"journal_size_limit={_WAL_BYTES}",
        f"cache_size=-{_CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    if earlier:
        from_format_1(connection)
    if "senders" not in _tables(connection):
        connection.executescript(f"BEGIN IMMEDIATE; {_NAME_SENDERS} COMMIT;")
    for table in ("firsts", "exposures", "outcomes"):
        connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()


def _create(connection: sqlite3.Connection, key: bytes) -> None:
    """All tables in one transaction: a process that is killed here leaves an empty file."""
    rows = {"format": FORMAT, "key": key_fingerprint(key), "exposures": 0, "outcomes": 0, "kept_since": 0.0}
    values = ", ".join(f"('{name}', {value!r})" for name, value in rows.items())
    connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} {_SENDERS} INSERT INTO meta VALUES {values}; COMMIT;")


def _refuse_foreign(connection: sqlite3.Connection, path: Path, key: bytes) -> bool:
    """Whether an earlier release wrote it. Raises DatabaseError."""
    if "meta" not in _tables(connection):
        raise DatabaseError(f"database {path} is another program's; choose another folder")
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    if meta.get("format") not in (1, FORMAT):
        raise DatabaseError(
            f"database {path} has format {meta.get('format')!r}; expected {FORMAT}: use the release that wrote it"
        )
    if meta.get("key") != key_fingerprint(key):
        raise DatabaseError(
            f"database {path} was made with another pseudonym key; its users could not be found again. "
            "Give the key that it was made with, or a new folder"
        )
    return bool(meta["format"] == 1)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
