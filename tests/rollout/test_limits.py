"""Chances of operational counts: exact by independent formulas, and rare enough over a whole experiment."""

from __future__ import annotations

from math import comb, isinf

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact

from serving.rollout.experiment.limits import Sample, judged, reading_alpha, spans
from serving.rollout.experiment.spec import Operational
from serving.rollout.statistics.limits import (
    exceedance_chance,
    least_share,
    rankings_to_find,
    ratio_chance,
    share_chance,
)
from tests.experiments_life.worlds import spec_of


def test_a_share_is_judged_by_the_binomial_tail():
    for count, of, limit in ((1, 100, 0.01), (11, 100, 0.01), (40, 200, 0.1), (3, 3, 0.5)):
        exact = sum(comb(of, k) * limit**k * (1 - limit) ** (of - k) for k in range(count, of + 1))
        assert share_chance((count, of), limit) == pytest.approx(exact, rel=1e-9)
    assert share_chance((0, 100), 0.01) == 1.0
    assert share_chance((1, 100), 0.0) == 0.0, "a limit of 0 is passed by the first"
    assert least_share((11, 100), 0.01) == pytest.approx(binomtest(11, 100).proportion_ci(0.98, "exact").low)


def test_two_shares_are_judged_given_both_arms_count():
    assert ratio_chance((8, 100), (0, 100), 1.0) == pytest.approx(0.5**8)
    assert ratio_chance((8, 100), (0, 200), 2.0) == pytest.approx(0.5**8)
    assert ratio_chance((0, 100), (5, 100), 2.0) == 1.0


def test_two_percentiles_are_judged_by_fishers_exact_test():
    table = [[30, 470], [5, 495]]
    expected = fisher_exact(table, alternative="greater").pvalue
    assert exceedance_chance((30, 500), (5, 500)) == pytest.approx(expected)
    assert exceedance_chance((0, 500), (5, 500)) == 1.0


def test_rankings_to_find_a_share_are_those_at_which_the_expected_count_is_proof():
    alpha = 1e-8
    needed = rankings_to_find(0.02, 0.01, alpha)
    assert share_chance((round(0.02 * needed), needed), 0.01) <= 2 * alpha
    assert share_chance((round(0.02 * needed / 2), needed // 2), 0.01) > alpha
    assert rankings_to_find(1.0, 0.01, alpha) == 4
    assert isinf(rankings_to_find(0.01, 0.01, alpha))


def limit_of(**changes: object) -> Operational:
    return Operational.model_validate({"name": "failures", "kind": "failures", "limit": 0.01, **changes})


def test_longer_spans_follow_the_window_up_to_a_day():
    assert [each.total_seconds() for each in spans(limit_of())] == [300, 3600, 43_200]
    assert [each.total_seconds() for each in spans(limit_of(window="24h"))] == [86_400]
    assert len(spans(limit_of(kind="query", query="vector(1)"))) == 1


def test_a_reading_is_of_the_shortest_span_with_enough_rankings_and_a_breach_of_any():
    short = Sample(0.0, 40, 1.0, "0 of 40 rankings", "5 min")
    long = Sample(0.02, 300, 1e-3, "6 of 300 rankings", "1 h")
    found = judged(limit_of(), [short, long], 1e-8)
    assert (found.value, found.above, found.breached, found.few) == (0.02, True, False, False)
    assert judged(limit_of(), [short], 1e-8).few
    dead = Sample(1.0, 6, 1e-12, "6 of 6 rankings", "5 min")
    assert judged(limit_of(), [dead, long], 1e-8).breached


def test_alpha_is_shared_by_all_readings_of_maximum_time():
    spec = spec_of(guardrails=[{"name": "failures", "kind": "failures", "limit": 0.01}], analysis__maximumTime="28d")
    assert reading_alpha(spec) == pytest.approx(0.01 / (28 * 2880 * 3))


def test_the_issues_example_stays_and_total_failure_is_found_at_once():
    """True rate 0.3 %, limit 1 %, 100 rankings a window: the point is above the limit in a window of each thirty."""
    spec = spec_of(guardrails=[{"name": "failures", "kind": "failures", "limit": 0.01}], analysis__maximumTime="28d")
    alpha, draw = reading_alpha(spec), np.random.default_rng(4)
    failed = draw.binomial(10, 0.003, 80_640)
    window = np.convolve(failed, np.ones(10, dtype=int), "valid")
    assert (window > 1).any()
    assert share_chance((int(window.max()), 100), 0.01) > alpha
    fails = next(count for count in range(1, 100) if share_chance((count, 100), 0.01) <= alpha)
    assert fails <= 12, "of 20 rankings a minute: within a minute"
    assert rankings_to_find(1.0, 0.01, alpha) <= 5
