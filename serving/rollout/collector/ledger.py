"""What is done to the database, each within a transaction of the caller. Events are kept in the order of arrival."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.rollout.collector.events import FUTURE_SECONDS, ExposureRow, OutcomeRow, Row
from serving.rollout.collector.words import DEFAULT_LIMIT, NamesFullError, Words, experiment_key

KINDS = ("exposures", "outcomes")
_EXPOSURE = (
    "user, uid, arm, time, experiment, revision, served, model, bundle, contract, "
    "candidates, captioned, seconds, detail"
)
_OUTCOME = "user, event, time, value, item"
_WORDS = {"exposures": "uid, arm, experiment, served, model, bundle, contract", "outcomes": "event"}
"""Columns with the numbers of words."""
_WORD_PLACES = {"exposures": (1, 2, 4, 6, 7, 8, 9), "outcomes": (1,)}
"""The same columns in `_EXPOSURE` and `_OUTCOME`."""
_AT_ONCE = 200  # values in one statement
_FIRST = """
INSERT INTO firsts (user, uid, arm, time, captioned, repeats) VALUES (?, ?, ?, ?, ?, 0)
ON CONFLICT (user, uid, arm) DO UPDATE SET time = excluded.time, captioned = excluded.captioned
WHERE excluded.time < time OR (excluded.time = time AND excluded.captioned > captioned)
"""
_REPEATED_EXPOSURE = """
UPDATE firsts SET repeats = repeats + 1
WHERE (user, uid, arm) = (SELECT user, uid, arm FROM exposures WHERE id = ?)
"""

_SENT = """
INSERT INTO sent VALUES (?, ?, ?) ON CONFLICT (sender, event) DO UPDATE SET last = max(last, excluded.last)
"""

Content = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Added:
    """Of a batch: events stored, repeated, and of the stored ones how many were late or orphans.

    Refused are `conflicts`, the places of events whose id is that of another event, and `unnamed`, places of events
    with a new name where no more names are kept.
    """

    stored: int
    duplicates: int
    late: int = 0
    orphans: int = 0
    conflicts: tuple[int, ...] = ()
    unnamed: Mapping[int, NamesFullError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deleted:
    """Events that are gone, by kind."""

    exposures: int
    outcomes: int


@dataclass(frozen=True, slots=True)
class _Sorted:
    new: dict[bytes, Content]
    repeated: list[bytes]
    conflicts: tuple[int, ...]
    unnamed: Mapping[int, NamesFullError]


class Ledger:
    """The tables of a connection. Every method raises sqlite3.Error, upon which the caller rolls back."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        late_seconds: float,
        now: Callable[[], float],
        names: int = DEFAULT_LIMIT,
    ) -> None:
        """`names`: so many different names of a field are kept at a time."""
        self._connection, self._late_seconds, self._now = connection, late_seconds, now
        self._words = Words(connection, names)
        self._received = self._newest()
        self.rows = self._counts()

    @property
    def names(self) -> Mapping[str, int]:
        """How many different names are kept, by field."""
        return self._words.counts

    def rolled_back(self) -> None:
        """Forget what was remembered of a transaction that did not happen."""
        self._words.rolled_back()
        self.rows = self._counts()

    def add_exposures(self, rows: Sequence[ExposureRow]) -> Added:
        """Store those that are new, with their users' first exposures."""
        found = self._sort("exposures", _EXPOSURE, rows, self._exposure)
        received = self._arrival()
        self._insert("exposures", f"id, {_EXPOSURE}, received", [(i, *c, received) for i, c in found.new.items()])
        self._connection.executemany(_FIRST, [(c[0], c[1], c[2], c[3], c[11]) for c in found.new.values()])
        self._connection.executemany(_REPEATED_EXPOSURE, [(each,) for each in found.repeated])
        self._begin_experiments([row for row in rows if row.id in found.new])
        return self._added("exposures", found, received, [c[3] for c in found.new.values()], orphans=0)

    def add_outcomes(self, rows: Sequence[OutcomeRow], sender: str) -> Added:
        """Store those that are new, with who sent them first: by whom they are repeated makes no difference."""
        found = self._sort("outcomes", _OUTCOME, rows, self._outcome)
        received = self._arrival()
        by = self._sender(sender)
        rows_of = [(i, *c, received, by) for i, c in found.new.items()]
        self._insert("outcomes", f"id, {_OUTCOME}, received, sender", rows_of)
        self._connection.executemany(_SENT, [(by, c[1], c[2]) for c in found.new.values()])
        self._connection.executemany(
            "UPDATE outcomes SET repeats = repeats + 1 WHERE id = ?", [(each,) for each in found.repeated]
        )
        orphans = self._orphans([c[0] for c in found.new.values()])
        return self._added("outcomes", found, received, [c[2] for c in found.new.values()], orphans)

    def forget(self, users: Iterable[bytes]) -> Deleted:
        """Delete everything about these users."""
        counts = dict.fromkeys(KINDS, 0)
        for user in set(users):
            for kind in KINDS:
                counts[kind] += self._delete(kind, "user = ?", user)
            self._connection.execute("DELETE FROM firsts WHERE user = ?", (user,))
        return self._deleted(counts)

    def kept(self, users: Iterable[bytes]) -> Deleted:
        """How many events there are about these users."""
        counts = dict.fromkeys(KINDS, 0)
        for user in set(users):
            for kind in KINDS:
                sql = f"SELECT count(*) FROM {kind} WHERE user = ?"
                counts[kind] += self._connection.execute(sql, (user,)).fetchone()[0]
        return Deleted(counts["exposures"], counts["outcomes"])

    def expire(self, before: float, limit: int) -> Deleted:
        """Delete at most `limit` events of each kind that arrived before a time; the oldest go first."""
        counts = {}
        for kind in KINDS:
            oldest = self._connection.execute(f"SELECT seq, received FROM {kind} ORDER BY seq LIMIT ?", (limit,))
            gone = [(seq, received) for seq, received in oldest if received < before]
            if gone:
                self._cut(gone[-1][1])
                self._delete_until(kind, gone[-1][0])
            counts[kind] = len(gone)
        return self._deleted(counts)

    def probe(self) -> None:
        """Write something, to see whether writing works."""
        # SQLite writes no page that stays the same.
        self._connection.execute(
            "INSERT INTO meta VALUES ('probes', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
        )

    def _cut(self, received: int) -> None:
        # An event is at most so much older than its arrival says: clocks differ.
        self._connection.execute(
            "UPDATE meta SET value = max(value, ?) WHERE name = 'kept_since'", (received + 1 + FUTURE_SECONDS,)
        )

    def _delete_until(self, kind: str, seq: int) -> None:
        if kind == "exposures":
            # Their users' first exposures are before `kept_since` now, where no evidence is asked for any more.
            self._connection.execute(
                "DELETE FROM firsts WHERE (user, uid, arm) IN (SELECT user, uid, arm FROM exposures WHERE seq <= ?) "
                "AND time < (SELECT value FROM meta WHERE name = 'kept_since')",
                (seq,),
            )
        self._delete(kind, "seq <= ?", seq)

    def _delete(self, kind: str, which: str, value: bytes | int) -> int:
        """Delete events, and take note of the words that they had; how many those were."""
        gone = self._connection.execute(
            f"DELETE FROM {kind} WHERE {which} RETURNING {_WORDS[kind]}", (value,)
        ).fetchall()
        for words in gone:
            self._words.released(words)
        return len(gone)

    def _exposure(self, row: ExposureRow) -> Content:
        event, number = row.event, self._words.number
        return (
            row.user,
            number("uid", event.uid),
            number("arm", event.arm),
            event.time,
            number("experiment", event.experiment),
            event.revision,
            number("arm", event.served),
            number("model", event.model),
            number("bundle_id", event.bundle_id),
            number("contract_digest", event.contract_digest),
            event.candidates,
            event.captioned,
            event.seconds,
            row.detail,
        )

    def _outcome(self, row: OutcomeRow) -> Content:
        return row.user, self._words.number("event", row.event), row.time, row.value, row.item

    def _sender(self, name: str) -> int:
        row = self._connection.execute("SELECT number FROM senders WHERE name = ?", (name,)).fetchone()
        if row is None:
            row = (self._connection.execute("INSERT INTO senders (name) VALUES (?)", (name,)).lastrowid,)
        return int(row[0])

    def _sort(self, kind: str, columns: str, rows: Sequence[Row], content_of: Callable[[Row], Content]) -> _Sorted:
        """Tell new events from those that are there, within the batch too, and from those that cannot be stored."""
        given: list[tuple[int, bytes, Content]] = []
        unnamed: dict[int, NamesFullError] = {}
        for row in rows:
            try:
                given.append((row.index, row.id, content_of(row)))
            except NamesFullError as error:
                unnamed[row.index] = error
        known: dict[bytes, Content] = {}
        for part in _parts([each for _, each, _ in given]):
            marks = ", ".join("?" * len(part))
            sql = f"SELECT id, {columns} FROM {kind} WHERE id IN ({marks})"
            known.update((row[0], row[1:]) for row in self._connection.execute(sql, part))
        new: dict[bytes, Content] = {}
        repeated, conflicts = [], []
        for index, each, content in given:
            before = known.get(each) or new.get(each)
            if before is None:
                new[each] = content
            elif before == content:
                repeated.append(each)
            else:
                conflicts.append(index)
        return _Sorted(new, repeated, tuple(conflicts), unnamed)

    def _insert(self, kind: str, columns: str, rows: Sequence[Content]) -> None:
        marks = ", ".join("?" * (columns.count(",") + 1))
        self._connection.executemany(f"INSERT INTO {kind} ({columns}) VALUES ({marks})", rows)

    def _begin_experiments(self, rows: Iterable[ExposureRow]) -> None:
        began: dict[bytes, float] = {}
        for event in (row.event for row in rows):
            key = experiment_key(event.uid)
            began[key] = min(event.time, began.get(key, event.time))
        self._connection.executemany(
            "INSERT INTO experiments VALUES (?, ?) ON CONFLICT (uid) DO UPDATE SET began = min(began, excluded.began)",
            list(began.items()),
        )

    def _orphans(self, users: Sequence[bytes]) -> int:
        """How many of the events' users have no exposure so far."""
        exposed: set[bytes] = set()
        for part in _parts(list(set(users))):
            marks = ", ".join("?" * len(part))
            sql = f"SELECT DISTINCT user FROM firsts WHERE user IN ({marks})"
            exposed.update(row[0] for row in self._connection.execute(sql, part))
        return sum(user not in exposed for user in users)

    def _added(self, kind: str, found: _Sorted, received: int, times: Sequence[float], orphans: int) -> Added:
        for content in found.new.values():
            self._words.used([content[place] for place in _WORD_PLACES[kind]])
        self._words.settle()
        self._count({kind: len(times)})
        late = sum(received - time > self._late_seconds for time in times)
        return Added(len(times), len(found.repeated), late, orphans, found.conflicts, found.unnamed)

    def _deleted(self, counts: dict[str, int]) -> Deleted:
        self._words.settle()
        self._connection.execute("DELETE FROM sent WHERE event NOT IN (SELECT number FROM words)")
        self._count({kind: -count for kind, count in counts.items()})
        return Deleted(counts["exposures"], counts["outcomes"])

    def _count(self, change: dict[str, int]) -> None:
        for kind, number in change.items():
            if number:
                self._connection.execute("UPDATE meta SET value = value + ? WHERE name = ?", (number, kind))
                self.rows = {**self.rows, kind: self.rows[kind] + number}

    def _counts(self) -> dict[str, int]:
        return dict(self._connection.execute("SELECT name, value FROM meta WHERE name IN ('exposures', 'outcomes')"))

    def _arrival(self) -> int:
        """The time now, in whole seconds, never before an earlier event's arrival."""
        self._received = max(self._received, int(self._now()))
        return self._received

    def _newest(self) -> int:
        newest = [
            self._connection.execute(f"SELECT received FROM {kind} ORDER BY seq DESC LIMIT 1").fetchone()
            for kind in KINDS
        ]
        return max((int(row[0]) for row in newest if row is not None), default=0)


def _parts(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (values[at : at + _AT_ONCE] for at in range(0, len(values), _AT_ONCE))
