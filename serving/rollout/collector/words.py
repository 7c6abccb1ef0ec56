"""Names that repeat in every event, each stored once and known by a number, until no event has it any more.

How many different ones a field may have at a time is bounded: whoever sends a new name with every event would fill the
disk with them, and this process' memory.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable

FIELDS = ("uid", "arm", "experiment", "model", "bundle_id", "contract_digest", "event")
"""Fields of events whose values are words. `served` has the words of `arm`."""
DEFAULT_LIMIT = 2000


class NamesFullError(Exception):
    """A field has as many different names as it may: a new one is not taken."""

    def __init__(self, field: str, word: str, limit: int) -> None:
        super().__init__(f"{field} has {limit} names")
        self.field, self.word, self.limit = field, word, limit


class Words:
    """The table `words`, with what was asked for kept in memory. Every method is within the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection, limit: int) -> None:
        """`limit`: so many different words of a field are kept at a time."""
        self._connection, self._limit = connection, limit
        self._numbers: dict[tuple[str, str], int] = {}
        self._changes: Counter[int] = Counter()
        self._new = False
        self.counts = self._counted()
        """Different words by field."""

    def number(self, field: str, word: str) -> int:
        """The word's number; a new word gets one. Raises NamesFullError."""
        found = self._numbers.get((field, word))
        if found is None:
            found = self._numbers[field, word] = self._find(field, word)
        return found

    def used(self, numbers: Iterable[int]) -> None:
        """An event with these words was stored; a word that it has twice is given twice."""
        self._changes.update(numbers)

    def released(self, numbers: Iterable[int]) -> None:
        """An event with these words was deleted."""
        self._changes.subtract(numbers)

    def settle(self) -> None:
        """Write what was used and released, and delete the words that no event has."""
        changes = [(change, number) for number, change in self._changes.items() if change]
        self._connection.executemany("UPDATE words SET uses = uses + ? WHERE number = ?", changes)
        if self._new or any(change < 0 for change, _ in changes):
            if self._connection.execute("DELETE FROM words WHERE uses <= 0").rowcount:
                self._numbers.clear()
            self.counts = self._counted()
        self._changes.clear()
        self._new = False

    def rolled_back(self) -> None:
        """Numbers given in that transaction are given no more."""
        self._numbers.clear()
        self._changes.clear()
        self._new = False
        self.counts = self._counted()

    def _find(self, field: str, word: str) -> int:
        row = self._connection.execute(
            "SELECT number FROM words WHERE field = ? AND word = ?", (field, word)
        ).fetchone()
        if row is not None:
            return int(row[0])
        if self.counts[field] >= self._limit:
            raise NamesFullError(field, word, self._limit)
        self.counts[field] += 1
        self._new = True
        added = self._connection.execute("INSERT INTO words (field, word, uses) VALUES (?, ?, 0)", (field, word))
        return int(added.lastrowid or 0)

    def _counted(self) -> dict[str, int]:
        found = dict(self._connection.execute("SELECT field, count(*) FROM words GROUP BY field"))
        return {field: found.get(field, 0) for field in FIELDS}


def known_number(connection: sqlite3.Connection, field: str, word: str) -> int:
    """The word's number, or -1, which no row has. For readers."""
    row = connection.execute("SELECT number FROM words WHERE field = ? AND word = ?", (field, word)).fetchone()
    return -1 if row is None else int(row[0])


def experiment_key(uid: str) -> bytes:
    """Under which an experiment's first exposure is remembered when its words are gone: 16 bytes."""
    return hashlib.blake2b(uid.encode(), digest_size=16).digest()
