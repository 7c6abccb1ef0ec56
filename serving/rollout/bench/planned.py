"""Planned looks: how often they are wrong, and whether the power that a plan promises is had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from serving.rollout.bench.chance import Chance
from serving.rollout.bench.peeking import METRICS, Truth, ever, half_widths, seen
from serving.rollout.bench.population import Population
from serving.rollout.bench.running import Arrivals, Floats, Sums, arm, values
from serving.rollout.statistics.effect import effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.plan import Method, Reading, Spread, drift, scale
from serving.rollout.statistics.ramp import Lanes
from serving.rollout.statistics.spending import Spending, bounds

METRIC = "clicks per view, CUPED"


@dataclass(frozen=True, slots=True)
class Crossings:
    """Whether each method called a difference: [runs] each."""

    always_valid: Truth
    group_sequential: Truth
    fixed_horizon: Truth


def crossings(
    draw: np.random.Generator,
    population: Population,
    arrivals: Arrivals,
    *,
    runs: int,
    effect: float,
    alpha: float,
    looks: int,
    first_day: int,
    least_users: int = 1000,
) -> Crossings:
    """Read the same experiments by each method; looks before `first_day` do not count."""
    stable = arm(draw, population, arrivals, runs=runs)
    candidate = arm(draw, population, arrivals, runs=runs, lift=effect)
    z = np.abs(values(METRICS[METRIC], stable, candidate).z(0.0))
    looked = seen(stable, candidate, least_users)
    looked[:, : 24 * first_day - arrivals.window] = False
    planned = float(arrivals.expected()[: -arrivals.window or None].sum())
    return Crossings(
        ever(z > half_widths(stable, candidate, alpha), looked),
        group_sequential(z, stable, candidate, planned=2 * planned, alpha=alpha, looks=looks),
        z[:, -1] > float(ndtri(1 - alpha / 2)),
    )


def group_sequential(z: Floats, stable: Sums, candidate: Sums, *, planned: float, alpha: float, looks: int) -> Truth:
    """Looks at the first hours with 1/looks, 2/looks... of the planned users, the last one at the end of the time."""
    users = stable.users + candidate.users
    planned_looks = bounds(
        [look / looks for look in range(1, looks + 1)], alpha=alpha, spending=Spending.OBRIEN_FLEMING
    )
    crossed: Truth = np.zeros(len(z), dtype=np.bool_)
    for look in planned_looks:
        due = np.minimum((users < look.share * planned).sum(axis=1), z.shape[1] - 1)
        crossed |= np.take_along_axis(z, due[:, None], axis=1)[:, 0] > look.bound
    return crossed


def false_alarms(found: Crossings, alpha: float) -> list[Chance]:
    """Of experiments without an effect."""
    return [
        Chance.of("no effect: always-valid", found.always_valid, most=alpha),
        Chance.of("no effect: group-sequential, 5 looks", found.group_sequential, most=alpha),
        Chance.of("no effect: fixed horizon", found.fixed_horizon, most=alpha),
    ]


def spread(draw: np.random.Generator, population: Population, arrivals: Arrivals, users: int = 400_000) -> Spread:
    """How users of such arrivals differ in METRIC, for plans."""
    expected = arrivals.expected()[: -arrivals.window or None]
    days = draw.choice(len(expected), size=users, p=expected / expected.sum()) // 24
    columns = population.draw(draw, days)
    moments = Moments.of(dict(zip(("clicks", "views", "clicks_before", "views_before"), columns.T, strict=True)))
    found = effect(METRICS[METRIC], moments, moments)
    left = found.variance_left
    cv = float(np.sqrt(found.stable.variance * users / left)) / found.stable.value
    return Spread(cv, float(np.sqrt(1 - left)))


def promised(arrivals: Arrivals, spread: Spread, reading: Reading) -> float:
    """The effect that a plan says is found by the end with the reading's power."""
    by_hour = np.concatenate([np.zeros(arrivals.window), arrivals.expected()[: -arrivals.window or None]])
    lanes = Lanes(tuple(by_hour.cumsum()[23::24].tolist()))
    return drift(lanes, lanes.days, reading) * scale(lanes, spread, lanes.days)


def powers(
    draw: np.random.Generator,
    population: Population,
    arrivals: Arrivals,
    *,
    runs: int,
    spread: Spread,
    alpha: float,
    first_day: int,
) -> list[Chance]:
    """The effect that each method's plan promises to find with 80 %, and how often it does."""
    chances = []
    for method, looks in ((Method.ALWAYS_VALID, None), (Method.GROUP_SEQUENTIAL, 5), (Method.FIXED_HORIZON, None)):
        reading = Reading(method, alpha=alpha, power=0.8, first_day=first_day, looks=looks)
        wanted = promised(arrivals, spread, reading)
        found = crossings(
            draw, population, arrivals, runs=runs, effect=wanted, alpha=alpha, looks=5, first_day=first_day
        )
        crossed = {
            Method.ALWAYS_VALID: found.always_valid,
            Method.GROUP_SEQUENTIAL: found.group_sequential,
            Method.FIXED_HORIZON: found.fixed_horizon,
        }[method]
        chances.append(Chance.of(f"effect planned for 80 %: {method} ({wanted:+.1%})", crossed, least=0.78, most=0.84))
    return chances
