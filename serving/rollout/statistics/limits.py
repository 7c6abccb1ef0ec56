"""How surely an arm passes an operational limit: the chance of counts like these in an arm that is within it.

Rankings are taken as independent. Each chance is exact for one look (binomial, Clopper and Pearson 1934; conditional
binomial of two rates, Przyborowski and Wilenski, Biometrika 1940; Fisher 1922 for the 99th percentiles of two arms,
which is the precedence test of their order statistics, Nelson, Technometrics 1963). Looks overlap and there are very
many of them: a limit counts as passed where the chance is at most alpha over all looks together (Bonferroni), which
holds however they depend on one another.
"""

from __future__ import annotations

from math import ceil, floor, inf

from scipy.stats import beta, binom, hypergeom

Part = tuple[float, float]
"""So many of so many rankings."""


def share_chance(found: Part, limit: float) -> float:
    """The chance of at least so many in an arm whose share is `limit`: small where the share is surely above it."""
    count, of = _whole(found)
    return float(binom.sf(count - 1, of, min(limit, 1.0))) if count > 0 else 1.0


def ratio_chance(candidate: Part, stable: Part, limit: float) -> float:
    """The same of a share that is `limit` times stable's, given how many both arms have together."""
    (count, of), (base, base_of) = _whole(candidate), _whole(stable)
    if count <= 0 or base_of <= 0:
        return 1.0
    return float(binom.sf(count - 1, count + base, limit * of / (limit * of + base_of)))


def exceedance_chance(candidate: Part, stable: Part) -> float:
    """The chance of at least so many of the candidate's rankings, where both arms have the same share of them."""
    (count, of), (_, base_of) = _whole(candidate), _whole(stable)
    if count <= 0:
        return 1.0
    base = ceil(stable[0])
    return float(hypergeom.sf(count - 1, of + base_of, of, count + base))


def least_share(found: Part, alpha: float) -> float:
    """The share that the arm surely has, at level 1 - alpha: Clopper and Pearson's lower bound."""
    count, of = _whole(found)
    return float(beta.ppf(alpha, count, of - count + 1)) if count > 0 else 0.0


def rankings_to_find(share: float, limit: float, alpha: float, most: float = 1e9) -> float:
    """Rankings after which an arm of that share is found to be above the limit with a chance of one half.

    Infinite where the share is not above the limit, or it takes more than `most`.
    """
    if share <= limit:
        return inf
    low, high = 0, 1
    while share_chance((floor(high * share), high), limit) > alpha:
        low, high = high, 2 * high
        if high > most:
            return inf
    while high - low > 1:
        middle = (low + high) // 2
        if share_chance((floor(middle * share), middle), limit) > alpha:
            low = middle
        else:
            high = middle
    return float(high)


def _whole(part: Part) -> tuple[int, int]:
    return floor(part[0] + 0.5), floor(part[1] + 0.5)
