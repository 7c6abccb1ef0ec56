"""Evidence from sums that a warehouse has made: a row per arm and day, turned into sufficient statistics as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import combinations_with_replacement
from typing import Any

from serving.rollout.evidence.codec import names
from serving.rollout.evidence.database import Database
from serving.rollout.experiment.evidence import Day, Evidence, EvidenceError, EvidenceQuery, Quality
from serving.rollout.statistics.exact import InexactError, fraction
from serving.rollout.statistics.moments import Moments, MomentsError

WHAT = "the query of sums"
QUALITY = ("duplicates", "late", "unmatched", "switched")
"""Columns that may be there: counts for the report, added up."""
_BASE = ("arm", "day", "n", "exposed")
_ENOUGH = 50  # users in one arm: by then the other arm, as large, has some
_SLACK = 1e-9  # of the sums of squares: what doubles round away


@dataclass
class _Totals:
    """Sums so far."""

    days: dict[tuple[str, date], Moments] = field(default_factory=dict)
    triggered: dict[str, Moments] = field(default_factory=dict)
    exposed: dict[str, int] = field(default_factory=dict)
    quality: dict[str, int] = field(default_factory=dict)


def evidence(database: Database, query_text: str, query: EvidenceQuery) -> Evidence:
    """Ask the warehouse's query and read its sums. Raises EvidenceError, naming row, column and value."""
    if query.caps or query.floors:
        raise EvidenceError(
            f"caps are wanted for {sorted({*query.caps, *query.floors})}, and sums have no users to cap any more; "
            "leave capQuantile out and cap in the query, or give single users (kind: users)"
        )
    text = database.select(query_text, WHAT)
    rows = database.named(text, parameters(query), WHAT)
    columns = names(query.columns, query.before)
    totals = _Totals()
    pairs = _columns(rows[0].keys() if rows else (), columns) if rows else {}
    for number, row in enumerate(rows, start=1):
        _add(totals, query, _Row(number, row), columns, pairs)
    _refuse_missing_arm(query, totals)
    return _answer(query, columns, totals)


def parameters(query: EvidenceQuery) -> dict[str, Any]:
    """What a query may use: $experiment, $uid, $stable, $candidate, $as_of, $window_seconds, $before_seconds."""
    return {
        "experiment": query.experiment,
        "uid": query.uid,
        "stable": query.arms[0],
        "candidate": query.arms[1],
        "as_of": query.as_of.timestamp(),
        "window_seconds": query.window.total_seconds(),
        "before_seconds": query.before_span.total_seconds(),
    }


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the answer, whose faults name it."""

    number: int
    values: Mapping[str, Any]

    def fault(self, column: str, expected: str) -> EvidenceError:
        """The error for a value that cannot be."""
        return EvidenceError(f"{WHAT}, row {self.number}: {column} is {self.values[column]!r}; expected {expected}")

    def count(self, column: str) -> int:
        """A whole number of at least 0."""
        value = self.values[column]
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or value != value // 1 or value < 0:
            raise self.fault(column, "a whole number of at least 0")
        return int(value)

    def number_of(self, column: str) -> float:
        """A sum: a whole number as it is, others as a double. No users have NULL for 0."""
        value = self.values[column]
        if value is None and self.count("n") == 0:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise self.fault(column, "a number")
        return value if isinstance(value, int) else float(value)

    def day(self) -> date:
        """The day of first exposure."""
        value = self.values["day"]
        if isinstance(value, datetime):
            return value.date()
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except (TypeError, ValueError) as cause:
            raise self.fault("day", "a DATE, UTC") from cause


def _columns(given: Iterable[str], columns: Sequence[str]) -> dict[tuple[str, str], str]:
    """The column of each pair's products, either name first. Raises EvidenceError for columns missing or unknown."""
    there = set(given)
    pairs = {}
    for left, right in combinations_with_replacement(columns, 2):
        wanted, other = f"sum_{left}__{right}", f"sum_{right}__{left}"
        pairs[left, right] = other if wanted not in there and other in there else wanted
    needed = [*_BASE, *(f"sum_{name}" for name in columns), *pairs.values()]
    missing = [name for name in needed if name not in there]
    unknown = sorted(there - {*needed, *QUALITY, "triggered"})
    if missing or unknown:
        told = [f"lacks {missing}"] * bool(missing) + [f"has {unknown}, which nothing reads"] * bool(unknown)
        raise EvidenceError(
            f"{WHAT} {' and '.join(told)}; expected {needed}, and if you like triggered and {list(QUALITY)}"
        )
    return pairs


