"""What past visits say of a future experiment: how users spread in the metric, and how fast new ones appear.

The history is taken for an experiment that began on one of its days: each user's number is what follows the first
visit from then on, the covariate what came before it. So a plan rests on the very numbers the analysis will see.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from serving.rollout.statistics.effect import Metric, Ratio, effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.plan import PlanError, Spread
from serving.rollout.statistics.ramp import Reach
from serving.rollout.statistics.winsor import CapRule, Caps

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Visits:
    """One row per user and day on which the user came: [rows] each.

    Attributes:
        users: any whole number that names the user.
        days: the day, a whole number.
        values: the metric of that day, or its numerator.
        denominators: the denominator of a ratio; None: the metric is a mean per user.
    """

    users: Whole
    days: Whole
    values: Floats
    denominators: Floats | None = None

    def __post_init__(self) -> None:
        columns = {"users": self.users, "days": self.days, "values": self.values, "denominators": self.denominators}
        shapes = {name: column.shape for name, column in columns.items() if column is not None}
        if len(set(shapes.values())) != 1 or self.users.ndim != 1 or not len(self.users):
            raise PlanError(f"columns of the history have shapes {shapes}; expected one row per user and day in each")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a history says.

    Attributes:
        reach: distinct users within 1, 2, 3... days.
        spread: of the metric over users, and its correlation with the pre-period.
        value: the metric's value.
        users: users whose window closes within the history: what spread and value come from.
        capped: how many of them were beyond the caps.
    """

    reach: Reach
    spread: Spread
    value: float
    users: int
    capped: int = 0


def measure(visits: Visits, *, window_days: int, before_days: int, cap: CapRule | None = None) -> Measured:
    """Measure a history.

    Args:
        visits: rows of at least `before_days + window_days` days.
        window_days: whole days of the attribution window, the day of the first visit included.
        before_days: whole days before the first visit that the covariate sums; 0: no covariate.
        cap: cap each user's numbers, and those from before, by quantiles of theirs.

    Raises:
        PlanError: a history too short, fewer than two users in it, a metric that is 0 or the same for all.
    """
    first, last = int(visits.days.min()), int(visits.days.max())
    start = first + before_days
    if window_days < 1 or before_days < 0 or last - start + 1 < window_days:
        raise PlanError(
            f"the history has {last - first + 1} days; expected at least {before_days} before the first visit and "
            f"{window_days} of the window, at least 0 and 1"
        )
    names, user = np.unique(visits.users, return_inverse=True)
    arrival = _arrivals(user, visits.days, start, len(names))
    reach = np.bincount(arrival[arrival <= last] - start, minlength=last - start + 1).cumsum()
    mature = arrival + window_days - 1 <= last
    columns = _columns(visits, user, arrival, window_days, before_days)
    kept, capped = _capped({name: column[mature] for name, column in columns.items()}, cap)
    spread, value = _spread(kept, int(mature.sum()), ratio=visits.denominators is not None)
    return Measured(Reach(tuple(float(count) for count in reach)), spread, value, int(mature.sum()), capped)


def _arrivals(user: Whole, days: Whole, start: int, users: int) -> Whole:
    """Each user's first day from `start` on; far away for those who came only before."""
    arrival = np.full(users, np.iinfo(np.int64).max // 2)
    later = days >= start
    np.minimum.at(arrival, user[later], days[later])
    return arrival


def _columns(visits: Visits, user: Whole, arrival: Whole, window_days: int, before_days: int) -> dict[str, Floats]:
    """Each user's sums from the first visit on and from before it."""
    since = visits.days - arrival[user]
    spans = {"": (since >= 0) & (since < window_days), "_before": (since < 0) & (since >= -before_days)}
    parts = {"value": visits.values} | ({} if visits.denominators is None else {"base": visits.denominators})
    return {
        name + suffix: np.bincount(user[rows], part[rows], minlength=len(arrival)).astype(np.float64)
        for name, part in parts.items()
        for suffix, rows in spans.items()
        if suffix == "" or before_days
    }


def _capped(columns: dict[str, Floats], rule: CapRule | None) -> tuple[dict[str, Floats], int]:
    if rule is None or not len(columns["value"]):
        return columns, 0
    kept, beyond = Caps.learned(columns, dict.fromkeys(columns, rule)).apply(columns)
    return kept, beyond.get("value", 0)


def _spread(columns: dict[str, Floats], users: int, *, ratio: bool) -> tuple[Spread, float]:
    if users < 2:
        raise PlanError(f"{users} users have a closed window within the history; expected at least 2: give more days")
    base = "base" if ratio else None
    moments = Moments.of(columns)
    plain = effect(Metric(Ratio("value", base)), moments, moments)
    value, variance = plain.stable.value, plain.stable.variance * users
    if not value > 0 or not variance > 0:
        raise PlanError(f"the metric is {value} with variance {variance} over users; expected both above 0")
    left = 1.0
    if _usable(columns, ratio=ratio):
        before = Ratio("value_before", "base_before" if ratio else None)
        left = effect(Metric(Ratio("value", base), before), moments, moments).variance_left
    return Spread(sqrt(variance) / value, min(sqrt(max(1 - left, 0.0)), 1 - 1e-9)), value


def _usable(columns: dict[str, Floats], *, ratio: bool) -> bool:
    """Whether there is a covariate: a pre-period in which anything happened."""
    return "value_before" in columns and (not ratio or bool(columns["base_before"].mean() > 0))
