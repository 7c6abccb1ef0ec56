"""What a ranking is worth: AUC, grouped AUC, log loss and calibration, exact and without loops over rows.

All functions take labels (0 or 1) and scores (probabilities, or any order-preserving number for the AUCs) as
one-dimensional arrays of one length, and compute in float64. A measure that does not exist for the rows (an AUC of one
class) is None, never a number that looks like one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
CLIP = 1e-7


class MetricError(ValueError):
    """Labels or scores that no metric can be computed from."""


def auc(labels: Array, scores: Array) -> float | None:
    """The chance that a positive row scores above a negative one, ties counting half (Mann-Whitney U / (P N))."""
    labels, scores = _checked(labels, scores)
    order = np.argsort(scores, kind="stable")
    twice = _twice_mid_ranks(scores[order])
    positive = labels[order] > 0.5
    return _auc_of_ranks(int(twice[positive].sum()), int(positive.sum()), len(labels))


def grouped_auc(labels: Array, scores: Array, groups: Array) -> float | None:
    """The mean of the AUCs within groups (users), weighted by rows (arXiv 1706.06978, formula 7).

    Groups with one class have no AUC and take no part. `groups` are integers or strings, one per row.
    """
    labels, scores = _checked(labels, scores)
    _, codes = np.unique(groups, return_inverse=True)
    order = np.lexsort((scores, codes))
    codes, positive = codes[order], labels[order] > 0.5
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    sizes = np.diff(np.r_[starts, len(codes)])
    twice = _twice_mid_ranks(scores[order], codes) - 2 * np.repeat(starts, sizes)  # ranks within each group
    positives = np.add.reduceat(positive, starts, dtype=np.int64)
    rank_sums = np.add.reduceat(np.where(positive, twice, 0), starts)
    both = (positives > 0) & (positives < sizes)
    if not both.any():
        return None
    positives, sizes, rank_sums = positives[both], sizes[both], rank_sums[both]
    each = (rank_sums / 2 - positives * (positives + 1) / 2) / (positives * (sizes - positives))
    return float(np.average(each, weights=sizes))


def log_loss(labels: Array, probabilities: Array) -> float:
    """Mean of -log p(label), probabilities clipped to [1e-7, 1 - 1e-7]."""
    labels, p = _checked_probabilities(labels, probabilities)
    p = np.clip(p, CLIP, 1 - CLIP)
    return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log1p(-p)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far probabilities can be taken at their word.

    Attributes:
        error: expected calibration error: the mean over rows of |mean probability - share of positives| of the
            row's bin, bins of equal width over [0, 1] (arXiv 1706.04599, formula 3).
        ratio: the sum of probabilities over the number of positives; 1 is right, None without positives.
        slope: b of the logistic regression label ~ a + b logit(probability); 1 is right, below 1 is over-confident,
            None when it does not exist (one class, or constant probabilities).
    """

    error: float
    ratio: float | None
    slope: float | None


def calibration(labels: Array, probabilities: Array, bins: int = 15) -> Calibration:
    """Calibration error, ratio and slope of probabilities."""
    labels, p = _checked_probabilities(labels, probabilities)
    bin_of = np.minimum((p * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, weights=p - labels, minlength=bins)  # per bin: rows * (mean p - share of positives)
    positives = float(labels.sum())
    ratio = float(p.sum() / positives) if positives else None
    return Calibration(float(np.abs(gaps).sum() / len(p)), ratio, _slope(labels, p))


def _slope(labels: Floats, p: Floats) -> float | None:
    """Newton's method for the two coefficients; the likelihood is concave, so a few steps suffice."""
    x = logit(np.clip(p, CLIP, 1 - CLIP))
    if labels.min() == labels.max() or x.min() == x.max():
        return None
    design = np.stack([np.ones_like(x), x])  # [2, rows]
    coefficients = np.array([0.0, 1.0])
    for _ in range(50):
        fitted = expit(coefficients @ design)
        hessian = (design * (fitted * (1 - fitted))) @ design.T
        if np.linalg.cond(hessian) > 1e12:
            return None  # the classes can be told apart without error: the slope has no finite value
        step = np.linalg.solve(hessian, design @ (labels - fitted))
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-10:
            return float(coefficients[1])
    return None


def _twice_mid_ranks(ordered: Floats, codes: Array | None = None) -> npt.NDArray[np.int64]:
    """Twice the mid-rank (from 1) of ascending values: integers, so that sums of ranks are exact."""
    new = np.ones(len(ordered), dtype=np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    if codes is not None:
        new[1:] |= codes[1:] != codes[:-1]
    starts = np.flatnonzero(new)
    sizes = np.diff(np.r_[starts, len(ordered)])
    return np.repeat(2 * starts + sizes + 1, sizes)


def _auc_of_ranks(twice_rank_sum: int, positives: int, rows: int) -> float | None:
    negatives = rows - positives
    if not positives or not negatives:
        return None
    return (twice_rank_sum - positives * (positives + 1)) / (2 * positives * negatives)


def _checked(labels: Array, scores: Array) -> tuple[Floats, Floats]:
    if labels.shape != scores.shape or labels.ndim != 1 or len(labels) == 0:
        raise MetricError(f"labels are {labels.shape}, scores {scores.shape}; expected one length, at least one row")
    if not np.isin(labels, (0, 1)).all():
        raise MetricError(f"labels hold {np.unique(labels)[:5].tolist()}...; expected 0 and 1 only")
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise MetricError(f"score of row {row} is {scores[row]}; expected a finite number")
    return labels.astype(np.float64), scores.astype(np.float64)


def _checked_probabilities(labels: Array, probabilities: Array) -> tuple[Floats, Floats]:
    labels, p = _checked(labels, probabilities)
    if p.min() < 0 or p.max() > 1:
        raise MetricError(f"probabilities reach from {p.min()} to {p.max()}; expected 0 to 1")
    return labels, p
