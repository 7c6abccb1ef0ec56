"""Metrics against scikit-learn and against brute force."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from training.metrics import MetricError, auc, calibration, grouped_auc, log_loss


def rows(seed, count, ties):
    draw = np.random.default_rng(seed)
    scores = draw.random(count)
    labels = (draw.random(count) < scores).astype(np.float32)
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("count", [2, 3, 10, 1000, 50_000])
def test_auc_equals_scikit_learn(count, ties):
    labels, scores = rows(count, count, ties)
    labels[:2] = 0, 1
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_auc_counts_pairs_and_half_of_ties():
    labels, scores = rows(3, 60, ties=True)
    up, down = scores[labels == 1][:, None], scores[labels == 0][None, :]
    assert auc(labels, scores) == np.mean((up > down) + 0.5 * (up == down))


def test_auc_of_equal_scores_is_one_half():
    assert auc(np.array([0, 1, 1, 0]), np.full(4, 0.3)) == 0.5


@pytest.mark.parametrize("label", [0, 1])
def test_auc_of_one_class_does_not_exist(label):
    assert auc(np.full(5, label), np.arange(5) / 10) is None


@pytest.mark.parametrize("ties", [False, True])
def test_grouped_auc_is_the_weighted_mean_over_groups_with_both_classes(ties):
    labels, scores = rows(7, 3000, ties)
    groups = np.random.default_rng(1).integers(0, 900, 3000).astype(str)
    parts = [(labels[groups == g], scores[groups == g]) for g in np.unique(groups)]
    both = [(roc_auc_score(y, s), len(y)) for y, s in parts if y.min() != y.max()]
    assert 0 < len(both) < len(parts)
    expected = np.average([value for value, _ in both], weights=[size for _, size in both])
    assert grouped_auc(labels, scores, groups) == pytest.approx(expected, abs=1e-12)


def test_grouped_auc_of_groups_of_one_row_does_not_exist():
    assert grouped_auc(np.array([0, 1]), np.array([0.1, 0.2]), np.array(["a", "b"])) is None


def test_log_loss_equals_scikit_learn():
    labels, scores = rows(2, 5000, ties=False)
    assert log_loss(labels, scores) == pytest.approx(sklearn_log_loss(labels, scores), abs=1e-9)


def test_log_loss_of_a_sure_mistake_is_finite():
    assert log_loss(np.array([1.0]), np.array([0.0])) == pytest.approx(-np.log(1e-7))


def test_calibration_error_equals_the_formula_bin_by_bin():
    labels, p = rows(4, 2000, ties=False)
    labels, error = labels.astype(np.float64), 0.0
    for low in range(10):
        inside = (p >= low / 10) & (p < (low + 1) / 10)
        if inside.any():
            error += inside.mean() * abs(p[inside].mean() - labels[inside].mean())
    assert calibration(labels, p, bins=10).error == pytest.approx(error, abs=1e-12)


def test_calibration_slope_equals_an_unpenalised_logistic_regression():
    labels, p = rows(5, 4000, ties=False)
    p = np.clip(p, 0.01, 0.99) ** 2
    x = np.log(p / (1 - p))[:, None]
    expected = LogisticRegression(C=np.inf, tol=1e-10).fit(x, labels).coef_[0, 0]
    assert calibration(labels, p).slope == pytest.approx(expected, abs=1e-5)


def test_doubling_the_log_odds_halves_the_slope_and_shows_in_the_ratio():
    labels, p = rows(6, 20_000, ties=False)
    p = np.clip(p, 0.01, 0.99)
    doubled = p**2 / (p**2 + (1 - p) ** 2)
    assert calibration(labels, doubled).slope == pytest.approx(calibration(labels, p).slope / 2, rel=1e-6)
    assert calibration(labels, p / 2).ratio == pytest.approx(calibration(labels, p).ratio / 2)


def test_probabilities_that_separate_the_classes_have_no_slope():
    labels = np.array([0, 0, 1, 1])
    assert calibration(labels, np.array([0.1, 0.2, 0.8, 0.9])).slope is None
    assert calibration(np.zeros(4), np.full(4, 0.5)).ratio is None


@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([0, 1], [0.1], "expected one length"),
        ([], [], "at least one row"),
        ([0, 2], [0.1, 0.2], "expected 0 and 1 only"),
        ([0, 1], [0.1, np.nan], "score of row 1 is nan"),
    ],
)
def test_rows_without_a_meaning_are_refused(labels, scores, words):
    with pytest.raises(MetricError, match=words):
        auc(np.array(labels), np.array(scores))


def test_log_loss_of_scores_that_are_no_probabilities_is_refused():
    with pytest.raises(MetricError, match="expected 0 to 1"):
        log_loss(np.array([0, 1]), np.array([0.5, 1.5]))
