"""What an experiment can see, before it starts: the detectable effect by day, and the days that a wanted effect needs.

Power is the chance that the analysis excludes "no effect" at one of the daily looks. It is computed, not simulated:
z at day d is a normal walk with known information, and `spending.crossing_chance` integrates it against each
method's bounds. An experiment that is looked at more often than daily finds the same effects a little earlier.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, sqrt
from typing import Protocol

from scipy.optimize import brentq
from scipy.special import ndtri

from serving.rollout.statistics.sequence import bound, tuning
from serving.rollout.statistics.spending import Look, Spending, bounds, crossing_chance

DAILY, WEEKLY = 28, 84
"""Looks are daily up to the first day, weekly up to the second, then every four weeks."""
LEAST_CV, MOST_CV = 1e-6, 1e6
"""Standard deviation over mean: beyond, a mean is a typing error, and squares leave the range of numbers."""
_LEAST_STEP = 1e-4  # of all information: less is no look of its own


class PlanError(ValueError):
    """Numbers that no plan can be made from; names each of them."""


class Method(StrEnum):
    """When an experiment may be read: at any look, at planned looks, or once at the end."""

    ALWAYS_VALID = "always-valid"
    GROUP_SEQUENTIAL = "group-sequential"
    FIXED_HORIZON = "fixed-horizon"


class Information(Protocol):
    """Whom an experiment can compare by which day."""

    @property
    def days(self) -> int:
        """Days that are known."""

    def informative(self, day: int) -> float:
        """Users per arm of an even split that would tell as much as those of the first `day` days (from 1)."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Who takes part, at shares that stay as they are.

    Attributes:
        users: distinct users seen up to and including each day, both arms and everybody outside together.
        stable, candidate: the arms' shares of them, above 0, at most 1 together.
    """

    users: tuple[int, ...]
    stable: float
    candidate: float

    def __post_init__(self) -> None:
        rising = all(0 < a <= b for a, b in zip(self.users, self.users[1:], strict=False))
        shares = self.stable > 0 and self.candidate > 0 and self.stable + self.candidate <= 1 + 1e-9
        if not self.users or self.users[0] <= 0 or not rising or not shares:
            raise PlanError(
                f"users by day {list(self.users)}, shares {self.stable} and {self.candidate}; expected users "
                "that never fall from one day to the next, and two shares above 0 that are at most 1 together"
            )

    @property
    def days(self) -> int:
        """Days that are known."""
        return len(self.users)

    def informative(self, day: int) -> float:
        """Users per arm of an even split that would tell as much as these after `day` days (from 1)."""
        total = self.users[day - 1]
        return 2 * total / (1 / self.stable + 1 / self.candidate)


@dataclass(frozen=True, slots=True)
class Spread:
    """How users differ in the metric: standard deviation over mean, and correlation with the pre-period."""

    cv: float
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not LEAST_CV <= self.cv <= MOST_CV or not -1 < self.correlation < 1:
            raise PlanError(
                f"cv is {self.cv} and correlation {self.correlation}; expected a standard deviation over mean above 0 "
                f"({LEAST_CV:g} to {MOST_CV:g}) and a correlation between -1 and 1"
            )

    @classmethod
    def of(cls, mean: float, deviation: float, correlation: float = 0.0) -> Spread:
        """From the metric's mean and standard deviation per user. Raises PlanError."""
        if not mean > 0:
            raise PlanError(f"mean is {mean}; expected one above 0: effects are relative to it")
        return cls(deviation / mean, correlation)

    @classmethod
    def of_rate(cls, rate: float, correlation: float = 0.0) -> Spread:
        """Of a metric that is 1 for this share of the users and 0 for the others. Raises PlanError."""
        if not 0 < rate < 1:
            raise PlanError(f"rate is {rate}; expected a share of users between 0 and 1")
        return cls(sqrt((1 - rate) / rate), correlation)

    @property
    def cv_left(self) -> float:
        """The coefficient of variation after CUPED."""
        return self.cv * sqrt(1 - self.correlation**2)


@dataclass(frozen=True, slots=True)
class Reading:
    """How an experiment is read.

    Attributes:
        alpha: chance to call a difference where there is none.
        power: chance to find the effect.
        first_day: looks before this day do not count, for instance because no win is called before.
        looks: planned looks at equal steps of users, for `group-sequential`; None: one a day.
    """

    method: Method = Method.ALWAYS_VALID
    alpha: float = 0.05
    power: float = 0.8
    first_day: int = 1
    looks: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < self.power < 1 or self.first_day < 1 or (self.looks is not None and self.looks < 1):
            raise PlanError(
                f"alpha is {self.alpha}, power {self.power}, first day {self.first_day}, looks {self.looks}; expected "
                "alpha in (0, 1), a power above alpha and below 1, a first day and looks of at least 1"
            )


