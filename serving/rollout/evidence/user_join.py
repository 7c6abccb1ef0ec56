"""Evidence from exposures and outcomes of single users, joined by DuckDB. See user_sql.py for what is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from serving.rollout.evidence import relations, user_sql
from serving.rollout.evidence.codec import names
from serving.rollout.evidence.database import Database
from serving.rollout.evidence.exact_totals import WHAT, Group, beyond, totals
from serving.rollout.evidence.quantiles import QuantilesQuery, nobody
from serving.rollout.evidence.relations import Relation
from serving.rollout.experiment.evidence import Arrived, Day, Evidence, EvidenceError, EvidenceQuery, Quality
from serving.rollout.experiment.spec import EXPOSURE, Column
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.winsor import Caps

_EPOCH = date(1970, 1, 1)
_WHOLE = 2.0**31
"""A user's sum of whole values of this size is exact, whatever their order, for four million of them."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where exposures and outcomes are: files, tables, or a SELECT."""

    exposures: str
    outcomes: str


@dataclass(frozen=True, slots=True)
class _Exposed:
    """Users by arm, without those who switched; when the first one was exposed."""

    users: Mapping[str, int]
    switched: int
    began: float | None


def evidence(database: Database, source: Source, query: EvidenceQuery) -> Evidence:
    """Join and sum. Raises EvidenceError."""
    columns = names(query.columns, query.before)
    unknown = sorted({*query.caps, *query.floors} - set(columns))
    if unknown:
        raise EvidenceError(f"caps are given for {unknown}; the columns are {list(columns)}")
    exposures = relations.exposures(database, source.exposures)
    relations.refuse_broken(database, exposures)
    values = _values(query)
    ours = Relation("exposures", f"(SELECT * FROM {exposures.sql} WHERE {user_sql.OURS})", exposures.columns, False)
    repeated = _repeated(database, ours, values)
    database.run(user_sql.FIRSTS.format(exposures=exposures.sql, ours=user_sql.OURS), values, "exposures")
    exposed = _exposed(database, query)
    values["began"] = exposed.began if exposed.began is not None else values["as_of"]
    repeated += _sum_users(database, source, query, values, ours if not repeated else _once(ours))
    database.run(user_sql.numbers(columns), values, WHAT)
    sums = totals(database, columns, Caps(query.caps, query.floors))
    arrivals = _arrivals(database, source, query, values) if exposed.began is not None else {}
    quality = _quality(database, query, exposed, repeated, arrivals)
    return _answer(query, columns, exposed, sums, quality, arrivals)


def quantiles(database: Database, source: Source, query: QuantilesQuery) -> Caps:
    """Caps over all users with any event in the span, 0 for a user without the column's; none without users.

    Raises:
        EvidenceError: it cannot be read.
    """
    start, end = (moment.timestamp() for moment in query.span)
    window = end - start if query.window is None else query.window.total_seconds()
    values = {"start": start, "end": end}
    within = '"time" >= $start AND "time" < $end'
    events = {}
    for each in (relations.exposures(database, source.exposures), relations.outcomes(database, source.outcomes)):
        relations.refuse_broken(database, each)
        part = Relation(each.what, f"(SELECT * FROM {each.sql} WHERE {within})", each.columns, False)
        events[each.what] = _once(part) if _repeated(database, part, values) else part
    rankings = f'(SELECT "user", "time", \'exposure\' AS event, 1.0 AS "value" FROM {events["exposures"].sql})'
    everyone = " UNION ALL ".join(f'SELECT "user", "time" FROM {each.sql}' for each in events.values())
    whole = _all_whole(database, events["outcomes"], values)
    if query.window is not None:
        values |= {"last": end - window, "window": window}
    starts = user_sql.starts(everyone, windowed=query.window is not None)
    ((users,),) = database.rows(f"SELECT count(*) FROM {starts}", values, "outcomes")
    if not users:
        return Caps({}, notes=(nobody(query),))
    numbers = {}
    for column in query.columns:
        relation = rankings if column.event == EXPOSURE else events["outcomes"].sql
        sql = user_sql.per_user(column, relation, starts, whole=whole, windowed=query.window is not None)
        found = database.arrays(sql, values, WHAT)["number"]
        numbers[column.name] = np.concatenate([found, np.zeros(users - len(found))])
    return Caps.learned(numbers, {column.name: rule for column, rule in query.columns.items()})


def _values(query: EvidenceQuery) -> dict[str, Any]:
    return {
        "uid": query.uid,
        "stable": query.arms[0],
        "candidate": query.arms[1],
        "as_of": query.as_of.timestamp(),
        "window": query.window.total_seconds(),
        "before": query.before_span.total_seconds(),
    }


def _exposed(database: Database, query: EvidenceQuery) -> _Exposed:
    sql = "SELECT candidate, switched, count(*), min(first) FROM firsts GROUP BY candidate, switched"
    rows = database.rows(sql, {}, "exposures")
    users = {candidate: count for candidate, switched, count, _ in rows if not switched}
    return _Exposed(
        users={arm: users.get(candidate, 0) for arm, candidate in _arms(query).items()},
        switched=sum(count for _, switched, count, _ in rows if switched),
        began=min((first for *_, first in rows), default=None),
    )


def _arms(query: EvidenceQuery) -> dict[str, bool]:
    """Whether an arm is the candidate's."""
    return dict(zip(query.arms, (False, True), strict=True))


