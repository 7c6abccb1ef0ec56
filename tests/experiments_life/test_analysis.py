"""What a look says, against numpy on the users themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import log, sqrt
from typing import Any

import numpy as np
import pytest

from serving.rollout.experiment.analysis import analyse, no_worse, worse
from serving.rollout.experiment.decide import begin
from serving.rollout.experiment.evidence import Evidence, Quality
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Look, Outcome, State
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.sequence import tuning
from tests.experiments_life.worlds import NAME, START, UID, spec_of

Columns = Mapping[str, Any]
CLICKS = {"name": "clicks", "numerator": {"event": "click"}}
PER_VIEW = {"name": "per-view", "numerator": {"event": "click"}, "denominator": {"event": "view"}}
HOUR, DAY = 3600.0, 86_400.0


def state_at(**fields: Any) -> State:
    return begin(NAME, UID, START).model_copy(update={"watched": 12 * HOUR, **fields})


def evidence_of(stable: Columns, candidate: Columns, **changes: Any) -> Evidence:
    sums = {"stable": Moments.of(stable), "candidate": Moments.of(candidate)}
    exposed = {arm: each.count for arm, each in sums.items()}
    return replace(Evidence(START, exposed, sums, sums), **changes)


def users(seed: int, count: int, lift: float = 0.0) -> Columns:
    """Users who view and click; what they did before goes with what they do."""
    random = np.random.default_rng(seed)
    keen = random.gamma(2.0, 0.5, count)
    views = random.poisson(10 * keen) + 1.0
    before = random.poisson(10 * keen) + 1.0
    clicks = random.binomial(views.astype(int), np.clip(0.2 * (1 + lift), 0, 1)).astype(float)
    clicks_before = random.binomial(before.astype(int), 0.2).astype(float)
    return {"click_sum": clicks, "view_sum": views, "click_sum_before": clicks_before, "view_sum_before": before}


def metric_spec(metric: Columns = CLICKS, **changes: Any) -> ExperimentSpec:
    return spec_of(primaryMetric={**metric}, **changes)


def look_at(spec: ExperimentSpec, stable: Columns, candidate: Columns, **fields: Any) -> Look:
    return analyse(spec, evidence_of(stable, candidate), state_at(**fields), START)


def widths(look: Look, stable: Columns, candidate: Columns, bottom: str | None, *, cuped: bool = True) -> list[float]:
    """How many standard errors the users are away from "the effect is r", at both ends r of the interval."""
    (left, left_variance), (right, right_variance) = by_hand(stable, candidate, bottom, cuped=cuped)
    found = []
    for end in (look.primary.low, look.primary.high):
        assert end is not None
        variance = (right_variance + (1 + end) ** 2 * left_variance) * wider(stable, candidate, bottom, cuped=cuped)
        found.append(abs(right - (1 + end) * left) / sqrt(variance))
    return found


def wider(stable: Columns, candidate: Columns, bottom: str | None, *, cuped: bool) -> float:
    """Student's pooled variance over Welch's, where it is the greater one: by the textbook."""
    own = [variance for _, variance in by_hand(stable, candidate, bottom, cuped=cuped)]
    n, m = len(stable["click_sum"]), len(candidate["click_sum"])
    pooled = ((n - 1) * own[0] * n + (m - 1) * own[1] * m) / (n + m - 2)
    return max(1.0, pooled * (1 / n + 1 / m) / sum(own))


def influence(values: Any, weights: Any | None) -> tuple[float, Any]:
    """A mean or ratio, and what each user adds to its error."""
    if weights is None:
        return values.mean(), values - values.mean()
    ratio = values.mean() / weights.mean()
    return ratio, (values - ratio * weights) / weights.mean()


def by_hand(stable: Columns, candidate: Columns, bottom: str | None, *, cuped: bool) -> list[tuple[float, float]]:
    """Each arm's value and its variance, from one row per user."""
    arms = [
        (influence(each["click_sum"], None if bottom is None else each[bottom]),
         influence(each["click_sum_before"], None if bottom is None else each[f"{bottom}_before"]))
        for each in (stable, candidate)
    ]  # fmt: skip
    y, x = (np.concatenate([arm[place][1] for arm in arms]) for place in (0, 1))
    theta = (y @ x) / (x @ x) if cuped else 0.0
    both = {name: np.concatenate([stable[name], candidate[name]]) for name in stable}
    centre, _ = influence(both["click_sum_before"], None if bottom is None else both[f"{bottom}_before"])
    return [
        (arm[0][0] - theta * (arm[1][0] - centre), (arm[0][1] - theta * arm[1][1]).var(ddof=1) / len(arm[0][1]))
        for arm in arms
    ]


