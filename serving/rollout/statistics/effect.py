"""The difference between two arms in a metric per user, from sufficient statistics alone.

A metric is a mean per user (clicks per user) or a ratio of two of them (clicks per impression), whose variance
comes from the delta method: the ratio's error is that of `(numerator - ratio * denominator) / mean(denominator)`
(Deng, Knoblich, Lu, "Applying the Delta Method in Metric Analytics", KDD 2018). CUPED subtracts what a pre-period
covariate predicts (Deng, Xu, Kohavi, Walker, WSDM 2013); the covariate may itself be a ratio. Users are the unit
throughout, as they are what is randomised.

A relative effect's interval is Fieller's (JRSS B 1954): the effects r that `candidate - (1 + r) * stable` does not
exclude. It is a difference of means for every r, so it holds as well as an absolute difference does; the symmetric
interval of the delta method does not where a few users decide the sums (README.md, "What was learned").

The sign of an effect is judged by the absolute difference, which always has an interval where the users differ at all;
a relative one exists only where stable's value is told from 0. `floor.py` has what keeps both honest at the edges: an
arm without variance, and arms of different sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, sqrt

import numpy as np
import numpy.typing as npt

from serving.rollout.statistics.floor import NOISE, equal, least_variance, widening
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.sequence import Interval

Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-14
"""Of what a variance is added up of: a few units in the last place of a double."""


class EffectError(ValueError):
    """An effect that cannot be computed from these sums; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A mean (`denominator` None) or a ratio of means, by column names."""

    numerator: str
    denominator: str | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """What is compared, and the pre-period covariate that reduces its variance, if there is one."""

    value: Ratio
    covariate: Ratio | None = None


@dataclass(frozen=True, slots=True)
class ArmValue:
    """A metric in one arm.

    Attributes:
        value: CUPED-adjusted if the metric has a covariate; `variance` is the value's, not a user's.
        denominator: mean of a ratio's denominator per user; 1 for a mean.
        alike: whether all users have the same number, before CUPED.
    """

    users: int
    value: float
    variance: float
    denominator: float = 1.0
    alike: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """Candidate minus stable.

    Attributes:
        absolute, absolute_se: difference of the values and its standard error.
        widened: what both intervals' variances are multiplied by, where arms are of different sizes; 1 where they are
            not (`floor.widening`). Neither standard error contains it.
        relative, relative_se: (candidate - stable) / |stable| and its standard error by the delta method, so that
            more is positive also where values are negative; NaN where stable is 0. For an interval see `interval`.
        variance_left: share of the variance that CUPED left, 1 without a covariate.
    """

    stable: ArmValue
    candidate: ArmValue
    absolute: float
    absolute_se: float
    relative: float
    relative_se: float
    variance_left: float
    widened: float = 1.0

    @property
    def users(self) -> int:
        """Users of both arms."""
        return self.stable.users + self.candidate.users

    def absolute_interval(self, half: float) -> Interval:
        """The interval of the absolute difference, `half` standard errors to each side (as for `interval`).

        It excludes 0 exactly where `interval` does, and has ends where that one has none.
        """
        reach = half * self.absolute_se * sqrt(self.widened)
        return Interval(self.absolute - reach, self.absolute + reach)

    def interval(self, half: float) -> Interval:
        """Fieller's interval of the relative effect, `half` standard errors to each side.

        Args:
            half: from `sequence.bound`, `sequence.one_sided_bound` (each end then holds by itself), a look's bound,
                or a normal quantile.

        Without ends where stable is within `half` standard errors of 0: then every effect is possible.
        """
        left, right = self.stable, self.candidate
        reach = half**2 * self.widened
        sure = left.value**2 - reach * left.variance
        if not sure > 0:
            return Interval(-inf, inf)
        middle = left.value * right.value
        spread = sqrt(max(middle**2 - sure * (right.value**2 - reach * right.variance), 0.0))
        low, high = (middle - spread) / sure - 1, (middle + spread) / sure - 1
        return Interval(low, high) if left.value > 0 else Interval(-high, -low)

    def slack(self, margin: float, sign: float, half: float) -> Interval:
        """The interval of `sign * (candidate - stable) + margin * |stable|`: below 0 more than the margin is lost.

        Where stable is told from 0 it says what the relative interval says of the margin. Where stable is not, there
        is no relative interval, but this one still has ends; it then covers both signs that stable may have.

        Args:
            margin: accepted relative loss, 0.02 for 2 %.
            sign: 1 where more is better, -1 where less is.
        """
        left, right = self.stable, self.candidate
        known = left.value**2 > half**2 * self.widened * left.variance
        signs = (1.0 if left.value > 0 else -1.0,) if known else (1.0, -1.0)
        ends = []
        for side in signs:
            weight = sign - margin * side
            reach = half * sqrt((right.variance + weight**2 * left.variance) * self.widened)
            found = sign * right.value - weight * left.value
            ends.append((found - reach, found + reach))
        return Interval(min(low for low, _ in ends), max(high for _, high in ends))


def effect(metric: Metric, stable: Moments, candidate: Moments) -> Effect:
    """Compare two arms.

    Raises:
        EffectError: fewer than two users in an arm, a denominator whose mean is not above 0, an unknown column.
    """
    pooled = stable + candidate
    arms = [_linear(metric, arm, name) for arm, name in ((stable, "stable"), (candidate, "candidate"))]
    theta, centre = _adjustment(metric, arms, pooled)
    left, right = (_value(arm, theta, centre) for arm in arms)
    plain = sum(_value(arm, 0.0, centre).variance for arm in arms)
    return compare(left, right, variance_left=(left.variance + right.variance) / plain if plain > 0 else 1.0)


def compare(stable: ArmValue, candidate: ArmValue, *, variance_left: float = 1.0) -> Effect:
    """The difference between two values that were computed elsewhere."""
    stable, candidate = _believable(stable, candidate), _believable(candidate, stable)
    relative, relative_se = _relative(stable, candidate)
    absolute_se = sqrt(stable.variance + candidate.variance)
    absolute = 0.0 if equal(stable.value, candidate.value) else candidate.value - stable.value
    wider = widening((stable.users, candidate.users), (stable.variance, candidate.variance))
    return Effect(stable, candidate, absolute, absolute_se, relative, relative_se, variance_left, wider)


def _believable(arm: ArmValue, other: ArmValue) -> ArmValue:
    """The arm with a variance, where all of its users have the same number and those of the other arm another.

    What CUPED subtracts from one and the same number varies, and says nothing of how sure that number is.
    """
    if arm.variance > 0 and not arm.alike:
        return arm
    gap = 0.0 if equal(arm.value, other.value) else other.value - arm.value
    least = least_variance(arm.users, gap, other.variance * other.users, other.denominator / arm.denominator)
    return replace(arm, variance=arm.variance + least)


@dataclass(frozen=True, slots=True)
class _Linear:
    """An arm after linearisation: per-user influence values of metric and covariate, as their 2x2 covariance.

    `magnitude` is what the covariance was added up of, without signs: far below it, a variance is rounding.
    """

    users: int
    value: float
    denominator: float
    covariate: float
    covariance: Floats
    magnitude: Floats


def _linear(metric: Metric, arm: Moments, name: str) -> _Linear:
    if arm.count < 2:
        raise EffectError(f"arm {name} has {arm.count} users; at least 2 are needed")
    mean, covariance = arm.mean(), arm.covariance()
    value, weights = _weights(metric.value, arm, mean, name)
    other, other_weights = (
        (0.0, np.zeros_like(weights)) if metric.covariate is None else _weights(metric.covariate, arm, mean, name)
    )
    both = np.stack([weights, other_weights])
    bottom = metric.value.denominator
    return _Linear(
        arm.count,
        value,
        1.0 if bottom is None else float(mean[_place(bottom, arm)]),
        other,
        both @ covariance @ both.T,
        np.abs(both) @ np.abs(covariance) @ np.abs(both).T,
    )


def _weights(ratio: Ratio, arm: Moments, mean: Floats, name: str) -> tuple[float, Floats]:
    """The ratio's value, and the weights of the columns in its linearised error."""
    weights = np.zeros(len(arm.columns))
    top = _place(ratio.numerator, arm)
    if ratio.denominator is None:
        weights[top] = 1.0
        return float(mean[top]), weights
    bottom = _place(ratio.denominator, arm)
    if not mean[bottom] > 0:
        raise EffectError(
            f"arm {name}: the mean of {ratio.denominator!r} is {mean[bottom]}; expected one above 0: wait for data"
        )
    value = float(mean[top] / mean[bottom])
    weights[top] += 1 / mean[bottom]
    weights[bottom] -= value / mean[bottom]
    return value, weights


