"""Plans of experiments: ramps against simulated visits, history against a world that is known, verdicts in words."""

import json
from dataclasses import replace
from math import inf, isfinite, sqrt

import numpy as np
import pytest

from serving.rollout.planning import Plan, plan
from serving.rollout.statistics.effect import Metric, Ratio, effect
from serving.rollout.statistics.history import Visits, measure
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.plan import Method, PlanError, Reading, Spread, drift, scale, users_needed
from serving.rollout.statistics.ramp import Lanes, Ramp, Reach, Step
from serving.rollout.statistics.winsor import CapRule

REACH = Reach.of(daily=100_000, monthly=500_000)
RAMP = Ramp((Step(0.01, 1 / 24), Step(0.05, 1 / 24), Step(0.25, 2), Step(0.5, 0)))


def planned(wanted: float | None = None, **changed: object) -> Plan:
    given: dict[str, object] = {
        "reach": REACH, "spread": Spread(2.0, 0.6), "ramp": RAMP, "reading": Reading(first_day=7), "wanted": wanted
    }  # fmt: skip
    return plan(**(given | changed))  # type: ignore[arg-type]


def test_the_papers_effect_cannot_be_seen_and_the_plan_says_so_outright() -> None:
    found = planned(0.0002)
    assert found.seen is False
    assert found.day is None
    assert "An effect of +0.02 % cannot be seen with this traffic" in found.verdict
    assert f"{found.users_needed:,.0f} users in each arm" in found.verdict
    assert found.users_needed == pytest.approx((found.detectable / 0.0002) ** 2 * found.users, rel=1e-6)


def test_a_large_effect_is_found_by_its_day() -> None:
    found = planned(0.02)
    assert found.seen is True
    assert found.day is not None
    by_day = {each.day: each.detectable for each in found.days}
    assert by_day[found.day] <= 0.02 < by_day[found.day - 1]
    assert f"An effect of +2 % is found by day {found.day}" in found.verdict
    assert planned(-0.02).day == found.day


def test_a_plan_lists_every_day_and_no_effect_before_looks_count() -> None:
    found = planned()
    assert [each.day for each in found.days] == list(range(1, 29))
    assert all(each.detectable == inf for each in found.days[:6])
    later = [each.detectable for each in found.days[6:]]
    assert later == sorted(later, reverse=True)
    assert found.detectable == later[-1]
    assert found.seen is None
    assert found.verdict.startswith("The smallest effect found in 28 days is")


def test_a_covariate_buys_correlation_squared_of_the_users() -> None:
    found = planned(0.02)
    assert found.cuped.users_saved == pytest.approx(0.36)
    assert found.detectable / found.cuped.detectable_without == pytest.approx(sqrt(1 - 0.36))
    assert found.days[-1].detectable_without_cuped == pytest.approx(found.cuped.detectable_without)
    assert found.cuped.day_without is None or found.day is None or found.cuped.day_without > found.day


def test_methods_are_told_side_by_side() -> None:
    by_method = {each.method: each for each in planned(0.02).methods}
    assert (
        by_method[Method.FIXED_HORIZON].detectable
        < by_method[Method.GROUP_SEQUENTIAL].detectable
        < by_method[Method.ALWAYS_VALID].detectable
    )
    lanes = Lanes.of(REACH, RAMP, 28, 1.0)
    once = users_needed(Spread(2.0, 0.6), by_method[Method.FIXED_HORIZON].detectable, alpha=0.05, power=0.8)
    assert once == pytest.approx(lanes.per_arm[-1], rel=1e-3)


def test_shares_and_ramps_have_their_price() -> None:
    slow = planned(ramp=Ramp((Step(0.01, 7), Step(0.1, 0))), reading=Reading(first_day=14))
    assert slow.costs.share == 5.0
    assert slow.costs.uneven == pytest.approx(2.78, abs=0.01)
    at_once = Lanes.of(REACH, Ramp((Step(0.1, 0),)), 28, 1.0)
    assert slow.costs.ramp == pytest.approx(at_once.per_arm[-1] / slow.users)
    assert slow.costs.ramp > 1.1
    assert planned().costs.ramp < 1.05


