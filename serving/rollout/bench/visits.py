"""A month of a service: users who come back or do not, by day of the week and hour, each with own views and clicks.

The same visits are read in two ways: by user, as an experiment does, and by request, as threshold rules do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.rollout.bench.population import COLUMNS, WEEK
from serving.rollout.bench.running import PAIRS, Floats, Sums, Whole

DAYS = 28
HOURS = 24 * DAYS
WINDOW = 24
"""Hours of the attribution window."""
BEFORE = 14
"""Days before, for the covariate."""
SHARES = (0.01, 0.05, 0.25, 0.5)
"""Each arm's share of users, an hour each, the last one to the end: the spec's default schedule."""

_HOURS = np.exp(0.8 * np.sin(np.arange(24) * 2 * np.pi / 24 - 2.0))


@dataclass(frozen=True, slots=True)
class Month:
    """Visits of one month: [visits] each, and users' numbers from before it, [users] each.

    Attributes:
        user, hour: who came, and when (0 to HOURS - 1).
        views, chance: views of the visit, and the chance of a click on each.
        clicks: clicks on stable.
        lane, offset: the user's arm (1: candidate) and place in its lane, 0 to 0.5.
        clicks_before, views_before: of BEFORE days.
    """

    user: Whole
    hour: Whole
    views: Whole
    chance: Floats
    clicks: Whole
    lane: Whole
    offset: Floats
    clicks_before: Whole
    views_before: Whole

    @classmethod
    def draw(cls, draw: np.random.Generator, users: int) -> Month:
        """A month of a service with so many users, some of whom never come."""
        comes = draw.beta(0.5, 2.5, users)
        taste = draw.lognormal(0.0, 1.0, users)
        chance = np.minimum(0.1 * draw.lognormal(0.0, 0.5, users) * np.where(draw.random(users) < 0.3, 0.1, 1.0), 0.45)
        user, day = np.nonzero(draw.random((users, DAYS)) < comes[:, None] * WEEK[np.arange(DAYS) % 7] / WEEK.max())
        hour = 24 * day + draw.choice(24, len(user), p=_HOURS / _HOURS.sum())
        views = 1 + draw.poisson(5 * taste[user] * WEEK[day % 7])
        came_before = draw.binomial(BEFORE, comes)
        views_before = came_before + draw.poisson(5 * taste * came_before)
        return cls(
            user,
            hour,
            views,
            chance[user],
            draw.binomial(views, chance[user]),
            draw.integers(0, 2, users),
            0.5 * draw.random(users),
            draw.binomial(views_before, chance),
            views_before,
        )

    def candidate_clicks(self, draw: np.random.Generator, effect: float) -> Whole:
        """Clicks of the same visits on a candidate whose clicks are `effect` more likely: the same views, thinned."""
        if effect <= 0:
            return draw.binomial(self.clicks, 1 + effect)
        more = self.chance * effect / (1 - self.chance)
        return self.clicks + draw.binomial(self.views - self.clicks, more)

    def first(self) -> Whole:
        """Hour of each user's first exposure; HOURS for those who are never enrolled."""
        opens = np.searchsorted(SHARES, self.offset, side="right")
        first = np.full(len(self.offset), HOURS)
        enrolled = self.hour >= opens[self.user]
        np.minimum.at(first, self.user[enrolled], self.hour[enrolled])
        return first

    def arms(self, candidate_clicks: Whole) -> tuple[Sums, Sums]:
        """What the experiment's looks see at the end of each hour, as one run: stable, candidate."""
        first = self.first()
        inside = (self.hour >= first[self.user]) & (self.hour < first[self.user] + WINDOW)
        clicks = np.where(self.lane[self.user] == 1, candidate_clicks, self.clicks)
        numbers = np.stack(
            [
                np.bincount(self.user[inside], clicks[inside], minlength=len(first)),
                np.bincount(self.user[inside], self.views[inside], minlength=len(first)),
                self.clicks_before,
                self.views_before,
            ],
            axis=1,
        )
        ready = first + WINDOW
        stable, candidate = (_by_hour(numbers, ready, (self.lane == lane) & (ready <= HOURS)) for lane in (0, 1))
        return stable, candidate

    def requests(self) -> tuple[Floats, Floats]:
        """Views of each hour, and clicks expected on them if stable answers all: float64 [HOURS] each."""
        views = np.bincount(self.hour, self.views, minlength=HOURS)
        clicks = np.bincount(self.hour, self.views * self.chance, minlength=HOURS)
        return views.astype(np.float64), clicks.astype(np.float64)

    def seen(self) -> Whole:
        """Distinct users who came by the end of each hour, [HOURS]."""
        first = np.full(len(self.offset), HOURS)
        np.minimum.at(first, self.user, self.hour)
        return np.bincount(first, minlength=HOURS + 1)[:HOURS].cumsum()


def _by_hour(numbers: Floats, ready: Whole, members: npt.NDArray[np.bool_]) -> Sums:
    hours, own = ready[members] - 1, numbers[members]
    users = np.bincount(hours, minlength=HOURS).cumsum()
    sums = [np.bincount(hours, own[:, place], minlength=HOURS).cumsum() for place in range(len(COLUMNS))]
    products = [np.bincount(hours, own[:, a] * own[:, b], minlength=HOURS).cumsum() for a, b in PAIRS]
    return Sums(users[None], np.stack(sums, axis=-1)[None], np.stack(products, axis=-1)[None])


def stacked(parts: list[Sums]) -> Sums:
    """Runs beside one another."""
    return Sums(
        np.concatenate([part.users for part in parts]),
        np.concatenate([part.sums for part in parts]),
        np.concatenate([part.products for part in parts]),
    )