def _add(
    totals: _Totals,
    query: EvidenceQuery,
    row: _Row,
    columns: Sequence[str],
    pairs: Mapping[tuple[str, str], str],
) -> None:
    arm, day = row.values["arm"], row.day()
    if arm not in query.arms:
        raise row.fault("arm", f"one of {list(query.arms)}")
    if day > query.as_of.date():
        raise row.fault("day", f"at most {query.as_of.date()}, the day that is asked for: use $as_of in the query")
    moments = _moments(row, columns, pairs)
    exposed = row.count("exposed")
    if exposed < moments.count:
        raise row.fault("exposed", f"at least n, which is {moments.count}: every user in the sums was exposed")
    totals.exposed[arm] = totals.exposed.get(arm, 0) + exposed
    _merge(totals.days, (arm, day), moments)
    if "triggered" in row.values:
        if not isinstance(row.values["triggered"], bool):
            raise row.fault("triggered", "true or false")
        if row.values["triggered"]:
            _merge(totals.triggered, arm, moments)
    for name in QUALITY:
        if name in row.values:
            totals.quality[name] = totals.quality.get(name, 0) + row.count(name)


def _merge(into: dict[Any, Moments], key: object, moments: Moments) -> None:
    into[key] = into[key] + moments if key in into else moments


def _moments(row: _Row, columns: Sequence[str], pairs: Mapping[tuple[str, str], str]) -> Moments:
    sums = [row.number_of(f"sum_{name}") for name in columns]
    products = [row.number_of(pairs[pair]) for pair in combinations_with_replacement(columns, 2)]
    try:
        moments = Moments.from_sums(columns, row.count("n"), sums, products)
    except (MomentsError, InexactError, OverflowError, ValueError) as cause:
        raise EvidenceError(f"{WHAT}, row {row.number} ({row.values['arm']}, {row.values['day']}): {cause}") from cause
    _refuse_impossible(row, moments, pairs)
    return moments


def _refuse_impossible(row: _Row, moments: Moments, pairs: Mapping[tuple[str, str], str]) -> None:
    """Cauchy and Schwarz: no two columns vary together by more than each varies by itself."""
    if not moments.count:
        return
    size = len(moments.columns)
    places = list(combinations_with_replacement(range(size), 2))
    total = {place: fraction(each) for place, each in zip(places, moments.products, strict=True)}
    sums = [fraction(each) for each in moments.sums]
    for left, right in places:
        raw = float(total[left, left]) ** 0.5 * float(total[right, right]) ** 0.5
        scatter = [float(total[a, b] - sums[a] * sums[b] / moments.count) for a, b in ((left, left), (right, right))]
        shared = float(total[left, right] - sums[left] * sums[right] / moments.count)
        most = (max(scatter[0], 0.0) + _SLACK * float(total[left, left])) ** 0.5
        most *= (max(scatter[1], 0.0) + _SLACK * float(total[right, right])) ** 0.5
        if abs(shared) > most + _SLACK * raw:
            names_ = moments.columns[left], moments.columns[right]
            raise row.fault(pairs[names_], f"what sums and squares of {names_} allow (Cauchy-Schwarz): check the query")


def _refuse_missing_arm(query: EvidenceQuery, totals: _Totals) -> None:
    for arm in query.arms:
        if not totals.exposed.get(arm) and max(totals.exposed.values(), default=0) >= _ENOUGH:
            raise EvidenceError(
                f"{WHAT} has no users of arm {arm!r} and {totals.exposed} of the other; arms have equally many: "
                f"does it name them {list(query.arms)}?"
            )


def _answer(query: EvidenceQuery, columns: tuple[str, ...], totals: _Totals) -> Evidence:
    empty = Moments.empty(columns)

    def of(arm: str) -> Moments:
        return sum((each for (of_arm, _), each in totals.days.items() if of_arm == arm), empty)

    days = sorted({day for _, day in totals.days})
    return Evidence(
        as_of=query.as_of,
        exposed={arm: totals.exposed.get(arm, 0) for arm in query.arms},
        moments={arm: of(arm) for arm in query.arms},
        triggered={arm: totals.triggered.get(arm, empty) for arm in query.arms},
        days=tuple(Day(day, {arm: totals.days.get((arm, day), empty) for arm in query.arms}) for day in days),
        quality=_quality(totals.quality),
    )


def _quality(found: Mapping[str, int]) -> Quality:
    duplicates, late, unmatched, switched = (found.get(name, 0) for name in QUALITY)
    return Quality(duplicates=duplicates, late=late, unmatched=unmatched, switched=switched)
