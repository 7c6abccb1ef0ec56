"""What one replayed experiment has seen, as the controller asks for it: `MetricSource` over arrays in memory.

The same join as the collector's: a user belongs to the first exposure; numbers count from there to the end of the
attribution window; only users whose window has closed are in the sums. A user's numbers never change after that, so
each look adds the users that have become ripe since the last one: exact sums make that the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from serving.replay.population import Floats, Ints
from serving.rollout.evidence.quantiles import QuantilesQuery, nobody
from serving.rollout.experiment.evidence import Day, Evidence, EvidenceError, EvidenceQuery
from serving.rollout.experiment.spec import EXPOSURE, Aggregate, Column
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.winsor import CapRule, Caps

CLICK = "click"
_UNSEEN = -1


class Ledger:
    """Rankings and clicks of one experiment. `start` is the time that seconds are counted from."""

    def __init__(self, users: int, start: datetime) -> None:
        self._start = start
        self._first = np.full(users, np.inf)
        self._arm = np.full(users, _UNSEEN, dtype=np.int64)
        self._times: list[Floats] = []
        self._users: list[Ints] = []
        self._clicks: list[Floats] = []
        self._exposed: list[npt.NDArray[np.bool_]] = []
        self._ripe = np.zeros(users, dtype=bool)
        self._sums: dict[tuple[int, int], Moments] = {}

    def add(self, times: Floats, users: Ints, clicks: Ints, arms: Ints) -> None:
        """Rankings in the order of time: `arms` int64 [n], the arm's place where an exposure was recorded, else -1."""
        exposed = arms != _UNSEEN
        who, first = np.unique(users[exposed], return_index=True)
        new = np.isinf(self._first[who])
        self._first[who[new]] = times[exposed][first[new]]
        self._arm[who[new]] = arms[exposed][first[new]]
        self._times.append(times)
        self._users.append(users)
        self._clicks.append(clicks.astype(np.float64))
        self._exposed.append(exposed)

    def evidence(self, query: EvidenceQuery) -> Evidence:
        """What is known at `query.as_of`."""
        now = (query.as_of - self._start).total_seconds()
        window, before = query.window.total_seconds(), query.before_span.total_seconds()
        ready = ~self._ripe & (self._first + window <= now)
        self._absorb(np.flatnonzero(ready), query, window, before)
        self._ripe |= ready
        names = tuple(each.name for each in query.columns) + tuple(each.before for each in query.before)
        moments = {name: Moments.empty(names) for name in query.arms}
        days: dict[int, dict[str, Moments]] = {}
        for (day, arm), sums in sorted(self._sums.items()):
            moments[query.arms[arm]] += sums
            cell = days.setdefault(day, {name: Moments.empty(names) for name in query.arms})
            cell[query.arms[arm]] += sums
        exposed = {name: int((self._arm == place).sum()) for place, name in enumerate(query.arms)}
        dated = tuple(Day((self._start + timedelta(days=day)).date(), cell) for day, cell in days.items())
        # Every item of the catalogue has a caption: who was exposed was triggered.
        return Evidence(query.as_of, exposed, moments, moments, dated)

    def quantiles(
        self, rules: Mapping[Column, CapRule], span: tuple[datetime, datetime], window: timedelta | None = None
    ) -> Caps:
        """Caps from the clicks of a time before."""
        start, end = ((moment - self._start).total_seconds() for moment in span)
        times, users, clicks, _ = self._all()
        inside = (times >= start) & (times < end)
        if window is not None:
            first = np.full(int(users.max(initial=-1)) + 1, np.inf)
            np.minimum.at(first, users[inside], times[inside])
            begun = first[users]
            inside &= (begun <= end - window.total_seconds()) & (times < begun + window.total_seconds())
        if not inside.any():
            return Caps({}, notes=(nobody(QuantilesQuery(rules, span, window)),))
        others = [column.event for column in rules if column.event != CLICK]
        if others:
            raise EvidenceError(f"caps are set for {CLICK!r} here, not for {others[0]!r}")
        there = np.unique(users[inside])
        numbers = {
            column.name: np.bincount(users[inside], self._valued(column, clicks[inside]))[there] for column in rules
        }
        return Caps.learned(numbers, {column.name: rule for column, rule in rules.items()})

    def _absorb(self, ready: Ints, query: EvidenceQuery, window: float, before: float) -> None:
        """Add the users `ready` to the sums of their day and arm."""
        if not len(ready):
            return
        times, users, clicks, exposed = self._all()
        since = times - self._first[users]
        inside, earlier = (since >= 0) & (since < window), (since >= -before) & (since < 0)
        values: dict[str, Floats] = {}
        for column in query.columns:
            values[column.name] = self._per_user(column, users, clicks, exposed, inside)[ready]
        for column in query.before:
            values[column.before] = self._per_user(column, users, clicks, exposed, earlier)[ready]
        capped = {name: np.clip(each, *Caps(query.caps, query.floors).ends(name)) for name, each in values.items()}
        days = (self._first[ready] // 86_400).astype(np.int64)
        for day, arm in {*zip(days.tolist(), self._arm[ready].tolist(), strict=True)}:
            chosen = (days == day) & (self._arm[ready] == arm)
            sums = Moments.of({name: each[chosen] for name, each in capped.items()})
            self._sums[day, arm] = self._sums[day, arm] + sums if (day, arm) in self._sums else sums

    def _per_user(
        self,
        column: Column,
        users: Ints,
        clicks: Floats,
        exposed: npt.NDArray[np.bool_],
        chosen: npt.NDArray[np.bool_],
    ) -> Floats:
        if column.event == EXPOSURE:
            weights = (exposed & chosen).astype(np.float64)
        elif column.event == CLICK:
            weights = np.where(chosen, self._valued(column, clicks), 0.0)
        else:
            raise EvidenceError(f"there are no events {column.event!r} here; there are {CLICK!r} and {EXPOSURE!r}")
        totals: Floats = np.asarray(np.bincount(users, weights, minlength=len(self._first)), dtype=np.float64)
        return np.minimum(totals, 1.0) if column.aggregate is Aggregate.ANY else totals

    @staticmethod
    def _valued(column: Column, clicks: Floats) -> Floats:
        # A click is an event of value 1: their sum and their count are the same.
        return np.minimum(clicks, 1.0) if column.aggregate is Aggregate.ANY else clicks

    def _all(self) -> tuple[Floats, Ints, Floats, npt.NDArray[np.bool_]]:
        if len(self._times) > 1:
            self._times, self._users = [np.concatenate(self._times)], [np.concatenate(self._users)]
            self._clicks, self._exposed = [np.concatenate(self._clicks)], [np.concatenate(self._exposed)]
        return self._times[0], self._users[0], self._clicks[0], self._exposed[0]