@pytest.mark.parametrize("cuped", [True, False])
@pytest.mark.parametrize("bottom", [None, "view_sum"])
def test_the_interval_is_fiellers_of_the_delta_method_with_cuped_by_regression(cuped, bottom):
    stable, candidate = users(1, 3000), users(2, 3100, lift=0.05)
    metric = {**(CLICKS if bottom is None else PER_VIEW), "cuped": cuped}
    look = look_at(metric_spec(metric), stable, candidate)
    (left, _), (right, _) = by_hand(stable, candidate, bottom, cuped=cuped)
    count, rho = 6100, tuning(20_000, 0.05)
    half = sqrt(2 * (count * rho**2 + 1) / (count * rho) ** 2 * log(sqrt(count * rho**2 + 1) / 0.05)) * sqrt(count)
    assert look.primary.relative == pytest.approx(right / left - 1, rel=1e-9)
    assert widths(look, stable, candidate, bottom, cuped=cuped) == pytest.approx([half, half], rel=1e-9)
    assert look.users == (3000, 3100)
    assert (look.variance_left < 0.9) == cuped if bottom is None else look.variance_left <= 1.0


@pytest.mark.parametrize(
    ("direction", "lift", "outcome"),
    [
        ("increase", 0.3, Outcome.WIN), ("increase", -0.3, Outcome.HARM), ("increase", 0.0, Outcome.PENDING),
        ("decrease", 0.3, Outcome.HARM), ("decrease", -0.3, Outcome.WIN), ("decrease", 0.0, Outcome.PENDING),
    ],
)  # fmt: skip
def test_a_win_is_the_good_direction(direction, lift, outcome):
    spec = metric_spec({**PER_VIEW, "direction": direction})
    look = look_at(spec, users(3, 4000), users(4, 4000, lift=lift))
    assert look.outcome is outcome
    assert ("good side" in look.because) == (outcome is Outcome.WIN)


def test_a_win_waits_for_the_minimum_time_and_harm_does_not():
    spec = metric_spec(PER_VIEW)
    early = {"watched": 2 * HOUR}
    better = look_at(spec, users(3, 4000), users(4, 4000, lift=0.3), **early)
    assert better.outcome is Outcome.PENDING
    assert "needs minimumTime, 4 h more" in better.because
    assert look_at(spec, users(3, 4000), users(4, 4000, lift=-0.3), **early).outcome is Outcome.HARM


def test_too_few_users_are_pending_and_inconclusive_when_time_is_over():
    spec = metric_spec(PER_VIEW)
    look = look_at(spec, users(3, 199), users(4, 4000, lift=0.3))
    assert look.outcome is Outcome.PENDING
    assert "199 and 4,000 users" in look.because
    assert look.primary.low is None
    assert look_at(spec, users(3, 199), users(4, 4000), watched=2 * DAY).outcome is Outcome.INCONCLUSIVE