def test_a_plan_is_a_document() -> None:
    document = json.loads(json.dumps(planned(0.02).to_json(), allow_nan=False))
    assert document["days"][0]["detectable"] is None
    assert document["method"] == "always-valid"
    assert document["methods"][1]["method"] == "group-sequential"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"days": 3}, "within 3 days no look counts: the first is on day 7"),
        ({"wanted": 0.0}, "wanted is 0"),
        ({"wanted": float("nan")}, "wanted is nan; expected the relative effect"),
        ({"wanted": float("-inf")}, "wanted is -inf"),
        ({"wanted": 1e-200}, "wanted is 1e-200; .* of a size from 1e-09 to 1000"),
        ({"wanted": -1001.0}, "wanted is -1001"),
        ({"window_days": -1.0}, "window -1.0 days"),
    ],
)
def test_what_cannot_be_planned_is_refused(changed: dict[str, object], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        planned(**changed)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Reach.of(daily=0, monthly=5), "daily users are 0"),
        (lambda: Reach.of(daily=10, monthly=300), "at most 28 times daily"),
        (lambda: Reach((5.0, 4.0)), "never fall"),
        (lambda: Reach((5.0,)).within(2), "give users of more days"),
        (lambda: Ramp((Step(0.1, 1), Step(0.05, 1))), "shares that grow"),
        (lambda: Ramp((Step(0.6, 1),)), "at most 0.5"),
        (lambda: Reading(power=0.01), "power above alpha"),
        (lambda: Spread.of(0.0, 1.0), "mean is 0"),
        (lambda: Spread.of_rate(1.0), "rate is 1"),
        (lambda: Spread(1e200), r"cv is 1e\+200 .* \(1e-06 to 1e\+06\)"),
        (lambda: Spread.of(1e-300, 1e300), "cv is inf"),
        (lambda: Spread(1e-320), "cv is 1e-320"),
    ],
)
def test_numbers_that_cannot_be_are_refused(build: object, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        build()  # type: ignore[operator]


@pytest.mark.parametrize("wanted", [1e-9, -1e-9, 1000.0])
@pytest.mark.parametrize("cv", [1e-6, 1e6])
def test_the_ends_of_what_is_planned_for_are_finite(wanted: float, cv: float) -> None:
    found = planned(wanted, spread=Spread(cv))
    assert found.users_needed is not None
    assert isfinite(found.users_needed)
    assert "inf" not in found.verdict


def test_spreads_come_from_a_mean_or_a_rate() -> None:
    assert Spread.of(4.0, 6.0).cv == 1.5
    came = (np.arange(1000) < 200).astype(float)
    assert Spread.of_rate(0.2).cv == pytest.approx(came.std() / came.mean())


def test_planned_looks_fall_on_the_days_that_reach_their_share() -> None:
    lanes = Lanes(tuple(100.0 * day for day in range(1, 29)))
    five = drift(lanes, 28, Reading(Method.GROUP_SEQUENTIAL, looks=5))
    daily = drift(lanes, 28, Reading(Method.GROUP_SEQUENTIAL))
    assert drift(lanes, 28, Reading(Method.FIXED_HORIZON)) < five < daily
    assert drift(lanes, 6, Reading(first_day=7)) == inf
    assert isfinite(drift(lanes, 7, Reading(first_day=7)))


def test_reach_goes_on_between_and_beyond_its_days() -> None:
    assert REACH.within(0) == 0.0
    assert REACH.within(1) == pytest.approx(100_000)
    assert REACH.within(28) == pytest.approx(500_000)
    assert 100_000 < REACH.within(1.5) < REACH.within(2)
    assert REACH.within(56) == pytest.approx(100_000 * 56 ** (np.log(5) / np.log(28)))


def visits(draw: np.random.Generator, users: int, days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """User, day, clicks, views of users who come back at their own rate."""
    comes, taste = draw.beta(0.5, 2, users), draw.lognormal(0, 1, users)
    user, day = np.nonzero(draw.random((users, days)) < comes[:, None])
    views = draw.poisson(5 * taste[user]) + 1.0
    return user, day, draw.binomial(views.astype(int), 0.1 + 0.2 * comes[user]).astype(float), views


def test_lanes_fill_as_simulated_users_do() -> None:
    user, day, _, _ = visits(np.random.default_rng(1), 60_000, 20)
    draw = np.random.default_rng(2)
    place = draw.random(60_000)
    ramp = Ramp((Step(0.05, 3), Step(0.2, 4), Step(0.5, 0)))
    counted = Reach(tuple(float(len(np.unique(user[day < days]))) for days in range(1, 21)))
    lanes = Lanes.of(counted, ramp, 20, 2.0)
    shares = np.array([ramp.share(each) for each in range(20)])
    for by in (4, 9, 19):
        seen = day + 1 + 2 <= by  # a visit of day 0 may be at its end
        enrolled = np.unique(user[seen & (place[user] < shares[day])])
        assert lanes.per_arm[by - 1] == pytest.approx(len(enrolled), abs=4 * sqrt(len(enrolled)))


def test_history_says_what_the_analysis_of_the_same_users_says() -> None:
    user, day, clicks, views = visits(np.random.default_rng(3), 3000, 30)
    found = measure(Visits(user, day, clicks, views), window_days=2, before_days=10)
    first: dict[int, int] = {}
    for who, when in zip(user.tolist(), day.tolist(), strict=True):
        if when >= 10:
            first.setdefault(who, when)
            first[who] = min(first[who], when)
    rows = []
    for who, begin in first.items():
        if begin + 1 <= 29:
            own, inside = user == who, (day >= begin) & (day < begin + 2)
            before = (day < begin) & (day >= begin - 10)
            rows.append([part[own & span].sum() for span in (inside, before) for part in (clicks, views)])
    columns = dict(zip(("clicks", "views", "clicks_before", "views_before"), np.array(rows).T, strict=True))
    moments = Moments.of(columns)
    metric = Metric(Ratio("clicks", "views"), Ratio("clicks_before", "views_before"))
    by_hand = effect(metric, moments, moments)
    assert found.users == len(rows)
    assert found.value == pytest.approx(by_hand.stable.value, rel=1e-12)
    left = by_hand.stable.variance * len(rows) / by_hand.stable.value**2
    assert found.spread.cv_left**2 == pytest.approx(left, rel=1e-9)
    assert found.reach.by_days == tuple(float(len({w for w, b in first.items() if b < 10 + d})) for d in range(1, 21))


def test_history_without_a_time_before_has_no_covariate_and_caps_can_be_set() -> None:
    user, day, clicks, _ = visits(np.random.default_rng(4), 3000, 10)
    plain = measure(Visits(user, day, clicks), window_days=1, before_days=0)
    assert plain.spread.correlation == 0.0
    capped = measure(Visits(user, day, clicks), window_days=1, before_days=0, cap=CapRule(0.95))
    assert capped.spread.cv < plain.spread.cv
    assert 0 < capped.capped < 0.06 * capped.users
    assert plain.capped == 0


def test_a_history_that_says_nothing_is_refused() -> None:
    one = np.array([1, 2, 3])
    visited = Visits(one, np.array([0, 1, 2]), np.array([1.0, 2.0, 3.0]))
    with pytest.raises(PlanError, match="the history has 3 days"):
        measure(visited, window_days=2, before_days=2)
    with pytest.raises(PlanError, match="both above 0"):
        measure(replace(visited, values=np.zeros(3)), window_days=1, before_days=0)
    with pytest.raises(PlanError, match="1 users have a closed window"):
        measure(visited, window_days=1, before_days=2)
    with pytest.raises(PlanError, match="one row per user and day"):
        Visits(one, one, np.array([1.0]))


def test_the_error_of_a_plan_is_the_one_of_the_formula() -> None:
    lanes = Lanes((0.0, 500.0))
    assert scale(lanes, Spread(2.0), 1) == inf
    assert scale(lanes, Spread(2.0), 2) == pytest.approx(2.0 * sqrt(2 / 500))