def _sum_users(
    database: Database, source: Source, query: EvidenceQuery, values: Mapping[str, Any], rankings: Relation
) -> int:
    """Make the table of users' sums; return how many outcomes were there again."""
    wanted = (*query.columns, *query.before)
    parts, repeated, whole = [], 0, True
    if user_sql.events(wanted):
        outcomes = _relevant(database, source, wanted)
        repeated = _repeated(database, outcomes, values)
        parts.append((_once(outcomes) if repeated else outcomes).sql)
        whole = _all_whole(database, outcomes, values)
    if any(column.event == EXPOSURE for column in wanted):
        parts.append(f"({user_sql.RANKINGS.format(exposures=rankings.sql, ours='true')})")
    united = " UNION ALL ".join(f'SELECT id, "time", "user", event, "value", received FROM {part}' for part in parts)
    database.run(user_sql.MATCHED.format(outcomes=f"({united})"), values, "outcomes")
    database.run(user_sql.sums(query, whole=whole), values, WHAT)
    database.run("DROP TABLE matched", {}, WHAT)
    return repeated


def _arrivals(
    database: Database, source: Source, query: EvidenceQuery, values: Mapping[str, Any]
) -> dict[str, Arrived]:
    """Outcomes since the first exposure, by event; of all events where users who were exposed have none of one."""
    wanted = user_sql.events((*query.columns, *query.before))
    if not wanted:
        return {}
    outcomes = relations.outcomes(database, source.outcomes)
    found = _arrived(database, user_sql.arrivals(outcomes.sql, wanted), values)
    if all(event in found and found[event].exposed for event in wanted):
        return found
    return dict.fromkeys(wanted, Arrived(0, 0)) | _arrived(database, user_sql.arrivals(outcomes.sql, None), values)


def _arrived(database: Database, sql: str, values: Mapping[str, Any]) -> dict[str, Arrived]:
    return {event: Arrived(exposed, others) for event, exposed, others in database.rows(sql, values, "outcomes")}


def _relevant(database: Database, source: Source, wanted: tuple[Column, ...]) -> Relation:
    """Outcomes that columns ask for, from the earliest that can count to now."""
    outcomes = relations.outcomes(database, source.outcomes)
    relations.refuse_broken(database, outcomes)
    events = ", ".join(f"'{event}'" for event in user_sql.events(wanted))
    condition = f'event IN ({events}) AND "time" >= $began - $before AND "time" <= $as_of'
    return Relation("outcomes", f"(SELECT * FROM {outcomes.sql} WHERE {condition})", outcomes.columns, False)


def _repeated(database: Database, relation: Relation, values: Mapping[str, Any]) -> int:
    """Events whose id was there. Raises EvidenceError when two different events have one id."""
    ((repeated,),) = database.rows(f"SELECT count(*) - count(DISTINCT id) FROM {relation.sql}", values, relation.what)
    if not repeated:
        return 0
    others = [name for name in relation.columns if name not in ("id", "received")]
    differ = " OR ".join(f'min("{name}") <> max("{name}")' for name in others)
    sql = f"SELECT id FROM {relation.sql} GROUP BY id HAVING {differ} ORDER BY id LIMIT 1"
    for (found,) in database.rows(sql, values, relation.what):
        raise EvidenceError(
            f"{relation.what}: id {found!r} belongs to different events; give every event an id of its own"
        )
    return int(repeated)


def _once(relation: Relation) -> Relation:
    """Each event once."""
    chosen = ", ".join(f'min("{name}") AS "{name}"' for name in relation.columns if name != "id")
    return Relation(relation.what, f"(SELECT id, {chosen} FROM {relation.sql} GROUP BY id)", relation.columns, False)


def _all_whole(database: Database, outcomes: Relation, values: Mapping[str, Any]) -> bool:
    """Whether all values are small whole numbers. Raises EvidenceError for NaN and infinities."""
    sql = (
        'SELECT count(*) FILTER (WHERE NOT isfinite("value")), '
        f'bool_and("value" = trunc("value") AND abs("value") <= {_WHOLE!r}) FROM {outcomes.sql}'
    )
    ((infinite, whole),) = database.rows(sql, values, "outcomes")
    if infinite:
        raise EvidenceError(f"outcomes: {infinite} have a value that is no finite number; repair or leave them out")
    return whole is not False


def _quality(
    database: Database, query: EvidenceQuery, exposed: _Exposed, repeated: int, arrivals: Mapping[str, Arrived]
) -> Quality:
    ((of_late,),) = database.rows("SELECT coalesce(sum(late), 0) FROM numbers", {}, WHAT)
    return Quality(
        duplicates=repeated,
        late=int(of_late),
        unmatched=sum(
            arrivals[event].others for event in user_sql.events((*query.columns, *query.before)) if event in arrivals
        ),
        switched=exposed.switched,
        capped=beyond(database, Caps(query.caps, query.floors)),
    )


def _answer(
    query: EvidenceQuery,
    columns: tuple[str, ...],
    exposed: _Exposed,
    sums: Mapping[Group, Moments],
    quality: Quality,
    arrivals: Mapping[str, Arrived],
) -> Evidence:
    arms = _arms(query)

    def of(candidate: bool, day: int | None = None, *, triggered: bool = False) -> Moments:
        total = Moments.empty(columns)
        for group, moments in sums.items():
            if group.candidate == candidate and day in (None, group.day) and (group.triggered or not triggered):
                total += moments
        return total

    days = sorted({group.day for group in sums})
    return Evidence(
        as_of=query.as_of,
        exposed=exposed.users,
        moments={arm: of(candidate) for arm, candidate in arms.items()},
        triggered={arm: of(candidate, triggered=True) for arm, candidate in arms.items()},
        days=tuple(
            Day(_EPOCH + timedelta(days=day), {arm: of(candidate, day) for arm, candidate in arms.items()})
            for day in days
        ),
        quality=quality,
        arrivals=arrivals,
    )