def test_clicks_per_ranking_are_explained_by_clicks_before_as_nobody_was_exposed_then():
    metric = {**PER_VIEW, "denominator": {"event": "exposure", "aggregate": "count"}}
    arms = []
    for seed in (3, 4):
        arm = users(seed, 4000)
        arm["exposure_count"], arm["exposure_count_before"] = arm.pop("view_sum"), np.zeros(4000)
        arm["click_sum"] = arm["click_sum"] + 2 * arm["click_sum_before"]
        arms.append(arm)
    look = look_at(metric_spec(metric), *arms)
    assert look.primary.because == ""
    assert look.variance_left < 0.7


def test_fewer_users_than_at_the_look_before_are_no_look():
    spec = metric_spec(PER_VIEW)
    before = look_at(spec, users(3, 4000), users(4, 4000))
    look = look_at(spec, users(3, 3000), users(4, 4000, lift=0.3), looks=(before,))
    assert look.outcome is Outcome.PENDING
    assert "fewer than" in look.because


def test_no_difference_is_inconclusive_when_time_is_over():
    look = look_at(metric_spec(PER_VIEW), users(3, 4000), users(4, 4000), watched=2 * DAY)
    assert look.outcome is Outcome.INCONCLUSIVE


CONSTANT = {"click_sum": np.ones(500), "view_sum": np.ones(500)}
NOTHING = {"click_sum": np.zeros(500), "view_sum": np.zeros(500)}


@pytest.mark.parametrize(
    ("metric", "stable", "candidate", "because"),
    [
        (CLICKS, CONSTANT, CONSTANT, "all users of both arms have the same number, 1"),
        (CLICKS, NOTHING, NOTHING, "all users of both arms have the same number, 0"),
        (PER_VIEW, NOTHING, CONSTANT, "the mean of 'view_sum' is 0.0"),
        (PER_VIEW, NOTHING, NOTHING, "the mean of 'view_sum' is 0.0"),
        (CLICKS, {"view_sum": np.ones(500)}, {"view_sum": np.ones(500)}, "no column 'click_sum'"),
        (CLICKS, {"click_sum": np.ones(500)}, CONSTANT, "only like sums"),
    ],
)
@pytest.mark.parametrize(("watched", "outcome"), [(12 * HOUR, Outcome.PENDING), (2 * DAY, Outcome.INCONCLUSIVE)])
def test_what_cannot_be_computed_is_never_a_pass(metric, stable, candidate, because, watched, outcome):
    look = look_at(metric_spec({**metric, "cuped": False}), stable, candidate, watched=watched)
    assert look.outcome is outcome
    assert because in look.because
    assert look.primary.low is look.primary.high is look.primary.absolute_low is look.primary.absolute_high is None
    assert because in look.primary.because
    assert State.model_validate_json(state_at(looks=(look,)).model_dump_json(by_alias=True)).looks == (look,)


def test_more_is_better_where_values_are_negative():
    random = np.random.default_rng(7)
    stable, candidate = ({"click_sum": random.normal(mean, 1.0, 2000)} for mean in (-10.0, -8.0))
    look = look_at(metric_spec({**CLICKS, "cuped": False}), stable, candidate)
    assert look.outcome is Outcome.WIN
    assert look.primary.relative == pytest.approx(0.2, abs=0.01)


def test_without_a_time_before_the_effect_is_told_without_cuped_and_says_so():
    def bare(columns: Columns) -> Columns:
        return {name: each for name, each in columns.items() if not name.endswith("before")}

    look = look_at(metric_spec(PER_VIEW), bare(users(3, 4000)), bare(users(4, 4000, lift=0.3)))
    assert look.outcome is Outcome.WIN
    assert look.primary.because.startswith("without CUPED: there is no column 'click_sum_before'")


@pytest.mark.parametrize("empty", [(0, 0), (0, 500), (1, 1)])
def test_no_users_at_all_are_pending(empty):
    def first(columns: Columns, count: int) -> Columns:
        return {name: each[:count] for name, each in columns.items()}

    spec = metric_spec(PER_VIEW, metricGuardrails=[{"metric": {**CLICKS, "name": "all"}, "margin": 0.1}])
    look = look_at(spec, first(users(3, 600), empty[0]), first(users(4, 600), empty[1]))
    assert look.outcome is Outcome.PENDING
    assert look.primary.relative is None
    assert look.guardrails[0].low is None
    assert not look.breached


