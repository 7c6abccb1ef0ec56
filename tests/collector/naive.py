"""The join again, slowly and in another way: loops over lists, sums as fractions."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from serving.rollout.experiment.evidence import EvidenceQuery
from serving.rollout.experiment.spec import Column


@dataclass(frozen=True)
class Seen:
    """An exposure: `captioned` candidates had a caption."""

    id: str
    user: str
    arm: str
    time: float
    uid: str = "u"
    captioned: int = 0


@dataclass(frozen=True)
class Did:
    """An outcome; `arrived` is when the collector got it first."""

    id: str
    user: str
    event: str
    time: float
    value: float
    arrived: float


@dataclass(frozen=True)
class User:
    arm: str
    first: float
    triggered: bool
    values: tuple[float, ...]


@dataclass
class Joined:
    exposed: dict[str, int]
    users: list[User]
    switched: int
    late: int
    unmatched: int
    capped: dict[str, int]

    def sums(self, users: Iterable[User]) -> tuple[int, list[Fraction], list[Fraction]]:
        """Count, sums, sums of products of the columns."""
        rows = [[Fraction(value) for value in user.values] for user in users]
        width = len(self.users[0].values) if self.users else 0
        sums = [sum((row[i] for row in rows), Fraction()) for i in range(width)]
        products = [sum((row[i] * row[j] for row in rows), Fraction()) for i in range(width) for j in range(i, width)]
        return len(rows), sums, products

    def of(self, arm: str, day: date | None = None, triggered: bool = False) -> list[User]:
        return [
            user
            for user in self.users
            if user.arm == arm
            and (user.triggered or not triggered)
            and (day is None or date(1970, 1, 1) + timedelta(days=user.first // 86400) == day)
        ]


def number(column: Column, values: Sequence[float]) -> float:
    match column.aggregate:
        case "sum":
            return math.fsum(values)
        case "count":
            return float(len(values))
    return float(len(values) > 0)


def join(query: EvidenceQuery, exposures: Sequence[Seen], outcomes: Sequence[Did]) -> Joined:
    as_of, window = query.as_of.timestamp(), query.window.total_seconds()
    before = query.before_span.total_seconds()
    events = {column.event for column in (*query.columns, *query.before)} - {"exposure"}
    shown = [each for each in exposures if each.uid == query.uid and each.arm in query.arms and each.time <= as_of]
    joined = Joined(dict.fromkeys(query.arms, 0), [], 0, 0, 0, dict.fromkeys(query.caps, 0))
    exposed = {each.user for each in shown}
    for user in exposed:
        own = [each for each in shown if each.user == user]
        if len({each.arm for each in own}) == 2:
            joined.switched += 1
            continue
        first = min(each.time for each in own)
        joined.exposed[own[0].arm] += 1
        if first + window > as_of:
            continue
        acts = [each for each in outcomes if each.user == user and each.event in events]
        after = [each for each in acts if first <= each.time < first + window]
        earlier = [each for each in acts if first - before <= each.time < first]
        rankings = [1.0 for each in own if each.time < first + window]
        joined.late += sum(int(each.arrived) > first + window for each in after)
        values = []
        for columns, found, shows, names in (
            (query.columns, after, rankings, [column.name for column in query.columns]),
            (query.before, earlier, [], [column.before for column in query.before]),
        ):
            for column, name in zip(columns, names, strict=True):
                chosen = [each.value for each in found if each.event == column.event]
                value = number(column, shows if column.event == "exposure" else chosen)
                joined.capped = (
                    {**joined.capped, name: joined.capped[name] + (value > query.caps[name])}
                    if (name in query.caps)
                    else joined.capped
                )
                values.append(min(value, query.caps.get(name, math.inf)))
        triggered = max(each.captioned for each in own if each.time == first) > 0
        joined.users.append(User(own[0].arm, first, triggered, tuple(values)))
    if shown:
        began = min(each.time for each in shown)
        joined.unmatched = sum(
            each.user not in exposed and each.event in events and began <= each.time <= as_of for each in outcomes
        )
    return joined
