"""Databases of earlier releases, made ones of today in one transaction: a process that is killed leaves the old one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from serving.rollout.collector.words import experiment_key

_WORDS = """
CREATE TABLE words (
    number INTEGER PRIMARY KEY, field TEXT NOT NULL, word TEXT NOT NULL, uses INTEGER NOT NULL, UNIQUE (field, word)
)
"""
_EXPERIMENTS = "CREATE TABLE experiments (uid BLOB PRIMARY KEY, began REAL NOT NULL) WITHOUT ROWID"
_PLACES = {
    "uid": (("exposures", "uid"), ("firsts", "uid")),
    "arm": (("exposures", "arm"), ("exposures", "served"), ("firsts", "arm")),
    "experiment": (("exposures", "experiment"),),
    "model": (("exposures", "model"),),
    "bundle_id": (("exposures", "bundle"),),
    "contract_digest": (("exposures", "contract"),),
    "event": (("outcomes", "event"),),
}


def from_format_1(connection: sqlite3.Connection) -> None:
    """Words get their field and how many events have them; those that no event has are gone.

    Raises sqlite3.Error: nothing has changed.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("ALTER TABLE words RENAME TO words_1")
        connection.execute("ALTER TABLE experiments RENAME TO experiments_1")
        connection.execute(_WORDS)
        connection.execute(_EXPERIMENTS)
        for field in _PLACES:
            _move(connection, field)
        began = connection.execute("SELECT w.word, e.began FROM experiments_1 e JOIN words_1 w ON w.number = e.uid")
        keyed = [(experiment_key(word), time) for word, time in began]
        connection.executemany("INSERT INTO experiments VALUES (?, ?)", keyed)
        connection.execute("DROP TABLE words_1")
        connection.execute("DROP TABLE experiments_1")
        connection.execute("UPDATE meta SET value = 2 WHERE name = 'format'")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _move(connection: sqlite3.Connection, field: str) -> None:
    """A number that two fields had in common stays with the first; the other one's rows get a new one."""
    for number, word, uses in list(_used(connection, field)):
        taken = connection.execute("SELECT 1 FROM words WHERE number = ?", (number,)).fetchone()
        new = _free_number(connection) if taken else number
        connection.execute("INSERT INTO words VALUES (?, ?, ?, ?)", (new, field, word, uses))
        for table, column in _PLACES[field] if taken else ():
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (new, number))


def _used(connection: sqlite3.Connection, field: str) -> Iterator[tuple[int, str, int]]:
    columns = [f"SELECT {column} AS number FROM {table}" for table, column in _PLACES[field] if table != "firsts"]
    sql = f"SELECT number, count(*) AS uses FROM ({' UNION ALL '.join(columns)}) GROUP BY number"
    yield from connection.execute(f"SELECT number, word, uses FROM ({sql}) JOIN words_1 USING (number)")


def _free_number(connection: sqlite3.Connection) -> int:
    sql = "SELECT 1 + max((SELECT max(number) FROM words), (SELECT max(number) FROM words_1))"
    return int(connection.execute(sql).fetchone()[0])