def test_secondary_metrics_hold_together_at_the_level():
    spec = metric_spec(PER_VIEW, secondaryMetrics=[{**CLICKS, "name": f"s{place}"} for place in range(5)])
    look = look_at(spec, users(3, 4000), users(4, 4000))
    assert [each.level for each in look.secondary] == [pytest.approx(0.99)] * 5
    plain = look_at(metric_spec(CLICKS, analysis__alpha=0.01), users(3, 4000), users(4, 4000))
    assert look.secondary[0].low == pytest.approx(plain.primary.low)


@pytest.mark.parametrize(
    ("direction", "lift", "margin", "breached", "shown"),
    [
        ("increase", -0.4, 0.05, True, False),
        ("increase", 0.0, 0.2, False, True),
        ("increase", -0.04, 0.03, False, False),
        ("decrease", 0.4, 0.05, True, False),
        ("decrease", 0.0, 0.2, False, True),
        ("decrease", 0.0, 0.03, False, False),
    ],
)
def test_a_metric_guardrail_is_one_sided_non_inferiority(direction, lift, margin, breached, shown):
    guard = {"metric": {**PER_VIEW, "name": "guard", "direction": direction}, "margin": margin}
    spec = metric_spec({**CLICKS, "cuped": False}, metricGuardrails=[guard])
    look = look_at(spec, users(3, 4000), users(4, 4000, lift=lift))
    (found,), (of,) = look.guardrails, spec.metric_guardrails
    assert bool(look.breached) is breached is worse(of, found)
    assert no_worse(of, found) is shown


def test_each_bound_of_a_guardrail_is_tighter_than_the_two_sided_interval():
    guard = {"metric": {**PER_VIEW, "name": "guard"}, "margin": 0.1}
    look = look_at(metric_spec(PER_VIEW, metricGuardrails=[guard]), users(3, 4000), users(4, 4000))
    (found,) = look.guardrails
    assert look.primary.low < found.low < found.relative < found.high < look.primary.high


def test_a_win_waits_until_guardrails_are_shown_to_be_no_worse():
    guard = {"metric": {**CLICKS, "name": "guard", "direction": "decrease", "cuped": False}, "margin": 0.25}
    spec = metric_spec(PER_VIEW, metricGuardrails=[guard])
    stable, candidate = users(3, 4000), users(4, 4000, lift=0.25)
    look = look_at(spec, stable, candidate)
    assert look.outcome is Outcome.PENDING
    assert not look.breached
    assert "guard is not yet shown to lose less than -25 %" in look.because
    assert look_at(spec, stable, candidate, watched=2 * DAY).outcome is Outcome.INCONCLUSIVE


OBRIEN_FLEMING = [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]
"""Bounds of five even looks at 0.05 two-sided: the tables of ldbounds."""


def test_group_sequential_looks_are_at_equal_steps_and_spend_alpha():
    spec = metric_spec(PER_VIEW, analysis__method="group-sequential", analysis__plannedUsers=5000)
    everybody = users(5, 2500), users(6, 2500)
    state, bounds = state_at(), []
    for count in range(300, 2501, 100):
        arms = [{name: each[:count] for name, each in arm.items()} for arm in everybody]
        look = analyse(spec, evidence_of(*arms), state, START)
        if look.information is None:
            assert look.primary.low is None
            assert "the next planned look is at" in look.because
            assert look.outcome is Outcome.PENDING
            continue
        low, high = widths(look, *arms, "view_sum")
        assert low == pytest.approx(high)
        bounds.append(low)
        state = state.model_copy(update={"spent_shares": (*state.spent_shares, look.information)})
    assert state.spent_shares == (0.2, 0.4, 0.6, 0.8, 1.0)
    assert bounds == pytest.approx(OBRIEN_FLEMING, abs=2e-3)
    assert look.outcome is Outcome.INCONCLUSIVE


