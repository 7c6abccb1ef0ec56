"""How an effect differs: over time (novelty), by day of the week, among users who met what was changed.

Views describe, they decide nothing: each interval here is one that is read once. A group is whatever users are
sorted by: the day of first exposure, the days since it, the day of the week.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from math import erfc, log, sqrt
from operator import add

import numpy as np
from scipy.special import ndtri
from scipy.stats import chi2

from serving.rollout.statistics.effect import ArmValue, Effect, EffectError, Metric, Ratio, compare, effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.sequence import Interval
from serving.rollout.statistics.srm import RatioTest, once

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Group:
    """Users of both arms. `place` is what a trend runs along: days since the experiment began, or since exposure."""

    name: str
    place: float
    stable: Moments
    candidate: Moments


@dataclass(frozen=True, slots=True)
class GroupEffect:
    """A group's effect, and the interval of level 1 - alpha of the relative one, for one reading."""

    group: Group
    effect: Effect
    interval: Interval


@dataclass(frozen=True, slots=True)
class Trend:
    """How the effect moves along the groups' places.

    Attributes:
        slope, slope_se: change of the relative effect for each step of the place, and its standard error.
        p_value: chance of a slope as steep without a trend.
        groups: how many it rests on.
        left_out: names of the groups without a positive value in both arms.
    """

    slope: float
    slope_se: float
    p_value: float
    groups: int
    left_out: tuple[str, ...] = ()


def by_group(metric: Metric, groups: Sequence[Group], *, alpha: float) -> tuple[GroupEffect, ...]:
    """The effect in each group. Raises EffectError, as `effect` does."""
    half = float(ndtri(1 - alpha / 2))
    found = []
    for group in groups:
        own = effect(metric, group.stable, group.candidate)
        found.append(GroupEffect(group, own, own.interval(half)))
    return tuple(found)


def by_weekday(days: Mapping[date, tuple[Moments, Moments]]) -> tuple[Group, ...]:
    """Days (stable, candidate) summed by day of the week, Monday first."""
    found = []
    for place, name in enumerate(WEEKDAYS):
        same = [arms for day, arms in days.items() if day.weekday() == place]
        if same:
            stable, candidate = (reduce(add, (arms[side] for arms in same)) for side in (0, 1))
            found.append(Group(name, place, stable, candidate))
    return tuple(found)


def trend(metric: Metric, groups: Sequence[Group]) -> Trend:
    """Whether the effect fades or grows: a line through the logarithms of candidate over stable.

    Groups weigh as their users, not as the inverse of their variances: with heavy tails a group whose users happened
    to do little would look precise. The slope's error comes from each group's own (a weighted regression with known
    errors; its test is the z test of the slope).

    Raises:
        EffectError: fewer than three groups with positive values, or all at one place.
    """
    effects = by_group(metric, groups, alpha=0.05)
    used = [each for each in effects if each.effect.stable.value > 0 and each.effect.candidate.value > 0]
    if len(used) < 3 or len({each.group.place for each in used}) < 2:
        raise EffectError(f"{len(used)} groups have positive values; a trend needs at least 3, at different places")
    place = np.array([each.group.place for each in used])
    weight = np.array([float(each.effect.users) for each in used])
    change = np.array([log(each.effect.candidate.value / each.effect.stable.value) for each in used])
    error = np.array([_log_error(each.effect) for each in used])
    lever = weight * (place - np.average(place, weights=weight))
    steep = float((lever * place).sum())
    slope, slope_se = float((lever * change).sum()) / steep, sqrt(float(((lever * error) ** 2).sum())) / steep
    left_out = tuple(each.group.name for each in effects if each not in used)
    return Trend(slope, slope_se, erfc(abs(slope) / slope_se / sqrt(2)), len(used), left_out)


