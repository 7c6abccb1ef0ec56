"""How often a report claims by its days what is not there, and what is: A/A tests and effects that differ by day."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from serving.rollout.bench.chance import Chance
from serving.rollout.bench.population import COLUMNS, Floats, Population
from serving.rollout.statistics.by_day import CLAIM, Day, trend, weekdays_alike, whole_weeks
from serving.rollout.statistics.effect import Metric, Ratio
from serving.rollout.statistics.moments import Moments

METRIC = Metric(Ratio("clicks"))
DAYS = 28
WEEKS = (2, 3, 4)
"""A report is read when each of them is over."""
_MONDAY = date(2026, 3, 2)


def claims(
    draw: np.random.Generator,
    runs: int,
    *,
    users: int,
    population: Population | None,
    lifts: Floats,
    differ: bool,
) -> list[Chance]:
    """Experiments with so many new users a day, both arms together, and a lift per day: float64 [DAYS].

    Args:
        population: None: users who convert or do not, one in twenty.
        differ: whether the lifts do, so that a claim is right.
    """
    most = 1.0 if differ else 0.05
    seen = np.array([_claimed(draw, users, population, lifts) for _ in range(runs)])  # [runs, weeks, claims]
    found = [
        Chance.of(f"{what}, read once, after {weeks} weeks", seen[:, at, place], most=most)
        for at, weeks in enumerate(WEEKS)
        for place, what in enumerate(("it fades or grows", "days of the week differ"))
    ]
    return [*found, Chance.of("either, in any of the three readings", seen.any(axis=(1, 2)), most=most)]


def _claimed(
    draw: np.random.Generator, users: int, population: Population | None, lifts: Floats
) -> list[tuple[bool, bool]]:
    days = [
        Day(
            _MONDAY + timedelta(days=at),
            _arm(draw, users // 2, population, at, 0.0),
            _arm(draw, int(draw.binomial(users, 0.5)), population, at, float(lift)),
        )
        for at, lift in enumerate(lifts)
    ]
    found = []
    for weeks in WEEKS:
        used = whole_weeks(METRIC.value, days[: 7 * weeks])
        found.append((trend(METRIC, used).p_value <= CLAIM, weekdays_alike(METRIC, used) <= CLAIM))
    return found


def _arm(draw: np.random.Generator, users: int, population: Population | None, day: int, lift: float) -> Moments:
    if population is None:
        clicks = (draw.random(users) < 0.05 * (1 + lift)).astype(np.float64)
    else:
        clicks = (1 + lift) * population.draw(draw, np.full(users, day))[:, COLUMNS.index("clicks")]
    return Moments.of({"clicks": clicks})
