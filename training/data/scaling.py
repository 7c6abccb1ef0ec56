"""From the training rows' numbers to a dense feature: what is constant, which transform, mean, deviation and bounds.

- A column whose spread is rounding noise of its magnitude is constant: it encodes to 0, whatever is served.
- The first transform without heavy tails is taken, of the identity, log1p (numbers of 0 or more) and quantiles. Tails
  are heavy where a number lies more than 20 robust deviations from the median (the deviation that a normal distribution
  has with the same middle half; wider quantiles where that half is one number). So nothing is encoded far outside.
- The lowest and highest number of the training rows are the bounds; training and serving clip to them alike.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from models.contract import DenseFeature, Source

Floats = npt.NDArray[np.float64]

HEAVY = 20.0
KNOTS = 33
_LARGEST = 1e100  # beyond it sums of squares and slopes overflow; no column of the world reaches it
_MIDDLES = (
    (0.25, 0.75, 1.349),
    (0.05, 0.95, 3.290),
    (0.01, 0.99, 4.653),
)  # quantiles, and their distance in deviations
_UNIFORM_STD = math.sqrt(1 / 12)


def dense_feature(
    name: str, source: Source, values: npt.NDArray[Any], *, count: bool = False, description: str = ""
) -> DenseFeature:
    """The feature that these training values (float64 [rows], NaN where missing) make.

    `count`: the values are counts, which are always taken by their logarithm; a missing one is 0. Else a missing value
    is shown as an average one: the mean, or the median where the feature is transformed.
    """
    present = np.clip(values[np.isfinite(values)].astype(np.float64), -_LARGEST, _LARGEST)
    low, high = (float(present.min()), float(present.max())) if len(present) else (0.0, 0.0)
    learned: dict[str, Any] = {"name": name, "source": source, "description": description}
    if high - low <= _noise(present):
        middle = float(np.median(present)) if len(present) else 0.0
        return DenseFeature(default=middle, mean=middle, low=middle, high=middle, **learned)
    learned |= {"low": low, "high": high}
    if count or (_heavy(present) and low >= 0.0):
        logarithms = np.log1p(present)
        if not _heavy(logarithms):
            mean, std = _mean_and_std(logarithms)
            default = 0.0 if count else float(np.median(present))
            return DenseFeature(default=default, mean=mean, std=std, transform="log1p", **learned)
    if _heavy(present):
        default = 0.0 if count else float(np.median(present))
        knots = _knots(present)
        return DenseFeature(default=default, mean=0.5, std=_UNIFORM_STD, transform="quantile", knots=knots, **learned)
    mean, std = _mean_and_std(present)
    return DenseFeature(default=mean, mean=mean, std=std, **learned)


def _noise(values: Floats) -> float:
    """The largest spread that rounding alone can give numbers of this magnitude; whole numbers have none."""
    if not len(values) or (values == np.floor(values)).all():
        return 0.0
    with np.errstate(over="ignore"):
        single = (values.astype(np.float32) == values).all()
    return float(np.abs(values).max()) * (2.0**-22 if single else 2.0**-40)


def _heavy(values: Floats) -> bool:
    median = float(np.median(values))
    return bool(np.abs(values - median).max() > HEAVY * _robust_std(values))


def _robust_std(values: Floats) -> float:
    for lower, upper, deviations in _MIDDLES:
        width = float(np.quantile(values, upper) - np.quantile(values, lower))
        if width > _noise(values):
            return width / deviations
    return _mean_and_std(values)[1]


def _mean_and_std(values: Floats) -> tuple[float, float]:
    """Computed about the median, so that a large common part costs no digits.

    The deviation is rounded to six digits and the mean to a millionth of it: a digest must not hang on a sum's order.
    """
    median, spread = float(np.median(values)), float(np.ptp(values))
    shares = (values - median) / spread
    std = float(f"{spread * float(shares.std()):.6g}")
    return round(median + spread * float(shares.mean()), 6 - math.floor(math.log10(std))), std


def _knots(values: Floats) -> tuple[tuple[float, float], ...]:
    """Numbers of the training rows and the share of rows below each, equal ones counted half; noise apart is equal."""
    ordered, noise = np.sort(values), _noise(values)
    knots: list[tuple[float, float]] = []
    for value in np.quantile(ordered, np.linspace(0.0, 1.0, KNOTS), method="inverted_cdf").tolist():
        below = np.searchsorted(ordered, value - noise, side="left")
        up_to = np.searchsorted(ordered, value + noise, side="right")
        share = float(below + up_to) / (2 * len(ordered))
        if not knots or (value - knots[-1][0] > noise and share > knots[-1][1]):
            knots.append((value, share))
    return tuple(knots)
