"""The join of exposures and outcomes as SQL: the same numbers as the collector's, see serving/rollout/collector.

A user belongs to the arm and time of the first exposure. Who was exposed in both arms has switched, and is in no sum.
Outcomes count from the first exposure until the attribution window ends; before it, as far back as `before`.
"""

from __future__ import annotations

from collections.abc import Sequence

from serving.rollout.experiment.evidence import MOST_EVENTS, EvidenceQuery
from serving.rollout.experiment.spec import EXPOSURE, Aggregate, Column

OURS = 'uid = $uid AND arm IN ($stable, $candidate) AND "time" <= $as_of'
"""Exposures that are asked for."""

FIRSTS = """
CREATE TEMP TABLE firsts AS
SELECT "user", bool_or(arm = $candidate) AS candidate, bool_or(arm = $candidate) AND bool_or(arm = $stable) AS switched,
       min("time") AS first, coalesce(min("time") FILTER (WHERE captioned > 0) = min("time"), false) AS triggered
FROM {exposures} WHERE {ours} GROUP BY "user"
"""
"""A row per user. Triggered: an exposure with a caption is as early as any; of two at once either may be the first."""

RANKINGS = """
SELECT id, "time", "user", 'exposure' AS event, 1.0 AS "value", NULL::DOUBLE AS received FROM {exposures} WHERE {ours}
"""
"""Exposures as events, for columns that count rankings."""

MATCHED = """
CREATE TEMP TABLE matched AS
SELECT f.rowid AS person, o.event, o."value", o."time" >= f.first AS inside,
       o."time" >= f.first AND o.received > f.first + $window AS late
FROM {outcomes} o JOIN firsts f ON f."user" = o."user"
WHERE o."time" >= f.first - $before AND o."time" < f.first + $window
"""
"""A row per outcome that counts. A statement of its own, as are the sums: each has the memory to itself, and goes on
on the disk beyond it.
"""

SUMS = """
CREATE TEMP TABLE sums AS
SELECT m.person, {columns}, count(*) FILTER (WHERE m.late) AS late
FROM matched m GROUP BY m.person
"""
"""A row per user with outcomes."""

NUMBERS = """
CREATE TEMP TABLE numbers AS
SELECT f.candidate, CAST(floor(f.first / 86400) AS INTEGER) AS "day", f.triggered, {columns},
       coalesce(s.late, 0) AS late
FROM firsts f LEFT JOIN sums s ON s.person = f.rowid WHERE NOT f.switched AND f.first + $window <= $as_of
"""
"""A row per user whose window has closed: final numbers."""


def arrivals(outcomes: str, events: Sequence[str] | None) -> str:
    """Event, and its outcomes of users with and without exposure; of these events, or of those that come most often."""
    chosen = "true" if events is None else f"event IN ({', '.join(repr(each) for each in events)})"
    return f"""SELECT o.event, count(DISTINCT o.id) FILTER (WHERE f."user" IS NOT NULL),
           count(DISTINCT o.id) FILTER (WHERE f."user" IS NULL)
    FROM (SELECT * FROM {outcomes} WHERE {chosen} AND "time" >= $began AND "time" <= $as_of) o
    LEFT JOIN firsts f ON f."user" = o."user"
    GROUP BY o.event ORDER BY count(DISTINCT o.id) DESC, o.event LIMIT {MOST_EVENTS}"""


def events(columns: Sequence[Column]) -> list[str]:
    """Names of the outcomes that are needed, in order."""
    return sorted({column.event for column in columns} - {EXPOSURE})


def sums(query: EvidenceQuery, *, whole: bool) -> str:
    """SUMS for a query. `whole`: all values are whole numbers, which may be added in any order."""
    made = [_column(column, "m.inside", column.name, whole) for column in query.columns]
    made += [_column(column, "NOT m.inside", column.before, whole) for column in query.before]
    return SUMS.format(columns=",\n       ".join(made))


def numbers(names: Sequence[str]) -> str:
    """NUMBERS with these columns; users without outcomes have 0."""
    return NUMBERS.format(columns=", ".join(f"coalesce(s.{name}, 0.0) AS {name}" for name in names))


def starts(everyone: str, *, windowed: bool) -> str:
    """Users of events in the span, and when each one's window begins: at the first event. Without windows all count."""
    condition = ' WHERE "time" <= $last' if windowed else ""
    return f'(SELECT "user", min("time") AS first FROM ({everyone}){condition} GROUP BY "user")'


def per_user(column: Column, relation: str, starts: str, *, whole: bool, windowed: bool) -> str:
    """The column's numbers of users who have its event at all, in their window of a relation of events."""
    inside = ' AND m."time" >= f.first AND m."time" < f.first + $window' if windowed else ""
    return (
        f"SELECT {_column(column, 'true', 'number', whole)} FROM {relation} m JOIN {starts} f "
        f'ON f."user" = m."user"{inside} WHERE m.event = \'{column.event}\' GROUP BY m."user"'
    )


def _column(column: Column, condition: str, name: str, whole: bool) -> str:
    # An event's name is letters, digits and underscores (spec.EventName): it needs no quoting.
    chosen = f"FILTER (WHERE m.event = '{column.event}' AND {condition})"
    match column.aggregate:
        case Aggregate.COUNT:
            number = f"count(*) {chosen}"
        case Aggregate.ANY:
            number = f"count(*) {chosen} > 0"
        case Aggregate.SUM if whole:
            number = f'sum(m."value") {chosen}'
        case Aggregate.SUM:
            number = f'exact_sum(list(m."value") {chosen})'
    return f"CAST({number} AS DOUBLE) AS {name}"
