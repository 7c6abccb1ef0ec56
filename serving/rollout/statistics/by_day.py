"""Whether the effect differs by day of the week, or moves with the day of first exposure: tests that may be claimed by.

A day's number is what its candidate users did more than one common relative effect allows:
`candidate - (1 + r) * stable`, with r that of all days, over its own standard error. No day is divided by its own
stable value, so days of few users, of nobody who converted or of everybody who did are numbers like others; and a sum
divided by the error from the same users has tails no heavier than a normal one's where both arms are alike (Efron,
"Student's t-test under symmetry conditions", JASA 1969), which the difference of logarithms has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from math import erfc, sqrt
from operator import add

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from serving.rollout.statistics.effect import ArmValue, EffectError, Metric, Ratio, effect
from serving.rollout.statistics.moments import Moments

Floats = npt.NDArray[np.float64]

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WEEK = 7
LEAST_WEEKS = 2
"""Whole weeks below which nothing is claimed: with one of them a Saturday is a single day."""
LEAST_DAYS = 10
"""Days with enough users below which nothing is claimed, some of the weeks' days being left out."""
LEAST_USERS = 20
"""Users of each arm below which a day is left out."""
CLAIM = 0.01
"""A claim's p-value is at most this. There are two, and a report is read again as weeks go by."""

_BORROWED = 20  # users' worth of all days' variance in each day's own: none is 0 because few users were alike


@dataclass(frozen=True, slots=True)
class Day:
    """Users first exposed on a day."""

    day: date
    stable: Moments
    candidate: Moments


@dataclass(frozen=True, slots=True)
class Trend:
    """How the effect moves from one day of first exposure to the next.

    Attributes:
        slope: change of the effect a day, in units of stable's value over all days; None where that is 0.
        p_value: chance of a slope as steep without a trend.
        days: how many it rests on.
    """

    slope: float | None
    p_value: float
    days: int


def by_weekday(days: Sequence[Day]) -> tuple[tuple[str, Moments, Moments], ...]:
    """Name, stable and candidate of each day of the week that is there, Monday first."""
    found = []
    for place, name in enumerate(WEEKDAYS):
        same = [each for each in days if each.day.weekday() == place]
        if same:
            found.append((name, *_sums(same)))
    return tuple(found)


def whole_weeks(value: Ratio, days: Sequence[Day]) -> tuple[Day, ...]:
    """Those days that tests may use, ordered: of whole weeks since the first one, with enough users in each arm.

    A day on which the value cannot be computed, as its denominator is 0 in an arm, is left out as well.

    Raises:
        EffectError: fewer than LEAST_WEEKS weeks, or than LEAST_DAYS days; the message says how many days there are.
    """
    used = sorted((each for each in days if _usable(value, each)), key=lambda each: each.day)
    weeks = ((used[-1].day - used[0].day).days + 1) // WEEK if used else 0
    if weeks < LEAST_WEEKS or len(used) < LEAST_DAYS:
        raise EffectError(
            f"days are compared from {LEAST_WEEKS} whole weeks on, with {LEAST_DAYS} days or more of at least "
            f"{LEAST_USERS} users in each arm whose window has closed; there are {len(used)} such days in {weeks} "
            "whole weeks"
        )
    return tuple(each for each in used if (each.day - used[0].day).days < weeks * WEEK)


def trend(metric: Metric, days: Sequence[Day]) -> Trend:
    """Whether the effect fades or grows: the slope of a line through the days' numbers, and its z test.

    Days weigh as their users: with the inverse of variances a day whose users happened to do little would look precise.

    Args:
        days: of `whole_weeks`, so that no day of the week lies more at one end than at the other.

    Raises:
        EffectError: nothing varies, or a day cannot be computed.
    """
    numbers = _numbers(metric, days)
    lever = _lever(numbers, days)
    slope = float(lever @ numbers.more)
    error = sqrt(float(lever**2 @ numbers.variance))
    in_stable = slope / abs(numbers.stable) if numbers.stable else None
    return Trend(in_stable, erfc(abs(slope) / error / sqrt(2)), len(days))


def weekdays_alike(metric: Metric, days: Sequence[Day]) -> float:
    """The p-value of "the effect is the same on every day of the week", whether or not it also fades.

    Args:
        days: of `whole_weeks`.

    Raises:
        EffectError: a day of the week that is not there LEAST_WEEKS times, or as `trend`.
    """
    places = np.array([each.day.weekday() for each in days])
    for place, name in enumerate(WEEKDAYS):
        times = int(np.count_nonzero(places == place))
        if times < LEAST_WEEKS:
            raise EffectError(f"days of the week are compared where each is there {LEAST_WEEKS} times; {name}: {times}")
    numbers = _numbers(metric, days)
    left = numbers.more - float(_lever(numbers, days) @ numbers.more) * _places(numbers, days)
    share = np.stack([np.where(places == place, numbers.users, 0.0) for place in range(WEEK)])
    share /= share.sum(axis=1, keepdims=True)
    more, variance = share @ left, share**2 @ numbers.variance
    more -= np.average(more, weights=1 / variance)
    return float(chi2.sf(float((more**2 / variance).sum()), WEEK - 1))


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What candidates did more, its variance, and users, float64 [days] each; stable's value over all days."""

    more: Floats
    variance: Floats
    users: Floats
    stable: float


def _numbers(metric: Metric, days: Sequence[Day]) -> _Numbers:
    total = effect(metric, *_sums(days))
    times = total.candidate.value / total.stable.value if total.stable.value else 1.0
    found = [effect(metric, each.stable, each.candidate) for each in days]
    stable, candidate = [each.stable for each in found], [each.candidate for each in found]
    variance = _variances(candidate) + times**2 * _variances(stable)
    if not (variance > 0).all():
        raise EffectError("all users have the same number; days cannot be compared")
    more = np.array([each.candidate.value - times * each.stable.value for each in found])
    users = np.array([float(each.users) for each in found])
    return _Numbers(more - np.average(more, weights=users), variance, users, total.stable.value)


def _lever(numbers: _Numbers, days: Sequence[Day]) -> Floats:
    """Weights of the days' numbers in the slope of a line through them, days weighed by their users: float64 [days]."""
    place = _places(numbers, days)
    lever: Floats = numbers.users * place
    return lever / float(lever @ place)


def _places(numbers: _Numbers, days: Sequence[Day]) -> Floats:
    """Days since the one in the middle of the users: float64 [days]."""
    place = np.array([float((each.day - days[0].day).days) for each in days])
    centred: Floats = place - np.average(place, weights=numbers.users)
    return centred


def _sums(days: Sequence[Day]) -> tuple[Moments, Moments]:
    return reduce(add, (each.stable for each in days)), reduce(add, (each.candidate for each in days))


def _variances(values: Sequence[ArmValue]) -> Floats:
    """Variance of each day's value, a little drawn towards that of all days: float64 [days]."""
    users = np.array([float(each.users) for each in values])
    each_user = np.array([each.variance * each.users for each in values])
    shared = float(np.average(each_user, weights=users))
    drawn: Floats = (each_user * users + shared * _BORROWED) / (users + _BORROWED) / users
    return drawn


def _usable(value: Ratio, day: Day) -> bool:
    if min(day.stable.count, day.candidate.count) < LEAST_USERS:
        return False
    try:
        effect(Metric(value), day.stable, day.candidate)
    except EffectError:
        return False
    return True
