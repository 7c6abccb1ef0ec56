"""Group-sequential bounds: a few planned looks that together spend alpha (Lan, DeMets, Biometrika 1983).

At look k the statistic is normal with independent increments of information. The bound of each look makes the
chance of a first crossing there, under no effect, equal to what the spending function gives it; the chances come
from the recursive integration of Armitage, McPherson and Rowe (JRSS A 1969), on Gauss-Legendre panels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import ceil, e, log, sqrt

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, roots_legendre

Floats = npt.NDArray[np.float64]

_NODES, _WEIGHTS = (np.asarray(rule) for rule in roots_legendre(24))
_LEAST_PANELS = 2
_PANEL_STEPS = 12.0  # standard deviations of the next step that 24 nodes cover: sums are then good to 1e-8
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
    The last look may be at more information than was planned; it spends what is left of alpha.

    Raises:
        SpendingError: shares that do not increase from 0, one before the last that is 1 or more, alpha outside (0, 1).
    """
    _check(shares, alpha)
    return bounds_that_spend(shares, [spending.spent(alpha, min(share, 1.0)) for share in shares])


def bounds_that_spend(shares: Sequence[float], spent: Sequence[float]) -> tuple[Look, ...]:
    """Bounds for a spending of one's own: `spent[k]` is the two-sided alpha used up to the look at `shares[k]`.

    Raises:
        SpendingError: shares that do not increase within (0, 1], spending that falls, or ends outside (0, 1).
    """
    if len(spent) != len(shares) or not spent or any(b < a for a, b in pairwise([0.0, *spent])):
        raise SpendingError(f"alpha spent is {list(spent)} at {len(shares)} looks; expected one each that never falls")
    _check(shares, spent[-1])
    walk, looks = _Walk(), []
    for share, before, after in zip(shares, [0.0, *spent], spent, strict=False):
        looks.append(Look(share, walk.step(share, after - before), after))
    return tuple(looks)


def crossing_chance(looks: Sequence[Look], drift: float) -> float:
    """Chance that a bound is crossed when z at full information has mean `drift`: power, or alpha at drift 0."""
    walk, crossed = _Walk(drift), 0.0
    for look in looks:
        crossed += walk.cross(look.share, look.bound)
    return crossed


class _Walk:
    """The sub-density of the score (z times the square root of the information) among paths that crossed nothing.

    It is kept as a function of the score, and put on a grid only when the next look is known: the closer that look,
    the finer the grid has to be.
    """

    def __init__(self, drift: float = 0.0) -> None:
        self._drift = drift
        self._share = 0.0
        self._limit = 0.0
        self._density: Callable[[Floats], Floats] | None = None  # before the first look all mass is at score 0

    def step(self, share: float, alpha: float) -> float:
        """Find the bound whose chance of a first crossing here is `alpha`, and go on within it."""
        scores, mass = self._grid(share)
        if self._outside(share, _WIDEST, scores, mass) >= alpha:
            bound = _WIDEST
        else:
            bound = float(brentq(lambda z: self._outside(share, z, scores, mass) - alpha, 0.0, _WIDEST, xtol=1e-10))
        self.cross(share, bound)
        return bound

    def cross(self, share: float, bound: float) -> float:
        """Chance of a first crossing of `bound` here; go on with the paths inside."""
        scores, mass = self._grid(share)
        outside = self._outside(share, bound, scores, mass)
        step, centre = sqrt(share - self._share), scores + self._drift * (share - self._share)

        def density(at: Floats) -> Floats:
            reach = (at[:, None] - centre[None, :]) / step
            found: Floats = np.exp(-0.5 * reach**2) @ mass / (sqrt(2 * np.pi) * step)
            return found

        self._share, self._limit, self._density = share, bound * sqrt(share), density
        return outside

    def _grid(self, share: float) -> tuple[Floats, Floats]:
        """Scores inside the last bound and the mass at each, close enough for a step to `share`."""
        if self._density is None:
            return np.zeros(1), np.ones(1)
        step = sqrt(share - self._share)
        panels = max(_LEAST_PANELS, ceil(2 * self._limit / (_PANEL_STEPS * step)))
        edges = np.linspace(-self._limit, self._limit, panels + 1)
        half = self._limit / panels
        scores = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * _NODES[None, :]).ravel()
        return scores, self._density(scores) * np.tile(_WEIGHTS, panels) * half

    def _outside(self, share: float, bound: float, scores: Floats, mass: Floats) -> float:
        limit, step = bound * sqrt(share), sqrt(share - self._share)
        centre = scores + self._drift * (share - self._share)
        tails: Floats = ndtr((-limit - centre) / step) + ndtr((centre - limit) / step)
        return float(tails @ mass)


def _check(shares: Sequence[float], alpha: float) -> None:
    if not 0 < alpha < 1:
        raise SpendingError(f"alpha is {alpha}; expected a number between 0 and 1")
    if (
        not shares
        or any(b <= a for a, b in zip([0.0, *shares], shares, strict=False))
        or max(shares[:-1], default=0.0) >= 1
    ):
        raise SpendingError(
            f"looks are at shares {list(shares)}; expected increasing shares above 0, below 1 before the last"
        )