def _place(column: str, arm: Moments) -> int:
    if column not in arm.columns:
        raise EffectError(f"there is no column {column!r}; the sums have {list(arm.columns)}")
    return arm.columns.index(column)


def _adjustment(metric: Metric, arms: list[_Linear], pooled: Moments) -> tuple[float, float]:
    """CUPED's coefficient, pooled within arms so that no effect can bend it, and the covariate's common value."""
    if metric.covariate is None:
        return 0.0, 0.0
    shared = sum((arm.covariance * (arm.users - 1) for arm in arms), np.zeros((2, 2)))
    centre, _ = _weights(metric.covariate, pooled, pooled.mean(), "stable and candidate together")
    return (float(shared[0, 1] / shared[1, 1]) if shared[1, 1] > 0 else 0.0), centre


def _value(arm: _Linear, theta: float, centre: float) -> ArmValue:
    alike = not _spread(arm, np.array([1.0, 0.0])) > 0
    variance = _spread(arm, np.array([1.0, -theta])) / arm.users
    return ArmValue(arm.users, arm.value - theta * (arm.covariate - centre), variance, arm.denominator, alike)


def _spread(arm: _Linear, direction: Floats) -> float:
    """Variance of a user's number; 0 where it is no more than rounding."""
    found = float(direction @ arm.covariance @ direction)
    noise = NOISE**2 * arm.value**2 + _ROUNDING * float(np.abs(direction) @ arm.magnitude @ np.abs(direction))
    return found if found > noise else 0.0


def _relative(stable: ArmValue, candidate: ArmValue) -> tuple[float, float]:
    if stable.value == 0:
        return float("nan"), float("nan")
    quotient = candidate.value / stable.value
    variance = (candidate.variance + quotient**2 * stable.variance) / stable.value**2
    return (candidate.value - stable.value) / abs(stable.value), float(np.sqrt(variance))