def same_everywhere(metric: Metric, groups: Sequence[Group]) -> float:
    """The p-value of "the effect is the same in every group" (Cochran's Q, Biometrics 1954), for days of the week.

    Raises:
        EffectError: fewer than two groups with positive values.
    """
    effects = [each.effect for each in by_group(metric, groups, alpha=0.05)]
    used = [each for each in effects if each.stable.value > 0 and each.candidate.value > 0]
    if len(used) < 2:
        raise EffectError(f"{len(used)} groups have positive values; a comparison needs at least 2")
    change = np.array([log(each.candidate.value / each.stable.value) for each in used])
    weight = np.array([1 / _log_error(each) ** 2 for each in used])
    distance = ((change - np.average(change, weights=weight)) ** 2 * weight).sum()
    return float(chi2.sf(distance, len(used) - 1))


@dataclass(frozen=True, slots=True)
class Triggered:
    """The effect among users who met what was changed, and what it means for all.

    Attributes:
        share: triggered users of all, both arms together.
        triggered: the effect among them.
        diluted: the effect on all users, with users who were not triggered taken to be untouched: they add no noise.
        others: the effect among those: it should be none.
        sizes: whether triggered users are divided 1:1, as the trigger must not depend on the arm.
    """

    share: float
    triggered: Effect
    diluted: Effect
    others: Effect | None
    sizes: RatioTest


def trigger(value: Ratio, everyone: tuple[Moments, Moments], triggered: tuple[Moments, Moments]) -> Triggered:
    """Trigger analysis (Deng, Hu, "Diluted Treatment Effect Estimation for Trigger Analysis", WSDM 2015).

    An arm's diluted value is what it would be if both arms had the same users that were not triggered: those of both
    together, in the share of both together.

    Args:
        value: the metric, without a covariate.
        everyone, triggered: stable and candidate; the triggered users are some of everyone.

    Raises:
        EffectError: triggered users that are more than everyone, or too few for `effect`.
    """
    rest = [_without(every, some) for every, some in zip(everyone, triggered, strict=True)]
    users = sum(every.count for every in everyone)
    share = sum(some.count for some in triggered) / users
    untouched = rest[0] + rest[1]
    values = [_diluted(value, some, untouched, share) for some in triggered]
    return Triggered(
        share,
        effect(Metric(value), *triggered),
        compare(*values),
        effect(Metric(value), *rest) if min(part.count for part in rest) > 1 and _moves(value, untouched) else None,
        once([some.count for some in triggered], [0.5, 0.5]),
    )


def _diluted(value: Ratio, triggered: Moments, untouched: Moments, share: float) -> ArmValue:
    """The value with the untouched users' means mixed in; only the triggered users' part is uncertain."""
    means = share * triggered.mean()
    if untouched.count:
        means = means + (1 - share) * untouched.mean()
    places = dict(zip(triggered.columns, range(len(means)), strict=True))
    weights = np.zeros(len(means))
    top = places[value.numerator]
    base = 1.0 if value.denominator is None else float(means[places[value.denominator]])
    if not base > 0:
        raise EffectError(f"the mean of {value.denominator!r} is {base}; expected one above 0: wait for data")
    weights[top] += share / base
    found = float(means[top]) / base
    if value.denominator is not None:
        weights[places[value.denominator]] -= share * found / base
    variance = float(weights @ triggered.covariance() @ weights) / triggered.count
    return ArmValue(triggered.count, found, max(variance, 0.0))


def _without(everyone: Moments, some: Moments) -> Moments:
    if everyone.columns != some.columns or some.count > everyone.count:
        raise EffectError(
            f"{some.count} triggered users with columns {some.columns} of {everyone.count} with {everyone.columns}; "
            "expected some of the same users"
        )
    return Moments(
        everyone.columns,
        everyone.count - some.count,
        tuple(a - b for a, b in zip(everyone.sums, some.sums, strict=True)),
        tuple(a - b for a, b in zip(everyone.products, some.products, strict=True)),
    )


def _moves(value: Ratio, users: Moments) -> bool:
    """Whether these users have anything to compare."""
    return value.denominator is None or bool(users.mean()[users.columns.index(value.denominator)] > 0)


def _log_error(found: Effect) -> float:
    """Standard error of the logarithm of candidate over stable."""
    left, right = found.stable, found.candidate
    return sqrt(left.variance / left.value**2 + right.variance / right.value**2)
