"""The sums that an experiment sees at each hourly look, for many simulated experiments at once.

Users arrive by the hour; a look sees those whose attribution window has closed. Sums are float64 arrays over runs and
looks, from which `values` computes what `statistics.effect` computes from exact sums of one experiment.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt

from serving.rollout.bench.population import COLUMNS, Population
from serving.rollout.statistics.effect import Metric, Ratio

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

PAIRS = tuple(combinations_with_replacement(range(len(COLUMNS)), 2))
_BY_HOUR = 1 + 0.6 * np.sin(np.arange(24) * 2 * np.pi / 24 - 2.0)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """New users of an arm by the hour, and how long until they count.

    Attributes:
        days: length of the experiment.
        users: users expected in the arm by then.
        saturation: distinct users grow as days to this power.
        window: hours of the attribution window.
    """

    days: int
    users: float
    saturation: float = 0.7
    window: int = 24

    def expected(self) -> Floats:
        """New users expected in each hour: float64 [hours]."""
        by_day = np.diff(np.arange(self.days + 1) ** self.saturation) / self.days**self.saturation
        found: Floats = self.users * np.repeat(by_day, 24) * np.tile(_BY_HOUR / _BY_HOUR.sum(), self.days)
        return found


@dataclass(frozen=True, slots=True)
class Sums:
    """Running sums of one arm: users [runs, looks], sums [runs, looks, columns], products [runs, looks, pairs]."""

    users: Whole
    sums: Floats
    products: Floats


def arm(draw: np.random.Generator, population: Population, arrivals: Arrivals, *, runs: int, lift: float = 0.0) -> Sums:
    """Simulate one arm of `runs` experiments; its users click `lift` more. Looks are hourly, from the window's end."""
    expected = arrivals.expected()[: -arrivals.window or None]
    new = draw.poisson(expected, (runs, len(expected)))
    days = np.repeat(np.tile(np.arange(len(expected)) // 24, runs), new.ravel())
    users = population.draw(draw, days)
    users[:, 0] *= 1 + lift
    ends = new.ravel().cumsum().reshape(new.shape)
    products = np.stack([users[:, left] * users[:, right] for left, right in PAIRS], axis=1)
    return Sums(new.cumsum(axis=1), _running(users, ends), _running(products, ends))


def _running(values: Floats, ends: Whole) -> Floats:
    """Sums of each run's users up to each look: [users, n] and ends [runs, looks] to [runs, looks, n]."""
    total = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(axis=0)])
    starts = np.concatenate([[0], ends[:-1, -1]])
    found: Floats = total[ends] - total[starts][:, None, :]
    return found


@dataclass(frozen=True, slots=True)
class Values:
    """A metric in both arms, the variances of these values, and `Effect.widened`: float64 [runs, looks]."""

    stable: Floats
    candidate: Floats
    stable_variance: Floats
    candidate_variance: Floats
    widened: Floats

    def z(self, effect: float) -> Floats:
        """How far the relative effect is from `effect`, in standard errors: the test behind `Effect.interval`.

        0 where an arm has no variance yet.
        """
        return self._scaled(effect, self.widened)

    def own_z(self, effect: float) -> Floats:
        """The same by the arms' own variances alone, for comparison: arms of one size have no other."""
        return self._scaled(effect, np.ones_like(self.widened))

    def _scaled(self, effect: float, widened: Floats) -> Floats:
        variance = (self.candidate_variance + (1 + effect) ** 2 * self.stable_variance) * widened
        distance = self.candidate - (1 + effect) * self.stable
        return np.divide(distance, np.sqrt(variance), out=np.zeros_like(distance), where=variance > 0)

    def delta_z(self, effect: float) -> Floats:
        """The same by the symmetric interval of the delta method, for comparison."""
        known = (self.stable != 0) & (self.candidate_variance > 0)
        quotient = np.divide(self.candidate, self.stable, out=np.ones_like(self.stable), where=known)
        error = np.sqrt(self.candidate_variance + quotient**2 * self.stable_variance)
        distance = (quotient - 1 - effect) * np.abs(self.stable)
        return np.divide(distance, error, out=np.zeros_like(quotient), where=known)


