"""Intervals under continuous looking: what they promise, by simulation and by duality with e-values."""

from math import inf, log, sqrt

import numpy as np
import pytest

from serving.rollout.statistics.sequence import (
    SequenceError,
    always_valid,
    always_valid_lower,
    bound,
    tuning,
)
from serving.rollout.statistics.several import average, bonferroni, e_value

ALPHA = 0.05
RHO = tuning(5000, ALPHA)
LOOKS = np.arange(50, 10_001, 50)


def walks(runs: int, mean: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Running mean and its standard error at each look: [runs, looks]."""
    draw = np.random.default_rng(seed)
    steps = draw.normal(mean * 50, sqrt(50), size=(runs, len(LOOKS)))
    return steps.cumsum(axis=1) / LOOKS, 1 / np.sqrt(LOOKS)


def half_widths(alpha: float = ALPHA) -> np.ndarray:
    return np.array([bound(int(n), alpha=alpha, rho=RHO) / sqrt(n) for n in LOOKS])


def test_the_truth_is_hardly_ever_outside_however_often_one_looks() -> None:
    means, _ = walks(4000, 0.1, seed=1)
    outside = (np.abs(means - 0.1) > half_widths()).any(axis=1).mean()
    assert outside <= ALPHA
    naive = (np.abs(means - 0.1) > 1.96 / np.sqrt(LOOKS)).any(axis=1).mean()
    assert naive > 0.3  # what the same looks do to a fixed-horizon interval


def test_an_effect_is_found() -> None:
    means, _ = walks(2000, 0.06, seed=2)
    assert (np.abs(means) > half_widths()).any(axis=1).mean() > 0.95


def test_the_width_is_the_papers_formula() -> None:
    n = 2500
    by_hand = sqrt(2 * (n * RHO**2 + 1) / (n**2 * RHO**2) * log(sqrt(n * RHO**2 + 1) / ALPHA))  # for a deviation of 1
    interval = always_valid(0.3, 1 / sqrt(n), n, alpha=ALPHA, rho=RHO)
    assert interval.high - 0.3 == pytest.approx(by_hand, rel=1e-12)
    assert 0.3 - interval.low == pytest.approx(by_hand, rel=1e-12)
    assert interval.excludes(0.3 + 1.01 * by_hand)
    assert not interval.excludes(0.3)


def test_the_tuning_makes_the_interval_tightest_where_it_is_asked_to() -> None:
    widths = {factor: bound(5000, alpha=ALPHA, rho=RHO * factor) for factor in (0.8, 0.9, 1.0, 1.1, 1.25)}
    assert min(widths, key=widths.__getitem__) == 1.0


def test_the_interval_excludes_zero_exactly_where_the_evidence_reaches_one_over_alpha() -> None:
    half = bound(700, alpha=ALPHA, rho=RHO) * 0.2
    assert e_value(half, 0.2, 700, RHO) == pytest.approx(1 / ALPHA, rel=1e-9)
    assert e_value(0.0, 0.2, 700, RHO) < 1
    assert e_value(1e9, 0.2, 700, RHO) < inf


def test_the_one_sided_sequence_holds_and_is_tighter() -> None:
    means, _ = walks(4000, 0.0, seed=3)
    lows = np.array([always_valid_lower(0.0, 1 / sqrt(n), int(n), alpha=ALPHA, rho=RHO).low for n in LOOKS])
    assert (means + lows > 0).any(axis=1).mean() <= ALPHA
    assert (-lows < half_widths()).all()


def test_several_metrics_share_one_error_rate() -> None:
    assert bonferroni(0.05, {"ctr": 3, "watch": 1}) == pytest.approx({"ctr": 0.0375, "watch": 0.0125})
    assert average({"ctr": 30.0, "watch": 0.0}) == 15.0
    with pytest.raises(ValueError, match="at least one metric"):
        bonferroni(0.05, {"ctr": 0})
    with pytest.raises(ValueError, match="no evidence"):
        average({})


@pytest.mark.parametrize(("users", "alpha"), [(0, 0.05), (10, 0.0), (10, 1.0)])
def test_what_has_no_interval_is_refused(users: int, alpha: float) -> None:
    with pytest.raises(SequenceError, match="expected users above 0"):
        tuning(users, alpha)
