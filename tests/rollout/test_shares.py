"""Arms of different sizes, and arms without variance: what is used, and how often it is wrong."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy.stats import fisher_exact, ttest_ind

from serving.rollout.bench.chance import merged
from serving.rollout.bench.population import PURCHASES
from serving.rollout.bench.running import Arrivals
from serving.rollout.bench.shares import money, rare, share_z
from serving.rollout.statistics.effect import Effect, Metric, Ratio, effect
from serving.rollout.statistics.floor import equal, least_variance
from serving.rollout.statistics.moments import Moments


def found(stable: np.ndarray, candidate: np.ndarray) -> Effect:
    return effect(Metric(Ratio("x")), Moments.of({"x": stable}), Moments.of({"x": candidate}))


def shares(hits: int, users: int) -> np.ndarray:
    return np.r_[np.ones(hits), np.zeros(users - hits)]


def test_uneven_arms_are_judged_by_the_greater_of_welchs_and_students_variance() -> None:
    random = np.random.default_rng(1)
    for sizes in ((9000, 1000), (1000, 9000), (5000, 5000)):
        for scales in ((1.0, 1.0), (1.0, 3.0), (3.0, 1.0)):
            left, right = (random.exponential(scale, size) for scale, size in zip(scales, sizes, strict=True))
            effect_ = found(left, right)
            wide = effect_.absolute_se * sqrt(effect_.widened)
            both = [ttest_ind(right, left, equal_var=same).statistic for same in (True, False)]
            assert effect_.absolute / wide == pytest.approx(min(both, key=abs), rel=1e-9)
    assert effect_.widened == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("stable", "candidate"), [((20, 9000), (0, 1000)), ((0, 1000), (20, 9000)), ((4, 5000), (0, 5000))]
)
def test_a_small_arm_without_the_rare_event_is_no_harm(stable: tuple[int, int], candidate: tuple[int, int]) -> None:
    """Fisher's exact p is 0.12 and more; each arm's own variance alone said 4.5 standard errors."""
    table = [[stable[0], stable[1] - stable[0]], [candidate[0], candidate[1] - candidate[0]]]
    assert fisher_exact(table).pvalue > 0.05
    effect_ = found(shares(*stable), shares(*candidate))
    assert not effect_.absolute_interval(1.96).excludes(0)


@pytest.mark.parametrize(("hits", "users"), [(0, 200), (0, 20_000), (200, 200)])
def test_an_arm_of_one_number_is_as_uncertain_as_a_single_exception_would_make_it(hits: int, users: int) -> None:
    effect_ = found(shares(users * 3 // 10, users), shares(hits, users))
    one = shares(abs(hits - 1), users).var(ddof=1) / users
    assert effect_.candidate.variance == pytest.approx(one, rel=0.02)
    assert 3 * sqrt(effect_.candidate.variance) == pytest.approx(3 / users, rel=0.01)  # the rule of three


def test_the_floor_never_makes_an_arm_less_sure_than_users_like_the_others_would() -> None:
    for gap in (1e-9, 1e-3, 0.5, 10.0):
        assert least_variance(1000, gap, 4.0) <= (sqrt(4.0 / 1000) + gap / 1000) ** 2 * (1 + 1e-12)
    assert least_variance(1000, 0.0, 0.0) == 0.0
    assert equal(0.1 + 0.2, 0.3)
    assert not equal(0.0, 1e-300)


def test_the_simulated_shares_are_judged_as_the_product_does() -> None:
    for cell in ((0, 90, 10, 30), (4, 90, 0, 30), (0, 50, 0, 50), (50, 50, 50, 50), (0, 50, 50, 50), (7, 40, 9, 80)):
        hits, n, other, m = (np.array([each]) for each in cell)
        effect_ = found(shares(cell[0], cell[1]), shares(cell[2], cell[3]))
        wide = effect_.absolute_se * sqrt(effect_.widened)
        assert share_z(hits, n, other, m)[0] == pytest.approx(effect_.absolute / wide if wide else 0.0, rel=1e-9)


def test_money_in_a_tenth_of_the_users_is_called_different_no_more_often_than_promised() -> None:
    arrivals, parts = Arrivals(days=14, users=20_000), range(4)
    told = merged(
        money(np.random.default_rng(seed), PURCHASES, arrivals, runs=25, alpha=0.05, least_users=500) for seed in parts
    )
    chances = {each.story: each for each in told}
    for part in ("50/50", "20/80", "10/90"):
        assert chances[f"{part}: interval leaves the truth out"].share <= 0.02
    assert chances["10/90: by the arms' own variances alone"].share > 0.04
    assert chances["50/50: by the arms' own variances alone"].share <= 0.02


@pytest.mark.parametrize("rate", [0.0005, 0.9995])
def test_rare_events_are_called_different_no_more_often_than_promised(rate: float) -> None:
    told = rare(np.random.default_rng(5), runs=1000, rate=rate, users=20_000, least_users=1000, alpha=0.05)
    assert len(told) == 9
    assert all(each.holds() for each in told), told
