"""Users whose taste is known, and when they come: what an experiment is replayed on.

The taste is the demo's (`training.demo.world`): a user of a segment likes some things and some settings. A visit is one
ranking: candidates are drawn from the catalogue, the best few are seen, and each is clicked with the probability that
the taste gives. How often a user comes is log-normal (some come a lot), more at weekends. Everything that is random
about a visit is drawn beforehand, so that two arms differ by their order of the candidates and by nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.synthetic import sigmoid
from training.demo.world import BIAS, ITEM_SD, LIKE, SEGMENTS, USER_SD

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CANDIDATES = 20
SEEN = 15
"""Places of the ranking that a user looks at: most of them, so that no order of the candidates changes everything."""
DAY = 86_400.0
RATE = 0.35
"""Median visits a day."""
RATE_SIGMA = 0.7
WEEKEND = 1.5
"""Visits on a Saturday or Sunday, over those of another day."""


@dataclass(frozen=True, slots=True)
class Users:
    """People. `persona` int64 [users] says whose row of a score table is theirs, `segment` int64 [users] what they
    like, `person` float64 [users] how readily they click.
    """

    ids: tuple[str, ...]
    persona: Ints
    segment: Ints
    person: Floats


@dataclass(frozen=True, slots=True)
class Visits:
    """Visits in the order of time: `time` float64 [visits] in seconds since the experiment's start (negative before),
    `user` int64 [visits], `candidates` int64 [visits, CANDIDATES] places in the catalogue, `luck` float64 [visits,
    SEEN].
    """

    time: Floats
    user: Ints
    candidates: Ints
    luck: Floats

    def between(self, start: float, end: float) -> slice:
        """The visits from `start` to before `end`."""
        first, last = np.searchsorted(self.time, [start, end])
        return slice(int(first), int(last))


@dataclass(frozen=True, slots=True)
class Taste:
    """What clicks come from: `likes` float64 [segments, items], `appeal` float64 [items]."""

    likes: Floats
    appeal: Floats

    def clicks(self, users: Users, visits: Visits, which: slice, shown: Ints) -> Ints:
        """Clicks int64 [n] of the visits `which`, of which items `shown` [n, SEEN] were seen."""
        who = visits.user[which]
        odds = (
            BIAS
            + users.person[who][:, None]
            + self.appeal[shown]
            + LIKE * self.likes[users.segment[who][:, None], shown]
        )
        clicked: Ints = (visits.luck[which] < sigmoid(odds)).sum(axis=1)
        return clicked


def draw_taste(seed: int, likes: Floats) -> Taste:
    """The items' own appeal beside what segments like."""
    return Taste(likes, np.random.default_rng(seed).normal(0.0, ITEM_SD, likes.shape[1]))


def draw_users(seed: int, count: int, personas: int, prefix: str) -> Users:
    """People, each like one of `personas`; persona p is of segment p modulo the number of segments."""
    rng = np.random.default_rng([seed, 1])
    persona = rng.permutation(np.arange(count) % personas)
    ids = tuple(f"{prefix}{number:05d}" for number in range(count))
    return Users(ids, persona, persona % len(SEGMENTS), rng.normal(0.0, USER_SD, count))


def draw_visits(seed: int, users: int, items: int, *, before_days: int, days: int) -> Visits:
    """Visits from `before_days` before the experiment, which starts on a Monday, to its day `days`."""
    rng = np.random.default_rng([seed, 2])
    rate = RATE * np.exp(rng.normal(0.0, RATE_SIGMA, users))
    weight = np.where(np.arange(-before_days, days) % 7 >= 5, WEEKEND, 1.0)
    count = rng.poisson(rate[:, None] * weight[None, :])
    user, day = (np.repeat(axis.ravel(), count.ravel()) for axis in np.indices(count.shape))
    time = (day - before_days + rng.random(len(day))) * DAY
    order = np.argsort(time, kind="stable")
    visits = len(order)
    candidates = np.argpartition(rng.random((visits, items)), CANDIDATES, axis=1)[:, :CANDIDATES]
    return Visits(time[order], user[order], candidates, rng.random((visits, SEEN)))