def values(metric: Metric, stable: Sums, candidate: Sums) -> Values:
    """What `statistics.effect.effect` says of each run at each look."""
    with np.errstate(divide="ignore", invalid="ignore"):
        arms = [_linear(metric, each) for each in (stable, candidate)]
        theta, centre = _adjustment(metric, arms, stable, candidate)
        (left, left_variance), (right, right_variance) = (_value(each, theta, centre) for each in arms)
    enough = (stable.users > 1) & (candidate.users > 1) & np.isfinite(left_variance) & np.isfinite(right_variance)
    numbers = [np.where(enough, each, 0.0) for each in (left, right, left_variance, right_variance)]
    left, right, left_variance, right_variance = numbers
    wider = widened(stable.users, candidate.users, left_variance, right_variance)
    return Values(left, right, left_variance, right_variance, wider)


def widened(n: Whole, m: Whole, stable: Floats, candidate: Floats) -> Floats:
    """`statistics.floor.widening` of each run at each look, from users and variances of the values."""
    own = stable + candidate
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = ((n - 1.0) * n * stable + (m - 1.0) * m * candidate) / (n + m - 2) * (1 / n + 1 / m)
        found: Floats = np.where(own > 0, np.maximum(pooled / own, 1.0), 1.0)
    return found


@dataclass(frozen=True, slots=True)
class _Linear:
    users: Whole
    value: Floats
    covariate: Floats
    covariance: Floats  # [runs, looks, 2, 2] of the influence of metric and covariate


def _linear(metric: Metric, arm: Sums) -> _Linear:
    mean = arm.sums / arm.users[..., None]
    covariance = np.empty((*mean.shape, len(COLUMNS)))
    for place, (row, column) in enumerate(PAIRS):
        scatter = arm.products[..., place] - arm.sums[..., row] * mean[..., column]
        covariance[..., row, column] = covariance[..., column, row] = scatter / (arm.users - 1)
    value, weights = _weights(metric.value, mean)
    other, other_weights = (
        (np.zeros_like(value), np.zeros_like(weights)) if metric.covariate is None else _weights(metric.covariate, mean)
    )
    both = np.stack([weights, other_weights], axis=-2)
    return _Linear(arm.users, value, other, both @ covariance @ both.swapaxes(-1, -2))


def _weights(ratio: Ratio, mean: Floats) -> tuple[Floats, Floats]:
    weights = np.zeros_like(mean)
    top = COLUMNS.index(ratio.numerator)
    if ratio.denominator is None:
        weights[..., top] = 1.0
        return mean[..., top], weights
    bottom = COLUMNS.index(ratio.denominator)
    value = mean[..., top] / mean[..., bottom]
    weights[..., top] += 1 / mean[..., bottom]
    weights[..., bottom] -= value / mean[..., bottom]
    return value, weights


def _adjustment(metric: Metric, arms: list[_Linear], stable: Sums, candidate: Sums) -> tuple[Floats, Floats]:
    if metric.covariate is None:
        return np.zeros(arms[0].value.shape), np.zeros(arms[0].value.shape)
    left, right = (each.covariance * (each.users - 1)[..., None, None] for each in arms)
    shared = left + right
    pooled = (stable.sums + candidate.sums) / (stable.users + candidate.users)[..., None]
    centre, _ = _weights(metric.covariate, pooled)
    return shared[..., 0, 1] / shared[..., 1, 1], centre


def _value(arm: _Linear, theta: Floats, centre: Floats) -> tuple[Floats, Floats]:
    direction = np.stack([np.ones_like(theta), -theta], axis=-1)
    variance = np.einsum("...i,...ij,...j->...", direction, arm.covariance, direction) / arm.users
    return arm.value - theta * (arm.covariate - centre), np.maximum(variance, 0.0)
