"""The bootstrap against resampling done by hand."""

import numpy as np
import pytest

from training.bootstrap import MIN_CLUSTERS, Difference, concordance, paired_difference
from training.metrics import MetricError, auc


def data(seed, rows, clusters, ties=False, gain=0.0):
    draw = np.random.default_rng(seed)
    labels = (draw.random(rows) < 0.4).astype(np.float32)
    codes = draw.integers(0, clusters, rows)
    base = draw.random((2, rows)) + 0.3 * labels
    scores = np.round(base, 1) if ties else base
    return labels, scores + gain * labels, np.round(draw.random((2, rows)) + 0.3 * labels, 1 if ties else 9), codes


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rows", [5, 127, 128, 129, 400])
def test_concordance_counts_every_pair(rows, ties):
    labels, scores, _, codes = data(rows, rows, 7, ties)
    expected = np.zeros((7, 7))
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            expected[codes[i], codes[j]] += (scores[0, i] > scores[0, j]) + 0.5 * (scores[0, i] == scores[0, j])
    assert np.array_equal(concordance(labels, scores[0], codes, 7), expected)


def test_concordance_of_equal_scores_is_half_of_all_pairs():
    labels, _, _, codes = data(1, 400, 3)
    positives, negatives = np.bincount(codes[labels == 1]), np.bincount(codes[labels == 0])
    assert np.array_equal(concordance(labels, np.zeros(400), codes, 3), np.outer(positives, negatives) / 2)


def test_the_interval_equals_one_made_by_repeating_rows():
    labels, a, b, codes = data(3, 300, 20, ties=True)
    found = paired_difference(labels, a, b, codes, resamples=200, seed=9)
    draw = np.random.default_rng(9)
    weights = draw.multinomial(20, np.full(20, 1 / 20), size=200)
    shares = draw.multinomial(2, np.full(2, 1 / 2), size=200) / 2
    drawn = []
    for weight, share in zip(weights, shares, strict=True):
        picked = np.repeat(np.arange(300), weight[codes])
        each = [auc(labels[picked], a[s][picked]) - auc(labels[picked], b[s][picked]) for s in range(2)]
        drawn.append(float(share @ each))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert found.estimate == pytest.approx(np.mean([auc(labels, a[s]) - auc(labels, b[s]) for s in range(2)]))
    assert found.clusters == 20


def test_a_model_against_itself_gives_exactly_zero():
    labels, a, _, codes = data(4, 500, 30)
    found = paired_difference(labels, a, a, codes, resamples=50)
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.verdict == "not distinguishable"


def test_a_plain_gain_is_higher_and_its_reverse_lower():
    labels, a, b, codes = data(5, 3000, 100, gain=0.3)
    assert paired_difference(labels, a, b, codes).verdict == "higher"
    assert paired_difference(labels, b, a, codes).verdict == "lower"


def test_intervals_of_no_difference_cover_zero_about_as_often_as_they_say():
    covered = 0
    for seed in range(200):
        labels, a, b, codes = data(seed, 400, 40)
        found = paired_difference(labels, a[:1], b[:1], codes, resamples=200, level=0.9, seed=seed)
        covered += found.low <= 0 <= found.high
    assert 165 <= covered <= 194  # 180 expected; 3 standard deviations of the count, a little more above


def test_clusters_that_repeat_rows_widen_the_interval():
    labels, a, b, _ = data(6, 150, 150)
    rows = np.tile(np.arange(150), 10)
    by_rows = paired_difference(labels[rows], a[:, rows], b[:, rows], np.arange(1500))
    by_clusters = paired_difference(labels[rows], a[:, rows], b[:, rows], rows)
    assert (by_clusters.high - by_clusters.low) > 2.5 * (by_rows.high - by_rows.low)  # sqrt(10) in theory


def test_one_class_has_no_difference():
    assert paired_difference(np.ones(4), np.zeros((1, 4)), np.zeros((1, 4)), np.arange(4)) is None


def test_shapes_that_do_not_pair_are_refused():
    with pytest.raises(MetricError, match="expected \\[seeds, rows\\] twice"):
        paired_difference(np.ones(4), np.zeros((2, 4)), np.zeros((1, 4)), np.arange(4))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.2, "higher"),
        (-0.2, -0.1, "lower"),
        (-0.1, 0.1, "not distinguishable"),
        (0.0, 0.1, "not distinguishable"),
    ],
)
def test_the_verdict_follows_the_interval(low, high, verdict):
    assert Difference(0.0, low, high, 0.95, MIN_CLUSTERS, MIN_CLUSTERS).verdict == verdict
    assert Difference(0.0, low, high, 0.95, 10**6, MIN_CLUSTERS - 1).verdict == "too few to tell"


def test_a_verdict_wants_enough_clusters_of_each_class():
    labels, a, b, codes = data(5, 3000, 100, gain=0.3)
    few = codes < MIN_CLUSTERS - 1
    found = paired_difference(labels[few], a[:, few], b[:, few], codes[few])
    assert (found.clusters, found.deciding, found.verdict) == (29, 29, "too few to tell")
    rare = np.where((codes < 5) & (labels > 0), 1.0, 0.0)  # positives of five clusters alone
    found = paired_difference(rare, a, b, codes)
    assert (found.clusters, found.deciding, found.verdict) == (100, 5, "too few to tell")


@pytest.mark.parametrize("seed", range(3))
def test_nine_rows_are_no_verdict_however_large_the_difference(seed):
    draw = np.random.default_rng(seed)
    labels = np.array([0, 1, 0, 1, 0, 1, 1, 0, 1])
    found = paired_difference(labels, labels[None] + 0.1 * draw.random((1, 9)), -labels[None] * 1.0, np.arange(9))
    assert (found.estimate, found.verdict) == (1.0, "too few to tell")
