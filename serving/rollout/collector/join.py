"""Exposures and outcomes joined per user, summed per arm and day: a stream of users through arrays into exact sums."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.rollout.collector.columns import IN_WINDOW, wanted
from serving.rollout.collector.senders import parted, senders_of
from serving.rollout.collector.words import experiment_key, known_number
from serving.rollout.evidence.codec import names
from serving.rollout.experiment.evidence import (
    MOST_EVENTS,
    Arrived,
    BySender,
    Day,
    Evidence,
    EvidenceError,
    EvidenceQuery,
    Quality,
)
from serving.rollout.experiment.spec import EXPOSURE
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.winsor import Caps

Floats = npt.NDArray[np.float64]
USERS_AT_ONCE = 1 << 18
"""Users in one array: 2 MB per column."""
_DAY = 86400
_MOST_WORDS = 1 << 40
_EPOCH = date(1970, 1, 1)
_LEADING = 5  # of each row: arm, first exposure, captioned, late, repeats

# A user with first exposures in both arms has switched; such users are in none of the sums.
_OTHER_ARM = """EXISTS (SELECT 1 FROM firsts g WHERE g.user = f.user AND g.uid = f.uid
AND g.arm IN (:stable, :candidate) AND g.arm <> f.arm AND g.time <= :as_of)"""
_OF_EXPERIMENT = "f.uid = :uid AND f.arm IN (:stable, :candidate) AND f.time <= :as_of"
_EXPOSED = f"""SELECT f.arm, {_OTHER_ARM} AS switched, count(*), min(f.time), total(f.repeats)
FROM firsts f WHERE {_OF_EXPERIMENT} GROUP BY 1, 2"""


class CutError(EvidenceError):
    """Part of what was asked for is deleted already, by retention."""


@dataclass
class _Totals:
    """Sums so far, by arm, day and whether users were triggered."""

    columns: tuple[str, ...]
    sums: dict[tuple[int, int, bool], Moments] = field(default_factory=dict)
    late: int = 0
    repeats: int = 0
    capped: dict[str, int] = field(default_factory=dict)

    def of(self, arm: int, day: int | None = None, *, triggered: bool = False) -> Moments:
        """Sums of an arm: of one day or all, of triggered users or all."""
        total = Moments.empty(self.columns)
        for (of_arm, of_day, seen), moments in self.sums.items():
            if of_arm == arm and day in (None, of_day) and (seen or not triggered):
                total += moments
        return total


@dataclass(frozen=True, slots=True)
class _Exposed:
    """Users exposed so far, by arm; when the first one was; events sent again."""

    users: Mapping[int, int]
    switched: int
    began: float | None
    repeats: int


def evidence(connection: sqlite3.Connection, query: EvidenceQuery) -> Evidence:
    """Answer a question from one snapshot of the database. `exact_sum` is installed on the connection.

    Raises:
        CutError: retention has deleted events that belong to it.
        sqlite3.Error: the database cannot be read.
    """
    connection.execute("BEGIN")
    events = {event: known_number(connection, "event", event) for event in _events(query)}
    arms = {arm: known_number(connection, "arm", arm) for arm in query.arms}
    values = _values(query, known_number(connection, "uid", query.uid), arms)
    _refuse_cut(connection, query)
    exposed = _exposed(connection, values)
    totals = _Totals(names(query.columns, query.before), capped=dict.fromkeys((*query.caps, *query.floors), 0))
    caps = Caps(query.caps, query.floors)
    for rows in _users(connection, query, events, values, wanted(query, events)):
        _add(totals, rows, caps)
    arrivals = _arrivals(connection, query, events, values, exposed.began)
    senders = _senders(connection, query, events, values, exposed.began)
    connection.execute("COMMIT")
    return replace(_answer(query, arms, exposed, totals, arrivals), senders=senders)


def _events(query: EvidenceQuery) -> list[str]:
    """Names of the outcomes that are needed, in a fixed order."""
    return sorted({column.event for column in (*query.columns, *query.before)} - {EXPOSURE})


def _values(query: EvidenceQuery, uid: int, arms: Mapping[str, int]) -> dict[str, Any]:
    return {
        "uid": uid,
        "stable": arms[query.arms[0]],
        "candidate": arms[query.arms[1]],
        "as_of": query.as_of.timestamp(),
        "window": query.window.total_seconds(),
        "before": query.before_span.total_seconds(),
    }


def _refuse_cut(connection: sqlite3.Connection, query: EvidenceQuery) -> None:
    key = (experiment_key(query.uid),)
    row = connection.execute("SELECT began FROM experiments WHERE uid = ?", key).fetchone()
    (kept_since,) = connection.execute("SELECT value FROM meta WHERE name = 'kept_since'").fetchone()
    needed = query.before_span.total_seconds() if query.before else 0.0
    if row is not None and row[0] - needed < kept_since:
        raise CutError(
            f"events are needed from {_time(row[0] - needed)} on (the first exposure, less the time before it), and "
            f"kept since {_time(kept_since)}; raise --retention-days above maximumTime + before for the next experiment"
        )


def _exposed(connection: sqlite3.Connection, values: Mapping[str, Any]) -> _Exposed:
    users: dict[int, int] = {}
    switched = repeats = 0
    began: float | None = None
    for arm, in_both, count, first, again in connection.execute(_EXPOSED, values):
        began = first if began is None else min(began, first)
        repeats += int(again)
        if in_both:
            switched += count
        else:
            users[arm] = count
    return _Exposed(users, switched // 2, began, repeats)  # a switched user has a row in each arm


def _users(
    connection: sqlite3.Connection,
    query: EvidenceQuery,
    numbers: Mapping[str, int],
    values: Mapping[str, Any],
    columns: Sequence[str],
) -> Iterator[Floats]:
    """Users whose window has closed, float64 [users, 5 + columns], in parts. `columns` are SQL."""
    events = ", ".join(str(numbers[event]) for event in _events(query)) or "-1"
    sql = f"""SELECT f.arm, f.time, f.captioned,
        count(*) FILTER (WHERE {IN_WINDOW} AND o.received > f.time + :window), total(o.repeats), {", ".join(columns)}
    FROM firsts f LEFT JOIN outcomes o INDEXED BY outcomes_of_user
        ON o.user = f.user AND o.event IN ({events}) AND o.time >= f.time - :before AND o.time < f.time + :window
    WHERE {_OF_EXPERIMENT} AND f.time + :window <= :as_of AND NOT {_OTHER_ARM}
    GROUP BY f.user"""
    cursor = connection.execute(sql, values)
    while rows := cursor.fetchmany(USERS_AT_ONCE):
        yield np.array(rows, dtype=np.float64)


def _senders(
    connection: sqlite3.Connection,
    query: EvidenceQuery,
    numbers: Mapping[str, int],
    values: Mapping[str, Any],
    began: float | None,
) -> tuple[BySender, ...]:
    """What each sender brought, and what is left without it; nothing where one sends all: there is none to compare."""
    if began is None:
        return ()
    since = began - values["before"] if query.before else began
    found = senders_of(connection, [numbers[event] for event in _events(query)], since)
    if len(found) < 2:
        return ()
    caps, made = Caps(query.caps, query.floors), []
    for name, ids in found.items():
        columns = parted(query, numbers, ids)
        totals = _Totals(tuple(columns), capped=dict.fromkeys((*query.caps, *query.floors), 0))
        for rows in _users(connection, query, numbers, values, list(columns.values())):
            _add(totals, rows, caps)
        arms = dict(zip(query.arms, (values["stable"], values["candidate"]), strict=True))
        sums = {arm: totals.of(number) for arm, number in arms.items()}
        kept = names(query.columns, query.before)
        own = tuple(column for column in columns if column not in kept)
        parts, without = ({arm: each.only(of) for arm, each in sums.items()} for of in (own, kept))
        made.append(BySender(name, parts, without))
    return tuple(made)


def _add(totals: _Totals, rows: Floats, caps: Caps) -> None:
    totals.late += int(rows[:, 3].sum())
    totals.repeats += int(rows[:, 4].sum())
    for name in totals.capped:
        column = rows[:, _LEADING + totals.columns.index(name)]
        least, largest = caps.ends(name)
        totals.capped[name] += int(((column > largest) | (column < least)).sum())
        np.clip(column, least, largest, out=column)
    days = np.floor(rows[:, 1] / _DAY).astype(np.int64)
    keys = (days << 1 | (rows[:, 2] > 0)) * _MOST_WORDS + rows[:, 0].astype(np.int64)
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    for part in np.split(order, starts[1:]):
        users = rows[part]
        found = Moments.of({name: users[:, _LEADING + at] for at, name in enumerate(totals.columns)})
        key = (int(users[0, 0]), int(days[part[0]]), bool(users[0, 2] > 0))
        totals.sums[key] = totals.sums[key] + found if key in totals.sums else found


def _arrivals(
    connection: sqlite3.Connection,
    query: EvidenceQuery,
    numbers: Mapping[str, int],
    values: Mapping[str, Any],
    began: float | None,
) -> dict[str, Arrived]:
    """Outcomes since the first exposure, by event; of all events where users who were exposed have none of one."""
    events = _events(query)
    if began is None or not events:
        return {}
    found = _arrived(connection, {**values, "began": began}, [numbers[event] for event in events])
    if all(event in found and found[event].exposed for event in events):
        return found
    return dict.fromkeys(events, Arrived(0, 0)) | _arrived(connection, {**values, "began": began}, None)


def _arrived(
    connection: sqlite3.Connection, values: Mapping[str, Any], events: Sequence[int] | None
) -> dict[str, Arrived]:
    """Of these events, or of those that come most often."""
    chosen = "true" if events is None else f"o.event IN ({', '.join(map(str, events))})"
    sql = f"""SELECT w.word, sum(exposed), count(*) - sum(exposed) FROM (
        SELECT o.event, EXISTS (SELECT 1 FROM firsts f WHERE f.user = o.user AND {_OF_EXPERIMENT}) AS exposed
        FROM outcomes o INDEXED BY outcomes_of_user WHERE {chosen} AND o.time >= :began AND o.time <= :as_of
    ) JOIN words w ON w.number = event GROUP BY w.word ORDER BY count(*) DESC, w.word LIMIT {MOST_EVENTS}"""
    return {word: Arrived(exposed, others) for word, exposed, others in connection.execute(sql, values)}


def _answer(
    query: EvidenceQuery,
    arms: Mapping[str, int],
    exposed: _Exposed,
    totals: _Totals,
    arrivals: Mapping[str, Arrived],
) -> Evidence:
    days: Sequence[int] = sorted({day for _, day, _ in totals.sums})
    return Evidence(
        as_of=query.as_of,
        exposed={arm: exposed.users.get(number, 0) for arm, number in arms.items()},
        moments={arm: totals.of(number) for arm, number in arms.items()},
        triggered={arm: totals.of(number, triggered=True) for arm, number in arms.items()},
        days=tuple(
            Day(_EPOCH + timedelta(days=day), {arm: totals.of(number, day) for arm, number in arms.items()})
            for day in days
        ),
        quality=Quality(
            duplicates=exposed.repeats + totals.repeats,
            late=totals.late,
            unmatched=sum(arrivals[event].others for event in _events(query) if event in arrivals),
            switched=exposed.switched,
            capped=totals.capped,
        ),
        arrivals=arrivals,
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(max(seconds, 0.0), UTC).isoformat(timespec="seconds")
