"""What is done to the database, each within a transaction of the caller. Events are kept in the order of arrival."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from serving.rollout.collector.events import FUTURE_SECONDS, ExposureRow, OutcomeRow
from serving.rollout.collector.words import Words

KINDS = ("exposures", "outcomes")
_EXPOSURE = (
    "user, uid, arm, time, experiment, revision, served, model, bundle, contract, "
    "candidates, captioned, seconds, detail"
)
_OUTCOME = "user, event, time, value, item"
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

Content = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Added:
    """Of a batch: events stored, repeated, and of the stored ones how many were late or orphans.

    `conflicts` are the places of events whose id is that of another event: they are refused.
    """

    stored: int
    duplicates: int
    late: int = 0
    orphans: int = 0
    conflicts: tuple[int, ...] = ()


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


class Ledger:
    """The tables of a connection. Every method raises sqlite3.Error, upon which the caller rolls back."""

    def __init__(self, connection: sqlite3.Connection, *, late_seconds: float, now: Callable[[], float]) -> None:
        self._connection, self._late_seconds, self._now = connection, late_seconds, now
        self._words = Words(connection)
        self._received = self._newest()
        self.rows = self._counts()

    def rolled_back(self) -> None:
        """Forget what was remembered of a transaction that did not happen."""
        self._words.forget()
        self.rows = self._counts()

    def add_exposures(self, rows: Sequence[ExposureRow]) -> Added:
        """Store those that are new, with their users' first exposures."""
        found = self._sort("exposures", _EXPOSURE, ((row.index, row.id, self._exposure(row)) for row in rows))
        received = self._arrival()
        self._insert("exposures", f"id, {_EXPOSURE}, received", [(i, *c, received) for i, c in found.new.items()])
        self._connection.executemany(_FIRST, [(c[0], c[1], c[2], c[3], c[11]) for c in found.new.values()])
        self._connection.executemany(_REPEATED_EXPOSURE, [(each,) for each in found.repeated])
        self._begin_experiments(found.new.values())
        return self._added("exposures", found, received, [c[3] for c in found.new.values()], orphans=0)

    def add_outcomes(self, rows: Sequence[OutcomeRow]) -> Added:
        """Store those that are new."""
        found = self._sort("outcomes", _OUTCOME, ((row.index, row.id, self._outcome(row)) for row in rows))
        received = self._arrival()
        self._insert("outcomes", f"id, {_OUTCOME}, received", [(i, *c, received) for i, c in found.new.items()])
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
                counts[kind] += self._connection.execute(f"DELETE FROM {kind} WHERE user = ?", (user,)).rowcount
            self._connection.execute("DELETE FROM firsts WHERE user = ?", (user,))
        return self._deleted(counts)

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
        self._connection.execute(f"DELETE FROM {kind} WHERE seq <= ?", (seq,))

    def _exposure(self, row: ExposureRow) -> Content:
        event, number = row.event, self._words.number
        return (
            row.user,
            number(event.uid),
            number(event.arm),
            event.time,
            number(event.experiment),
            event.revision,
            number(event.served),
            number(event.model),
            number(event.bundle_id),
            number(event.contract_digest),
            event.candidates,
            event.captioned,
            event.seconds,
            row.detail,
        )

    def _outcome(self, row: OutcomeRow) -> Content:
        return row.user, self._words.number(row.event), row.time, row.value, row.item

    def _sort(self, kind: str, columns: str, events: Iterable[tuple[int, bytes, Content]]) -> _Sorted:
        """Tell new events from those that are there, within the batch too."""
        given = list(events)
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
        return _Sorted(new, repeated, tuple(conflicts))

    def _insert(self, kind: str, columns: str, rows: Sequence[Content]) -> None:
        marks = ", ".join("?" * (columns.count(",") + 1))
        self._connection.executemany(f"INSERT INTO {kind} ({columns}) VALUES ({marks})", rows)

    def _begin_experiments(self, contents: Iterable[Content]) -> None:
        began: dict[int, float] = {}
        for content in contents:
            began[content[1]] = min(content[3], began.get(content[1], content[3]))
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
        self._count({kind: len(times)})
        late = sum(received - time > self._late_seconds for time in times)
        return Added(len(times), len(found.repeated), late, orphans, found.conflicts)

    def _deleted(self, counts: dict[str, int]) -> Deleted:
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
