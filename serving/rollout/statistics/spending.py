"""Group-sequential bounds: a few planned looks that together spend alpha (Lan, DeMets, Biometrika 1983).

At look k the statistic is normal with independent increments of information. The bound of each look makes the
chance of a first crossing there, under no effect, equal to what the spending function gives it; the chances come
from the recursive integration of Armitage, McPherson and Rowe (JRSS A 1969), on a Gauss-Legendre grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import e, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.float64]

_NODES = 96
_WIDEST = 8.5  # standard normal quantile of 1e-17: a look that may spend nothing has this bound


class SpendingError(ValueError):
    """Looks that cannot be planned; the message says why."""


class Spending(StrEnum):
    """How alpha is spent over the share of information: little at first, or evenly."""

    OBRIEN_FLEMING = "obrien-fleming"
    POCOCK = "pocock"

    def spent(self, alpha: float, share: float) -> float:
        """Two-sided alpha that may be spent up to `share` (0 to 1) of the information."""
        if self is Spending.OBRIEN_FLEMING:
            return float(4 * ndtr(-ndtri(1 - alpha / 4) / sqrt(share))) if share > 0 else 0.0  # alpha / 2 on each side
        return alpha * log(1 + (e - 1) * share)


@dataclass(frozen=True, slots=True)
class Look:
    """A look: the share of information, the bound on the absolute z statistic, and alpha spent so far."""

    share: float
    bound: float
    spent: float


def bounds(shares: Sequence[float], *, alpha: float, spending: Spending) -> tuple[Look, ...]:
    """Bounds of the looks that were taken or are planned, at increasing shares of the planned information.

    A look more, or at another share than planned, only changes the bounds from there on: alpha stays spent as it was.

    Raises:
        SpendingError: shares that do not increase within (0, 1], or alpha outside (0, 1).
    """
    _check(shares, alpha)
    walk, looks, before = _Walk(), [], 0.0
    for share in shares:
        spent = spending.spent(alpha, min(share, 1.0))
        bound = walk.step(share, max(spent - before, 0.0))
        looks.append(Look(share, bound, spent))
        before = spent
    return tuple(looks)


def crossing_chance(looks: Sequence[Look], drift: float) -> float:
    """Chance that a bound is crossed when z at full information has mean `drift`: power, or alpha at drift 0."""
    walk, crossed = _Walk(drift), 0.0
    for look in looks:
        crossed += walk.cross(look.share, look.bound)
    return crossed


class _Walk:
    """The sub-density of the score (z times the square root of the information) among paths that crossed nothing."""

    def __init__(self, drift: float = 0.0) -> None:
        self._drift = drift
        self._share = 0.0
        self._scores: Floats = np.zeros(1)
        self._mass: Floats = np.ones(1)

    def step(self, share: float, alpha: float) -> float:
        """Find the bound whose chance of a first crossing here is `alpha`, and go on within it."""
        if self._outside(share, _WIDEST) >= alpha:
            bound = _WIDEST
        else:
            bound = float(brentq(lambda z: self._outside(share, z) - alpha, 0.0, _WIDEST, xtol=1e-10))
        self.cross(share, bound)
        return bound

    def cross(self, share: float, bound: float) -> float:
        """Chance of a first crossing of `bound` here; go on with the paths inside."""
        outside = self._outside(share, bound)
        limit = bound * sqrt(share)
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)  # type: ignore[no-untyped-call]
        scores = nodes * limit
        step = sqrt(share - self._share)
        drift = self._drift * (share - self._share)
        reach = (scores[:, None] - self._scores[None, :] - drift) / step
        density = np.exp(-0.5 * reach**2) / (sqrt(2 * np.pi) * step)
        self._mass = (density @ self._mass) * weights * limit
        self._scores, self._share = scores, share
        return outside

    def _outside(self, share: float, bound: float) -> float:
        limit, step = bound * sqrt(share), sqrt(share - self._share)
        centre = self._scores + self._drift * (share - self._share)
        tails: Floats = ndtr((-limit - centre) / step) + ndtr((centre - limit) / step)
        return float(tails @ self._mass)


def _check(shares: Sequence[float], alpha: float) -> None:
    if not 0 < alpha < 1:
        raise SpendingError(f"alpha is {alpha}; expected a number between 0 and 1")
    if not shares or any(b <= a for a, b in zip([0.0, *shares], shares, strict=False)) or shares[-1] > 1 + 1e-12:
        raise SpendingError(f"looks are at shares {list(shares)}; expected increasing shares above 0 and at most 1")
