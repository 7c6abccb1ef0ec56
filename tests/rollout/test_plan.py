"""Plans against closed formulas, caps and histograms against numpy and scipy."""

from math import inf, sqrt

import numpy as np
import pytest
from scipy import stats

from serving.rollout.statistics.plan import (
    Method,
    PlanError,
    Spread,
    Traffic,
    cost_of_shares,
    days_needed,
    detectable,
    users_needed,
)
from serving.rollout.statistics.quantile import Histogram, HistogramError
from serving.rollout.statistics.winsor import CapError, Caps

WEEK = Traffic(tuple(100_000 * day for day in range(1, 8)), 0.5, 0.5)


def test_one_look_is_the_textbooks_formula() -> None:
    found = detectable(WEEK, Spread(2.0), 7, alpha=0.05, power=0.8, method=Method.FIXED_HORIZON)
    by_hand = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * 2.0 * sqrt(2 / 350_000)
    assert found == pytest.approx(by_hand, rel=1e-4)
    assert users_needed(Spread(2.0), found, alpha=0.05, power=0.8) == pytest.approx(350_000, rel=1e-3)


def test_the_papers_effect_takes_hundreds_of_millions_of_users() -> None:
    assert users_needed(Spread(1.0), 0.0002, alpha=0.05, power=0.8) == pytest.approx(3.92e8, rel=0.01)
    assert users_needed(Spread(1.0), 0.0, alpha=0.05, power=0.8) == inf
    assert days_needed(WEEK, Spread(1.0), 0.0002, alpha=0.05, power=0.8, method=Method.FIXED_HORIZON) is None


def test_more_looks_cost_more() -> None:
    found = [detectable(WEEK, Spread(2.0), 7, alpha=0.05, power=0.8, method=method) for method in Method]
    always, group, fixed = found
    assert fixed < group < always < 1.45 * fixed


def test_the_days_are_the_first_that_show_the_effect() -> None:
    spread, method = Spread(2.0), Method.GROUP_SEQUENTIAL
    effects = [detectable(WEEK, spread, day, alpha=0.05, power=0.8, method=method) for day in range(1, 8)]
    assert effects == sorted(effects, reverse=True)
    wanted = (effects[3] + effects[2]) / 2
    assert days_needed(WEEK, spread, wanted, alpha=0.05, power=0.8, method=method) == 4


def test_the_predicted_power_is_the_simulated_one() -> None:
    draw = np.random.default_rng(1)
    effect = detectable(WEEK, Spread(1.0), 7, alpha=0.05, power=0.8, method=Method.FIXED_HORIZON)
    z = effect / (1.0 * sqrt(2 / 350_000)) + draw.normal(size=20_000)
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.01)


def test_covariates_and_even_shares_buy_users() -> None:
    assert users_needed(Spread(1.0, 0.9), 0.01, alpha=0.05, power=0.8) == pytest.approx(
        0.19 * users_needed(Spread(1.0), 0.01, alpha=0.05, power=0.8)
    )
    assert cost_of_shares(0.5, 0.5) == 1.0
    assert cost_of_shares(0.9, 0.1) == pytest.approx(2.78, abs=0.01)
    uneven = Traffic(WEEK.users, 0.9, 0.1)
    assert WEEK.informative(7) / uneven.informative(7) == pytest.approx(cost_of_shares(0.9, 0.1))


def test_numbers_that_make_no_plan_are_refused() -> None:
    with pytest.raises(PlanError, match="never fall"):
        Traffic((100, 50), 0.5, 0.5)
    with pytest.raises(PlanError, match="at most 1 together"):
        Traffic((100,), 0.9, 0.2)
    with pytest.raises(PlanError, match="cv is 0"):
        Spread(0)
    with pytest.raises(PlanError, match="expected 1 to 7 days"):
        detectable(WEEK, Spread(1.0), 8, alpha=0.05, power=0.8, method=Method.FIXED_HORIZON)


def test_caps_come_from_history_and_say_whom_they_touched() -> None:
    history = np.arange(1000.0)
    caps = Caps.from_history({"watch": history}, 0.99)
    assert caps.largest == {"watch": 990.0}
    columns, above = caps.apply({"watch": np.array([1.0, 5000.0]), "clicks": np.array([3.0, 9e9])})
    assert columns["watch"].tolist() == [1.0, 990.0]
    assert columns["clicks"].tolist() == [3.0, 9e9]
    assert above == {"watch": 1}
    with pytest.raises(CapError, match="caps for"):
        caps.apply({"clicks": np.array([1.0])})
    with pytest.raises(CapError, match="quantile is 1"):
        Caps.from_history({"watch": history}, 1.0)
    with pytest.raises(CapError, match="finite history"):
        Caps.from_history({"watch": []}, 0.99)


def test_a_quantiles_interval_holds_the_true_one() -> None:
    draw = np.random.default_rng(2)
    edges = (*np.linspace(0.01, 1.0, 100).tolist(), inf)
    truth = stats.expon.ppf(0.99, scale=0.1)
    inside = 0
    for _ in range(200):
        calls = draw.exponential(0.1, 3000)
        low, high = Histogram.of(edges, [(calls <= edge).sum() for edge in edges]).quantile(0.99, alpha=0.05)
        inside += low <= truth <= high
    assert inside / 200 >= 0.95


def test_the_share_above_an_edge_is_clopper_and_pearsons() -> None:
    histogram = Histogram.of((0.1, 0.5, inf), (90, 97, 100))
    by_scipy = stats.binomtest(3, 100).proportion_ci(0.95, "exact")
    assert histogram.share_above(0.5, 0.05) == pytest.approx((by_scipy.low, by_scipy.high))
    assert Histogram.of((0.1, inf), (5, 5)).share_above(0.1, 0.05)[0] == 0.0
    with pytest.raises(HistogramError, match="no edge"):
        histogram.share_above(0.2, 0.05)
    with pytest.raises(HistogramError, match="increasing edges"):
        Histogram.of((0.5, 0.1, inf), (1, 2, 3))
