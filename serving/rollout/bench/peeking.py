"""Looking every hour: how often intervals and tests are ever wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from serving.rollout.bench.chance import Chance
from serving.rollout.bench.population import Population
from serving.rollout.bench.running import Arrivals, Sums, arm, values
from serving.rollout.statistics.effect import Metric, Ratio
from serving.rollout.statistics.sequence import bound, one_sided_bound, tuning

Floats = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]

_BEFORE, _BEFORE_RATIO = Ratio("clicks_before"), Ratio("clicks_before", "views_before")
METRICS = {
    "clicks per user": Metric(Ratio("clicks")),
    "clicks per view": Metric(Ratio("clicks", "views")),
    "clicks per user, CUPED": Metric(Ratio("clicks"), _BEFORE),
    "clicks per view, CUPED": Metric(Ratio("clicks", "views"), _BEFORE_RATIO),
}


def intervals(
    draw: np.random.Generator,
    population: Population,
    arrivals: Arrivals,
    *,
    runs: int,
    effect: float,
    alpha: float,
    least_users: int,
    uneven: float = 1.0,
) -> list[Chance]:
    """How often the always-valid interval ever leaves out the truth, and the fixed-horizon one beside it.

    Args:
        effect: the true relative effect.
        least_users: users of each arm before the first look.
        uneven: stable's users over the candidate's.
    """
    more = Arrivals(arrivals.days, arrivals.users * uneven, arrivals.saturation, arrivals.window)
    stable = arm(draw, population, more, runs=runs)
    candidate = arm(draw, population, arrivals, runs=runs, lift=effect)
    widths, looked = half_widths(stable, candidate, alpha), seen(stable, candidate, least_users)
    chances = []
    for name, metric in METRICS.items():
        found = values(metric, stable, candidate)
        z, by_delta = np.abs(found.z(effect)), np.abs(found.delta_z(effect))
        chances += [
            Chance.of(f"{name}: always-valid", ever(z > widths, looked), most=alpha),
            Chance.of(f"{name}: always-valid, symmetric by delta method", ever(by_delta > widths, looked)),
            Chance.of(f"{name}: p < {alpha:g} at any look", ever(z > float(ndtri(1 - alpha / 2)), looked)),
        ]
    return chances


def margins(
    draw: np.random.Generator,
    population: Population,
    arrivals: Arrivals,
    *,
    runs: int,
    margin: float,
    alpha: float,
    least_users: int,
) -> list[Chance]:
    """A candidate that loses exactly the margin: neither side of it may be claimed more often than alpha."""
    stable = arm(draw, population, arrivals, runs=runs)
    candidate = arm(draw, population, arrivals, runs=runs, lift=-margin)
    looked, widths = seen(stable, candidate, least_users), half_widths(stable, candidate, alpha, one_sided)
    z = values(METRICS["clicks per view, CUPED"], stable, candidate).z(-margin)
    return [
        Chance.of("loss at the margin: said to be above it", ever(-z > widths, looked), most=alpha),
        Chance.of("loss at the margin: said to be below it", ever(z > widths, looked), most=alpha),
    ]


def several(
    draw: np.random.Generator, population: Population, arrivals: Arrivals, *, runs: int, alpha: float, least_users: int
) -> list[Chance]:
    """No effect in four metrics of the same users: the mean of their e-values, and each with its part of alpha."""
    stable, candidate = (arm(draw, population, arrivals, runs=runs) for _ in range(2))
    looked, users = seen(stable, candidate, least_users), stable.users + candidate.users
    rho = tuning(int(np.median(users[:, -1])), alpha)
    scores = [np.abs(values(metric, stable, candidate).z(0.0)) for metric in METRICS.values()]
    evidence = np.mean([e_values(z, users, rho) for z in scores], axis=0)
    parts = half_widths(stable, candidate, alpha / len(scores))
    one = np.any([z > parts for z in scores], axis=0)
    return [
        Chance.of("four metrics: mean e-value reaches 1/alpha", ever(evidence >= 1 / alpha, looked), most=alpha),
        Chance.of("four metrics: any excludes 0 by Bonferroni", ever(one, looked), most=alpha),
    ]


def e_values(z: Floats, users: npt.NDArray[np.int64], rho: float) -> Floats:
    """`statistics.several.e_value` of each run at each look."""
    time = users * rho**2
    with np.errstate(over="ignore"):
        found: Floats = np.exp(np.minimum(z**2 * time / (2 * (time + 1)), 700.0)) / np.sqrt(time + 1)
    return found


def two_sided(users: int, alpha: float, rho: float) -> float:
    """Half-width of the two-sided sequence in standard errors."""
    return bound(users, alpha=alpha, rho=rho)


def one_sided(users: int, alpha: float, rho: float) -> float:
    """That of the one-sided sequence."""
    return one_sided_bound(users, alpha=alpha, rho=rho)


def half_widths(
    stable: Sums, candidate: Sums, alpha: float, width: Callable[[int, float, float], float] = two_sided
) -> Floats:
    """Half-widths in standard errors at each look, tuned to the users that are typical at the end."""
    users = stable.users + candidate.users
    rho = tuning(int(np.median(users[:, -1])), alpha)
    counts, places = np.unique(users, return_inverse=True)
    found = np.array([width(max(int(count), 1), alpha, rho) for count in counts])
    wide: Floats = found[places].reshape(users.shape)
    return wide


def seen(stable: Sums, candidate: Sums, least_users: int) -> Truth:
    """At which looks both arms have enough users."""
    enough: Truth = np.minimum(stable.users, candidate.users) >= least_users
    return enough


def ever(happened: npt.NDArray[np.bool_], looked: Truth) -> Truth:
    """Whether it happened at any look that counts: [runs, looks] to [runs]."""
    found: Truth = (happened & looked).any(axis=1)
    return found