def test_the_last_group_sequential_look_waits_for_the_minimum_time():
    spec = metric_spec(PER_VIEW, analysis__method="group-sequential", analysis__plannedUsers=5000)
    early = look_at(spec, users(5, 2500), users(6, 2500, lift=0.3), spent_shares=(0.8,), watched=HOUR)
    assert (early.information, early.outcome) == (None, Outcome.PENDING)
    assert "after minimumTime 6h" in early.because
    late = look_at(spec, users(5, 2600), users(6, 2600, lift=0.3), spent_shares=(0.8,))
    assert (late.information, late.outcome) == (1.04, Outcome.WIN)


def test_group_sequential_ends_with_what_it_has_when_time_is_over():
    spec = metric_spec(PER_VIEW, analysis__method="group-sequential", analysis__plannedUsers=50_000)
    over = {"watched": 2 * DAY}
    look = look_at(spec, users(5, 2500), users(6, 2500), **over)
    assert (look.information, look.outcome) == (0.1, Outcome.INCONCLUSIVE)
    assert look_at(spec, users(5, 2500), users(6, 2500, lift=0.5), **over).outcome is Outcome.WIN
    again = look_at(spec, users(5, 2500), users(6, 2500, lift=0.5), spent_shares=(0.1,), **over)
    assert (again.information, again.outcome) == (None, Outcome.INCONCLUSIVE)


def test_a_fixed_horizon_is_looked_at_once():
    spec = metric_spec(PER_VIEW, analysis__method="fixed", analysis__plannedUsers=5000)
    stable, candidate = users(5, 2500), users(6, 2500, lift=0.03)
    before = look_at(spec, users(5, 2400), users(6, 2400, lift=0.5))
    assert (before.outcome, before.primary.low) == (Outcome.PENDING, None)
    assert "the one look is at 5,000 users" in before.because
    look = look_at(spec, stable, candidate)
    assert widths(look, stable, candidate, "view_sum") == pytest.approx([1.959964, 1.959964], rel=1e-6)
    assert look.outcome in (Outcome.WIN, Outcome.INCONCLUSIVE)
    assert look_at(spec, stable, candidate, watched=HOUR).outcome is Outcome.PENDING
    assert look_at(spec, users(8, 900), users(9, 900), watched=2 * DAY).outcome is Outcome.INCONCLUSIVE


def test_the_arms_sizes_are_compared_with_one_to_one_and_the_least_p_is_kept():
    spec = metric_spec(PER_VIEW)
    even = evidence_of(users(3, 400), users(4, 400), exposed={"stable": 50_000, "candidate": 50_200})
    skewed = replace(even, exposed={"stable": 50_000, "candidate": 46_000})
    assert analyse(spec, even, state_at(), START).ratio_p > 0.1
    least = analyse(spec, skewed, state_at(), START).ratio_p
    assert least < 1e-6
    assert analyse(spec, even, state_at(ratio_least_p=least), START).ratio_p == least


def test_users_who_saw_captions_are_told_apart_and_quality_is_told():
    stable, candidate = users(3, 4000), users(4, 4000)
    some = {"stable": Moments.of(users(5, 900)), "candidate": Moments.of(users(6, 900, lift=0.3))}
    quality = Quality(duplicates=3, switched=1, capped={"click_sum": 7})
    evidence = evidence_of(stable, candidate, triggered=some, quality=quality)
    look = analyse(metric_spec(PER_VIEW), evidence, state_at(), START)
    assert look.triggered is not None
    assert look.triggered.relative > look.primary.relative
    assert look.quality == {"duplicates": 3, "switched": 1, "capped click_sum": 7}
