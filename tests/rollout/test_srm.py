"""Sample-ratio mismatch: the test for one look against scipy, the watch against simulation."""

import numpy as np
import pytest
from scipy import stats

from serving.rollout.statistics.srm import RatioError, RatioWatch, once


def test_one_look_is_pearsons_test() -> None:
    found = once([5000, 5200, 1020], [0.45, 0.45, 0.1])
    by_scipy = stats.chisquare([5000, 5200, 1020], found.expected)
    assert found.p_value == pytest.approx(by_scipy.pvalue, rel=1e-9)
    assert once([0, 0], [0.5, 0.5]).p_value == 1.0


def watched(draw: np.random.Generator, shares: list[float], logged: list[float]) -> RatioWatch:
    watch, counts = RatioWatch(), np.zeros(2, dtype=int)
    for _ in range(50):
        counts += draw.multinomial(2000, logged)
        watch = watch.look(counts.tolist(), shares)
    return watch


def test_right_shares_are_hardly_ever_refused_however_often_one_looks() -> None:
    draw = np.random.default_rng(1)
    refused = sum(watched(draw, [0.9, 0.1], [0.9, 0.1]).mismatch(0.05) for _ in range(400))
    assert refused / 400 <= 0.05


def test_a_faulty_logger_is_found() -> None:
    draw = np.random.default_rng(2)
    assert all(watched(draw, [0.5, 0.5], [0.51, 0.49]).mismatch(0.01) for _ in range(20))


def test_a_refusal_stays() -> None:
    watch = RatioWatch().look([6000, 4000], [0.5, 0.5]).look([50_000, 50_000], [0.5, 0.5])
    assert watch.mismatch(0.001)


def test_evidence_of_stretches_with_other_shares_multiplies() -> None:
    first, second = ([1000, 10], [0.99, 0.01]), ([5200, 4800], [0.5, 0.5])
    alone = RatioWatch().look(*second)
    after_fair = RatioWatch().finish([9900, 100], [0.99, 0.01]).look(*second)
    assert after_fair.least_p > alone.least_p  # a stretch that fits speaks for the shares
    assert RatioWatch().finish(*first).least_p == RatioWatch().look(*first).least_p


def test_users_in_an_arm_without_a_share_are_a_mismatch() -> None:
    assert RatioWatch().look([1000, 1], [1.0, 0.0]).least_p == 0.0
    assert RatioWatch().look([1000, 0], [1.0, 0.0]).least_p == 1.0


def test_counts_without_shares_are_refused() -> None:
    with pytest.raises(RatioError, match="two or more arms"):
        once([10], [1.0])
    with pytest.raises(RatioError, match="two or more arms"):
        RatioWatch().look([10, -1], [0.5, 0.5])
