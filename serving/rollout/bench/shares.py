"""Arms of different sizes: how often something is claimed of arms that do not differ, as the parts become uneven.

The controller's arms are always equally wide. The formulas are used outside of it, too, and there a small arm that
happens to have none of the few who decide a sum looks poor and sure at once.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from serving.rollout.bench.chance import Chance
from serving.rollout.bench.peeking import METRICS, ever, half_widths, seen
from serving.rollout.bench.population import Population
from serving.rollout.bench.running import Arrivals, Floats, Whole, arm, values, widened
from serving.rollout.statistics.sequence import bound, tuning
from serving.rollout.statistics.spending import Spending, bounds

PARTS = (50, 20, 10)
"""Percent of the users that the candidate has."""


def money(
    draw: np.random.Generator,
    population: Population,
    arrivals: Arrivals,
    *,
    runs: int,
    alpha: float,
    least_users: int,
    effect: float = 0.0,
) -> list[Chance]:
    """Always-valid intervals of a mean per user, of so many users of both arms; looked at every hour.

    Beside them those of the arms' own (Welch's) variances alone, as they were before `floor.widening`.
    """
    chances = []
    for part in PARTS:
        stable, candidate = (
            arm(draw, population, _of(arrivals, share), runs=runs, lift=lift)
            for share, lift in ((1 - part / 100, 0.0), (part / 100, effect))
        )
        wide, looked = half_widths(stable, candidate, alpha), seen(stable, candidate, least_users)
        found = values(METRICS["clicks per user"], stable, candidate)
        z, own, name = found.z(effect), found.own_z(effect), f"{part}/{100 - part}"
        chances += [
            Chance.of(f"{name}: interval leaves the truth out", ever(np.abs(z) > wide, looked), most=alpha),
            Chance.of(f"{name}: of these, to the bad side", ever(z < -wide, looked)),
            Chance.of(f"{name}: by the arms' own variances alone", ever(np.abs(own) > wide, looked)),
            Chance.of(f"{name}: of these, to the bad side (own)", ever(own < -wide, looked)),
        ]
    return chances


def rare(
    draw: np.random.Generator, *, runs: int, rate: float, users: int, least_users: int, alpha: float
) -> list[Chance]:
    """Users of whom nearly none (or nearly all) do something, so that an arm often has no variance; no difference.

    Args:
        users: of both arms at the end, in 200 even steps; a look after each.
    """
    chances = []
    for part in PARTS:
        m, n = (
            np.full((runs, 200), round(users * share / 200)).cumsum(axis=1) for share in (part / 100, 1 - part / 100)
        )
        hits = [draw.binomial(np.diff(count, axis=1, prepend=0), rate).cumsum(axis=1) for count in (n, m)]
        z = np.abs(share_z(hits[0], n, hits[1], m))
        looked, total = np.minimum(n, m) >= least_users, n + m
        rho = tuning(users, alpha)
        wide = np.array([bound(int(each), alpha=alpha, rho=rho) for each in total[0]])
        looks = bounds([0.2, 0.4, 0.6, 0.8, 1.0], alpha=alpha, spending=Spending.OBRIEN_FLEMING)
        at = [39, 79, 119, 159, 199]
        planned = z[:, at] > np.array([each.bound for each in looks])
        name = f"{part}/{100 - part}"
        chances += [
            Chance.of(f"{name}: always-valid, called different", ever(z > wide, looked), most=alpha),
            Chance.of(f"{name}: 5 group-sequential looks", (planned & looked[:, at]).any(axis=1), most=alpha),
            Chance.of(f"{name}: fixed horizon", z[:, -1] > float(ndtri(1 - alpha / 2)), most=alpha),
        ]
    return chances


def share_z(hits: Whole, n: Whole, other_hits: Whole, m: Whole) -> Floats:
    """z by which `statistics.effect` judges: stable's `hits` of n, the candidate's `other_hits` of m; 0 where alike."""
    left, right = hits / n, other_hits / m
    gap = right - left
    own = [rate * (1 - rate) / (count - 1) for rate, count in ((left, n), (right, m))]
    variances = []
    for variance, count, spread in ((own[0], n, own[1] * m), (own[1], m, own[0] * n)):
        with np.errstate(divide="ignore", invalid="ignore"):
            most = np.abs(gap) + np.sqrt(spread * count)
            off = np.where(gap != 0, np.minimum((spread + gap**2) / np.abs(gap), most), most)
        variances.append(np.where(variance <= 0, (off / count) ** 2, variance))
    both = (variances[0] + variances[1]) * widened(n, m, variances[0], variances[1])
    found: Floats = np.divide(gap, np.sqrt(both), out=np.zeros_like(gap), where=both > 0)
    return found


def _of(arrivals: Arrivals, share: float) -> Arrivals:
    return Arrivals(arrivals.days, arrivals.users * share, arrivals.saturation, arrivals.window)
