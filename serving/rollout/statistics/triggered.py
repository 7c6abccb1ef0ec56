"""How an effect differs among users who met what was changed. It describes, and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.rollout.statistics.effect import ArmValue, Effect, EffectError, Metric, Ratio, compare, effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.srm import RatioTest, once


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
