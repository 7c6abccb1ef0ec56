"""What an experiment can see, before it starts: the detectable effect by day, and the days that a wanted effect needs.

Power is the chance that the analysis excludes "no effect" at one of the daily looks. It is computed, not simulated:
z at day d is a normal walk with known information, and `spending.crossing_chance` integrates it against each
method's bounds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, sqrt

from scipy.optimize import brentq
from scipy.special import ndtri

from serving.rollout.statistics.sequence import bound, tuning
from serving.rollout.statistics.spending import Look, Spending, bounds, crossing_chance


class PlanError(ValueError):
    """Numbers that no plan can be made from; names each of them."""


class Method(StrEnum):
    """When an experiment may be read: at any look, at planned looks, or once at the end."""

    ALWAYS_VALID = "always-valid"
    GROUP_SEQUENTIAL = "group-sequential"
    FIXED_HORIZON = "fixed-horizon"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Who takes part.

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
        if not self.cv > 0 or not -1 < self.correlation < 1:
            raise PlanError(
                f"cv is {self.cv} and correlation {self.correlation}; expected a standard deviation over mean above 0 "
                "and a correlation between -1 and 1"
            )

    @property
    def cv_left(self) -> float:
        """The coefficient of variation after CUPED."""
        return self.cv * sqrt(1 - self.correlation**2)


def detectable(traffic: Traffic, spread: Spread, days: int, *, alpha: float, power: float, method: Method) -> float:
    """The smallest relative effect that is found within `days` with chance `power`.

    Raises:
        PlanError: days beyond the traffic's, alpha or power outside (0, 1).
    """
    if not 1 <= days <= len(traffic.users) or not 0 < alpha < 1 or not alpha < power < 1:
        raise PlanError(
            f"days is {days}, alpha {alpha}, power {power}; expected 1 to {len(traffic.users)} days, alpha in (0, 1), "
            "and a power above alpha and below 1"
        )
    looks = _looks(traffic, days, alpha, method)
    drift = brentq(lambda z: crossing_chance(looks, z) - power, 0.0, 40.0, xtol=1e-6)
    return float(drift) * spread.cv_left * sqrt(2 / traffic.informative(days))


def days_needed(
    traffic: Traffic, spread: Spread, wanted: float, *, alpha: float, power: float, method: Method
) -> int | None:
    """The first day by which the relative effect `wanted` is found with chance `power`; None if it never is."""
    days = range(1, len(traffic.users) + 1)

    def seen(day: int) -> bool:
        return detectable(traffic, spread, day, alpha=alpha, power=power, method=method) <= abs(wanted)

    first = bisect_left(days, True, key=seen)  # more users never see less
    return days[first] if first < len(days) else None


def users_needed(spread: Spread, wanted: float, *, alpha: float, power: float) -> float:
    """Users per arm of an even split for one look at the end: 2 (z + z)^2 CV^2 / d^2 (Kohavi, Tang, Xu 2020)."""
    if wanted == 0:
        return inf
    return float(2 * (ndtri(1 - alpha / 2) + ndtri(power)) ** 2 * spread.cv_left**2 / wanted**2)


def cost_of_shares(stable: float, candidate: float) -> float:
    """How many times the users of an even split these shares need for the same interval."""
    return (1 / stable + 1 / candidate) / 4


def _looks(traffic: Traffic, days: int, alpha: float, method: Method) -> Sequence[Look]:
    information = [traffic.informative(day) for day in range(1, days + 1)]
    growing = [n for n, before in zip(information, [0.0, *information], strict=False) if n > before]
    shares = [n / growing[-1] for n in growing]
    if method is Method.FIXED_HORIZON:
        return bounds([1.0], alpha=alpha, spending=Spending.OBRIEN_FLEMING)
    if method is Method.GROUP_SEQUENTIAL:
        return bounds(shares, alpha=alpha, spending=Spending.OBRIEN_FLEMING)
    rho = tuning(growing[-1], alpha)
    return [Look(share, bound(n, alpha=alpha, rho=rho), alpha) for share, n in zip(shares, growing, strict=True)]
