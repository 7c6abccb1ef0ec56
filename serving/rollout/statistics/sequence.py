"""Intervals that stay valid however often they are looked at.

Asymptotic confidence sequences of Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory
and asymptotic confidence sequences" (Annals of Statistics 2024, arXiv 2103.06476): equation (5) two-sided, and the
one-sided boundary of its appendix B. With a standard error `se` from `n` users, the sample deviation of the paper
is `se * sqrt(n)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, sqrt

from scipy.special import lambertw


class SequenceError(ValueError):
    """A level or a number of users that no interval exists for."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Closed; an end may be infinite."""

    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside."""
        return value < self.low or value > self.high


def tuning(users: float, alpha: float) -> float:
    """The rho that makes the two-sided sequence tightest at `users` (the paper's appendix B.2, with Lambert's W).

    Raises:
        SequenceError: users not above 0, or alpha outside (0, 1).
    """
    _check(users, alpha)
    return sqrt((-float(lambertw(-(alpha**2) * exp(-1), -1).real) - 1) / users)


def always_valid(estimate: float, se: float, users: int, *, alpha: float, rho: float) -> Interval:
    """The two-sided confidence sequence at this moment, of a difference. For a relative effect see `Effect.interval`.

    Args:
        users: users of all arms so far; `se` is the standard error from them.
        alpha: chance that the truth is ever outside.
        rho: see `tuning`; fixed before the first look.
    """
    half = se * bound(users, alpha=alpha, rho=rho)
    return Interval(estimate - half, estimate + half)


def always_valid_lower(estimate: float, se: float, users: int, *, alpha: float, rho: float) -> Interval:
    """The one-sided sequence: the truth is ever below `low` with a chance of at most alpha."""
    return Interval(estimate - se * one_sided_bound(users, alpha=alpha, rho=rho), inf)


def bound(users: float, *, alpha: float, rho: float) -> float:
    """Half-width of the two-sided sequence in standard errors."""
    _check(users, alpha)
    time = users * rho**2
    return sqrt(2 * (time + 1) / time * log(sqrt(time + 1) / alpha))


def one_sided_bound(users: float, *, alpha: float, rho: float) -> float:
    """Distance of the one-sided sequence's end from the estimate, in standard errors."""
    _check(users, alpha)
    time = users * rho**2
    return sqrt(2 * (time + 1) / time * log(1 + sqrt(time + 1) / (2 * alpha)))


def _check(users: float, alpha: float) -> None:
    if not users > 0 or not 0 < alpha < 1:
        raise SequenceError(f"users is {users} and alpha {alpha}; expected users above 0 and alpha between 0 and 1")
