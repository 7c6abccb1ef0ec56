"""Names that repeat in every event, each stored once and known by a number."""

from __future__ import annotations

import sqlite3


class Words:
    """The table `words`, with what was asked for kept in memory."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._numbers: dict[str, int] = {}

    def number(self, word: str) -> int:
        """The word's number; a new word gets one, within the caller's transaction."""
        found = self._numbers.get(word)
        if found is None:
            found = self._numbers[word] = self._find(word)
        return found

    def forget(self) -> None:
        """After a rollback: numbers given in it are given no more."""
        self._numbers.clear()

    def _find(self, word: str) -> int:
        row = self._connection.execute("SELECT number FROM words WHERE word = ?", (word,)).fetchone()
        if row is None:
            row = (self._connection.execute("INSERT INTO words (word) VALUES (?)", (word,)).lastrowid,)
        return int(row[0])


def known_number(connection: sqlite3.Connection, word: str) -> int:
    """The word's number, or -1, which no row has. For readers."""
    row = connection.execute("SELECT number FROM words WHERE word = ?", (word,)).fetchone()
    return -1 if row is None else int(row[0])
