"""The paired bootstrap of an AUC difference, resampling clusters (users or items), never rows.

Rows of one user, or of one item, are not independent, and intervals over rows come out too narrow. A resample draws as
many clusters as there are, with replacement; a row weighs as often as its cluster was drawn. Both models are scored on
the same resample, and each resample also draws the training seeds with replacement, so that the noise of training is
part of the interval.

The AUC of every resample is exact. With weights w over clusters it is `w' M w / (w'p)(w'n)`, where M[c, d] counts the
pairs of a positive of cluster c above a negative of cluster d (ties half), and p, n are the positives and negatives per
cluster. M is counted once per model; a thousand resamples are then one matrix product. More than 2,048 clusters are
joined to 2,048 groups of clusters first, which stay independent of one another: M stays small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from training.metrics import MetricError, auc

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
Verdict = Literal["higher", "lower", "not distinguishable", "too few to tell"]

MIN_CLUSTERS = 30
"""A verdict wants this many clusters with a positive row, and as many with a negative one. With 3 to 10 clusters of ten
rows a 95 % interval excludes a true 0 in 15 to 9 % of cases, from 20 on in 5 to 7 % (600 simulated sets each)."""

MAX_CLUSTERS = 2048
_BLOCK = 128  # rows whose pairs are counted one by one; pairs of different blocks are counted by a matrix product


@dataclass(frozen=True, slots=True)
class Difference:
    """An AUC difference (with minus without, mean over seeds) with its bootstrap interval.

    `low` and `high` are the percentiles of the resamples that leave `level` between them. `deciding` is the number of
    clusters with a positive row, or with a negative one, whichever is less.
    """

    estimate: float
    low: float
    high: float
    level: float
    clusters: int
    deciding: int

    @property
    def verdict(self) -> Verdict:
        """What the interval allows to say, and nothing where too few clusters made it."""
        if self.deciding < MIN_CLUSTERS:
            return "too few to tell"
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "not distinguishable"


def paired_difference(
    labels: Array,
    with_scores: Array,
    without_scores: Array,
    clusters: Array,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference | None:
    """AUC of `with_scores` minus AUC of `without_scores`, and its interval; None when the labels are of one class.

    Args:
        labels: 0 or 1, [rows].
        with_scores, without_scores: [seeds, rows]; row k of each was trained with the same seed.
        clusters: integers or strings, [rows]: the unit that is resampled.
    """
    if with_scores.shape != without_scores.shape or with_scores.shape[1:] != labels.shape or with_scores.ndim != 2:
        raise MetricError(
            f"scores are {with_scores.shape} and {without_scores.shape}, labels {labels.shape}; "
            "expected [seeds, rows] twice and [rows]"
        )
    each = [_auc_difference(labels, a, b) for a, b in zip(with_scores, without_scores, strict=True)]
    if any(value is None for value in each):
        return None
    names, codes = np.unique(clusters, return_inverse=True)
    deciding = min(len(np.unique(codes[labels > 0.5])), len(np.unique(codes[labels <= 0.5])))
    draw = np.random.default_rng(seed)
    if len(names) > MAX_CLUSTERS:
        codes = (draw.permutation(len(names)) % MAX_CLUSTERS)[codes]
    count, seeds = min(len(names), MAX_CLUSTERS), len(with_scores)
    weights = draw.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    shares = draw.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds  # [resamples, seeds]
    pairs = _pairs(labels, codes, weights)
    numerators = np.zeros(resamples)
    for number in range(seeds):
        gained = concordance(labels, with_scores[number], codes, count)
        gained -= concordance(labels, without_scores[number], codes, count)
        numerators += shares[:, number] * np.einsum("rc,rc->r", weights @ gained, weights)
    drawn = numerators[pairs > 0] / pairs[pairs > 0]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    estimate = float(np.mean([value for value in each if value is not None]))
    return Difference(estimate, float(low), float(high), level, len(names), deciding)


def concordance(labels: Array, scores: Array, codes: Array, count: int) -> Floats:
    """M [count, count]: pairs of a positive of cluster c above a negative of cluster d, ties half.

    `codes` are the clusters of the rows as integers below `count`.
    """
    positive = labels > 0.5
    first = np.lexsort((positive, scores))  # ties: negatives below positives, every tie counts for
    last = np.lexsort((~positive, scores))  # ties: positives below negatives, no tie counts
    above = _strict_concordance(positive[first], codes[first], count)
    if np.array_equal(first, last):
        return above
    return (above + _strict_concordance(positive[last], codes[last], count)) / 2


def _strict_concordance(positive: Array, codes: Array, count: int) -> Floats:
    """Pairs by place in an ascending order without ties."""
    blocks = -(-len(codes) // _BLOCK)
    block_of = np.arange(len(codes)) // _BLOCK
    cells = codes * blocks + block_of
    p = np.bincount(cells[positive], minlength=count * blocks).reshape(count, blocks).astype(np.float64)
    n = np.bincount(cells[~positive], minlength=count * blocks).reshape(count, blocks).astype(np.float64)
    below = np.cumsum(n, axis=1) - n  # negatives of each cluster in the blocks before
    padded = np.zeros(blocks * _BLOCK, dtype=np.bool_)
    padded[: len(codes)] = positive
    up = padded.reshape(blocks, _BLOCK)
    padded = np.zeros(blocks * _BLOCK, dtype=np.bool_)
    padded[: len(codes)] = ~positive
    down = padded.reshape(blocks, _BLOCK)
    within = up[:, :, None] & down[:, None, :] & np.tri(_BLOCK, k=-1, dtype=np.bool_)  # the negative comes before
    block, upper, lower = np.nonzero(within)
    upper, lower = block * _BLOCK + upper, block * _BLOCK + lower
    inside = np.bincount(codes[upper] * count + codes[lower], minlength=count * count)
    pairs: Floats = p @ below.T + inside.reshape(count, count)
    return pairs


def _pairs(labels: Array, codes: Array, weights: Floats) -> Floats:
    """Pairs of a positive and a negative row in each resample: [resamples]."""
    count = weights.shape[1]
    positives = np.bincount(codes, weights=labels, minlength=count)
    negatives = np.bincount(codes, weights=1 - labels, minlength=count)
    return np.asarray((weights @ positives) * (weights @ negatives), dtype=np.float64)


def _auc_difference(labels: Array, a: Array, b: Array) -> float | None:
    first, second = auc(labels, a), auc(labels, b)
    return None if first is None or second is None else first - second