def detectable(traffic: Information, spread: Spread, days: int, *, alpha: float, power: float, method: Method) -> float:
    """The smallest relative effect that is found within `days` with chance `power`, looked at daily.

    Raises:
        PlanError: days beyond the traffic's, alpha or power outside (0, 1).
    """
    return drift(traffic, days, Reading(method, alpha, power)) * scale(traffic, spread, days)


def drift(traffic: Information, days: int, reading: Reading) -> float:
    """The mean that z must have after `days` for an effect to be found with the wanted power.

    Infinite while nobody can be compared, or before the first day that counts. Raises PlanError.
    """
    if not 1 <= days <= traffic.days:
        raise PlanError(f"days is {days}; expected 1 to {traffic.days} days")
    if days < reading.first_day or not traffic.informative(days) > 0:
        return inf
    looks = _looks(traffic, days, reading)
    return float(brentq(lambda z: crossing_chance(looks, z) - reading.power, 0.0, 60.0, xtol=1e-5))


def scale(traffic: Information, spread: Spread, days: int) -> float:
    """The standard error of a relative effect after `days`; infinite while nobody can be compared."""
    users = traffic.informative(days)
    return spread.cv_left * sqrt(2 / users) if users > 0 else inf


def days_needed(
    traffic: Information, spread: Spread, wanted: float, *, alpha: float, power: float, method: Method
) -> int | None:
    """The first day by which the relative effect `wanted` is found with chance `power`; None if it never is."""
    return first_day(traffic, spread, wanted, Reading(method, alpha, power))


def first_day(traffic: Information, spread: Spread, wanted: float, reading: Reading) -> int | None:
    """The first day by which the relative effect `wanted` is found; None if it is not within the traffic's days."""
    days = range(1, traffic.days + 1)

    def seen(day: int) -> bool:
        return drift(traffic, day, reading) * scale(traffic, spread, day) <= abs(wanted)

    first = bisect_left(days, True, key=seen)  # more users never see less
    return days[first] if first < len(days) else None


def look_days(first: int, last: int) -> list[int]:
    """The days from `first` to `last` on which a plan looks: fewer as it gets longer, and always the last one."""
    days = [
        day
        for day in range(first, last)
        if day <= DAILY or (day <= WEEKLY and day % 7 == 0) or (day - WEEKLY) % DAILY == 0
    ]
    return [*days, last]


def users_needed(spread: Spread, wanted: float, *, alpha: float, power: float) -> float:
    """Users per arm of an even split for one look at the end: 2 (z + z)^2 CV^2 / d^2 (Kohavi, Tang, Xu 2020)."""
    if wanted == 0:
        return inf
    return float(2 * (ndtri(1 - alpha / 2) + ndtri(power)) ** 2 * spread.cv_left**2 / wanted**2)


def cost_of_shares(stable: float, candidate: float) -> float:
    """How many times the users of an even split these shares need for the same interval."""
    return (1 / stable + 1 / candidate) / 4


def _looks(traffic: Information, days: int, reading: Reading) -> Sequence[Look]:
    alpha = reading.alpha
    if reading.method is Method.FIXED_HORIZON:
        return bounds([1.0], alpha=alpha, spending=Spending.OBRIEN_FLEMING)
    growing = _growing([traffic.informative(day) for day in look_days(reading.first_day, days)])
    shares = [n / growing[-1] for n in growing]
    if reading.method is Method.GROUP_SEQUENTIAL:
        return bounds(_stepped(shares, reading.looks), alpha=alpha, spending=Spending.OBRIEN_FLEMING)
    rho = tuning(growing[-1], alpha)
    return [Look(share, bound(n, alpha=alpha, rho=rho), alpha) for share, n in zip(shares, growing, strict=True)]


def _growing(information: Sequence[float]) -> list[float]:
    """Days that bring too little for a look of their own are left out, the last day never."""
    last, grown = information[-1], [0.0]
    for users in information[:-1]:
        if users - grown[-1] > _LEAST_STEP * last and last - users > _LEAST_STEP * last:
            grown.append(users)
    return [*grown[1:], last]


def _stepped(shares: Sequence[float], looks: int | None) -> list[float]:
    """Of daily shares those at which planned looks at equal steps fall due."""
    if looks is None:
        return list(shares)
    due = [bisect_left(shares, look / looks - 1e-9) for look in range(1, looks + 1)]
    return [shares[place] for place in sorted(set(due))]
