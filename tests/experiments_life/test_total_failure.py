"""What fails wholly, or begins from nothing, is seen at the first look: the sign is that of the absolute difference."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

from serving.rollout.experiment.sentences import excluded, interval
from serving.rollout.experiment.state import Basis, Estimate, Outcome, State
from tests.experiments_life.test_analysis import CLICKS, DAY, PER_VIEW, Columns, look_at, metric_spec, state_at

METHODS = ("always-valid", "group-sequential", "fixed")


def sometimes(count: int, users: int, **others: Any) -> Columns:
    """So many users who clicked once; nobody did anything before."""
    clicks = np.r_[np.ones(count), np.zeros(users - count)]
    return {"click_sum": clicks, "click_sum_before": np.zeros(users), **others}


def spec_for(users: int, method: str = "always-valid", metric: Columns = CLICKS, **changes: Any) -> Any:
    planned = {"analysis__method": method, "analysis__plannedUsers": 2 * users}
    return metric_spec({"cuped": False, **metric}, **planned, **changes)


@pytest.mark.parametrize(("method", "cuped"), list(product(METHODS, (True, False))))
@pytest.mark.parametrize(
    ("stable", "candidate", "users", "outcome"),
    [
        (13_950, 0, 46_500, Outcome.HARM),
        (13_950, 46, 46_500, Outcome.HARM),
        (0, 13_950, 46_500, Outcome.WIN),
        (5, 500, 5000, Outcome.WIN),
        (0, 500, 5000, Outcome.WIN),
        (500, 5, 5000, Outcome.HARM),
        (0, 5000, 5000, Outcome.WIN),
        (5000, 0, 5000, Outcome.HARM),
        (5000, 4500, 5000, Outcome.HARM),
        (0, 1, 5000, Outcome.INCONCLUSIVE),
        (5, 0, 5000, Outcome.INCONCLUSIVE),
        (0, 0, 5000, Outcome.INCONCLUSIVE),
        (5000, 5000, 5000, Outcome.INCONCLUSIVE),
    ],
)
def test_an_arm_without_variance_is_judged_by_every_method(method, cuped, stable, candidate, users, outcome):
    left, right = sometimes(stable, users), sometimes(candidate, users)
    for arm in (left, right):
        arm["click_sum_before"] = np.random.default_rng(1).poisson(2, users).astype(float)
    look = look_at(spec_for(users, method, {**CLICKS, "cuped": cuped}), left, right, watched=2 * DAY)
    if (stable, candidate, method) == (5, 0, method) and method != "always-valid":
        outcome = look.outcome  # 5 against 0 is p 0.06 exactly: on the edge, either is right
    assert look.outcome is outcome


def test_total_failure_is_harm_with_a_bound_on_how_total():
    users = 46_500
    look = look_at(spec_for(users), sometimes(13_950, users), sometimes(0, users))
    found = look.primary
    assert (look.outcome, found.judged_by) == (Outcome.HARM, Basis.RELATIVE)
    assert (found.absolute, found.relative) == (pytest.approx(-0.3), pytest.approx(-1))
    assert found.absolute_low < -0.3 < found.absolute_high < -0.29
    assert 1e-5 < found.high + 1 < 1e-3  # "all of it" is not known to the last user: the rule of three
    assert look.sums == {"click_sum": (13_950.0, 0.0), "click_sum_before": (0.0, 0.0)}


def test_where_stable_has_nearly_nothing_there_is_an_absolute_interval_and_no_relative_one():
    look = look_at(spec_for(5000), sometimes(5, 5000), sometimes(500, 5000))
    found = look.primary
    assert (found.judged_by, found.low, found.high) == (Basis.ABSOLUTE, None, None)
    assert found.absolute_low > 0.08
    assert "0.001 ± 0.00045: too uncertain to divide by" in found.not_relative
    assert "absolute: stable's value is 0.001" in interval(found)
    assert "(absolute)" in excluded(found)
    kept = State.model_validate_json(state_at(looks=(look,)).model_dump_json(by_alias=True, exclude_defaults=True))
    assert kept.looks == (look,)


@pytest.mark.parametrize("direction", ["increase", "decrease"])
def test_the_absolute_interval_is_that_of_welchs_test_and_the_relative_one_agrees_about_zero(direction):
    random = np.random.default_rng(3)
    for lift in (0.0, 0.05, -0.05, 0.3):
        left, right = (
            {"click_sum": random.gamma(2.0, 1 + each, 3000), "click_sum_before": np.zeros(3000)} for each in (0.0, lift)
        )
        spec = spec_for(3000, "fixed", {**CLICKS, "direction": direction})
        found = look_at(spec, left, right).primary
        theirs = ttest_ind(right["click_sum"], left["click_sum"], equal_var=False).confidence_interval(0.95)
        assert (found.absolute_low, found.absolute_high) == pytest.approx((theirs.low, theirs.high), abs=1e-4)
        assert (found.low <= 0 <= found.high) == (found.absolute_low <= 0 <= found.absolute_high)


def ratio(clicks: int, viewers: int, users: int) -> Columns:
    """Users of whom some view three times, and so many of those click once."""
    views = np.r_[np.full(viewers, 3.0), np.zeros(users - viewers)]
    return sometimes(clicks, users, view_sum=views, view_sum_before=np.zeros(users))


@pytest.mark.parametrize("direction", ["increase", "decrease"])
@pytest.mark.parametrize(("clicks", "viewers"), [(0, 0), (0, 1), (1, 1), (0, 20), (20, 20), (100, 400)])
def test_a_candidate_that_loses_what_a_ratio_is_divided_by_has_failed(direction, clicks, viewers):
    metric = {**PER_VIEW, "direction": direction}
    look = look_at(spec_for(5000, metric=metric), ratio(1000, 4000, 5000), ratio(clicks, viewers, 5000))
    assert (look.outcome, look.primary.judged_by) == (Outcome.HARM, Basis.DENOMINATOR)
    assert "of 'view_sum' per user where stable has 2.4" in look.because
    assert look.primary.low is look.primary.absolute_low is None


@pytest.mark.parametrize(
    ("stable", "candidate", "outcome"),
    [
        ((1000, 4000), (0, 4000), Outcome.HARM),
        ((0, 4000), (1000, 4000), Outcome.WIN),
        ((0, 0), (1000, 4000), Outcome.PENDING),
        ((0, 0), (0, 0), Outcome.PENDING),
        ((2, 3), (3, 3), Outcome.PENDING),
        ((0, 4000), (0, 4000), Outcome.PENDING),
    ],
)
def test_a_ratio_is_judged_where_both_denominators_are_there(stable, candidate, outcome):
    look = look_at(spec_for(5000, metric=PER_VIEW), ratio(*stable, 5000), ratio(*candidate, 5000))
    assert look.outcome is outcome
    assert look.because


@pytest.mark.parametrize(
    ("direction", "stable", "candidate", "kept"),
    [
        ("increase", 1500, 0, False),
        ("increase", 0, 500, True),
        ("decrease", 0, 500, False),
        ("decrease", 5, 500, False),
        ("decrease", 500, 0, True),
        ("decrease", 0, 0, None),
        ("increase", 1500, 1490, None),
    ],
)
def test_a_guardrail_of_users_needs_no_relative_interval(direction, stable, candidate, kept):
    guard = {"metric": {**CLICKS, "name": "guard", "direction": direction, "cuped": False}, "margin": 0.02}
    look = look_at(spec_for(5000, metricGuardrails=[guard]), sometimes(stable, 5000), sometimes(candidate, 5000))
    (found,) = look.guardrails
    assert found.kept is kept
    assert bool(look.breached) is (kept is False)


def test_numbers_that_differ_by_rounding_alone_are_the_same():
    left = {"click_sum": np.full(5000, 0.1 + 0.2), "click_sum_before": np.zeros(5000)}
    right = {"click_sum": np.full(5000, 0.3), "click_sum_before": np.zeros(5000)}
    look = look_at(spec_for(5000), left, right)
    assert (look.outcome, look.primary.absolute) == (Outcome.PENDING, 0.0)


def test_an_old_states_estimates_are_read_without_a_difference():
    old = {"metric": "clicks", "stable": 1.0, "candidate": 1.1, "relative": 0.1, "low": 0.05, "high": 0.15,
           "level": 0.95, "because": ""}  # fmt: skip
    found = Estimate.model_validate(old)
    assert (found.absolute, found.judged_by, found.kept) == (None, None, None)
    assert interval(found) == "clicks: +10 % [+5 %, +15 %] (95 %)"


def test_the_metric_without_cuped_is_told_beside_it():
    left, right = sometimes(1000, 5000), sometimes(1200, 5000)
    for arm in (left, right):
        arm["click_sum_before"] = arm["click_sum"] + np.random.default_rng(2).normal(0, 0.3, 5000)
    look = look_at(spec_for(5000, metric={**CLICKS, "cuped": True}), left, right)
    assert look.without_cuped.absolute == pytest.approx(0.04)
    assert look.without_cuped.stable_deviation == pytest.approx(0.4, rel=1e-3)
    assert look.primary.stable_deviation < 0.35
    assert look_at(spec_for(5000), left, right).without_cuped is None
