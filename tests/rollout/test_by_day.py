"""Days: claims that are seldom false, effects that do differ, and days on which nothing varies or nobody is there."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from serving.rollout.bench.days import DAYS, claims
from serving.rollout.bench.population import EVERYDAY, PURCHASES, Population
from serving.rollout.statistics.by_day import (
    LEAST_USERS,
    Day,
    by_weekday,
    trend,
    weekdays_alike,
    whole_weeks,
)
from serving.rollout.statistics.effect import EffectError, Metric, Ratio
from serving.rollout.statistics.moments import Moments

CLICKS = Metric(Ratio("clicks"))
RATE = Metric(Ratio("clicks", "views"))
MONDAY = date(2026, 3, 2)
Floats = npt.NDArray[np.float64]


def users(draw: np.random.Generator, count: int, lift: float = 0.0) -> Moments:
    views = draw.poisson(5 * draw.lognormal(0, 0.7, count)) + 1.0
    return Moments.of({"clicks": 0.2 * views * (1 + lift) * draw.lognormal(0, 0.5, count), "views": views})


def days(draw: np.random.Generator, lifts: Sequence[float] | Floats, count: int = 400) -> list[Day]:
    return [
        Day(MONDAY + timedelta(days=at), users(draw, count), users(draw, count, lift)) for at, lift in enumerate(lifts)
    ]


def given(clicks: float, count: int = 40) -> Moments:
    return Moments.of({"clicks": np.full(count, clicks), "views": np.ones(count)})


def test_a_fading_effect_is_found_with_its_slope() -> None:
    found = trend(CLICKS, days(np.random.default_rng(2), 0.6 - 0.04 * np.arange(14)))
    assert found.p_value <= 0.001
    assert found.slope == pytest.approx(-0.04, abs=0.015)
    assert found.days == 14


def test_the_slope_is_a_weighted_regressions() -> None:
    """Against numpy's polyfit of the days' differences."""
    draw = np.random.default_rng(4)
    some = days(draw, draw.uniform(0.0, 0.4, 14), count=5000)
    stable, candidate = (np.array([getattr(each, arm).mean()[0] for each in some]) for arm in ("stable", "candidate"))
    slope = np.polyfit(np.arange(14), candidate - candidate.mean() / stable.mean() * stable, 1)[0] / stable.mean()
    assert trend(CLICKS, some).slope == pytest.approx(slope, rel=1e-6)


def test_days_of_the_week_are_summed_and_compared() -> None:
    some = days(np.random.default_rng(5), [0.6 if at % 7 == 5 else 0.0 for at in range(21)], count=600)
    weekdays = by_weekday(some)
    assert [name for name, *_ in weekdays][0::6] == ["Monday", "Sunday"]
    assert weekdays[5][1] == some[5].stable + some[12].stable + some[19].stable
    assert weekdays_alike(CLICKS, some) <= 0.001
    assert weekdays_alike(RATE, some) <= 0.001
    assert weekdays_alike(CLICKS, days(np.random.default_rng(6), np.full(21, 0.2), count=600)) > 0.01


def test_an_effect_that_fades_is_no_difference_between_days_of_the_week() -> None:
    some = days(np.random.default_rng(7), 0.8 - 0.03 * np.arange(21), count=600)
    assert trend(CLICKS, some).p_value <= 0.001
    assert weekdays_alike(CLICKS, some) > 0.01


@pytest.mark.parametrize("population", [EVERYDAY, PURCHASES, None], ids=["clicks", "money", "converts"])
def test_in_experiments_without_an_effect_days_are_seldom_claimed_to_differ(population: Population | None) -> None:
    """300 users a day: what was used before, Cochran's Q and a z test of logarithms, claimed it in 16 to 18 %."""
    found = claims(np.random.default_rng(8), 30, users=300, population=population, lifts=np.zeros(DAYS), differ=False)
    assert all(chance.holds() for chance in found), found


@pytest.mark.parametrize(
    ("stable", "candidate"),
    [(1.0, 1.0), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0)],
    ids=["all converted", "nobody did", "candidate alone", "stable alone"],
)
def test_a_day_on_which_all_users_are_alike_is_a_day_like_others(stable: float, candidate: float) -> None:
    some = days(np.random.default_rng(9), np.zeros(14), count=40)
    some[3] = Day(some[3].day, given(stable), given(candidate))
    assert 0 < trend(CLICKS, some).p_value <= 1
    assert 0 < weekdays_alike(CLICKS, some) <= 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_experiment_without_any_variance_says_so(value: float) -> None:
    same = [Day(MONDAY + timedelta(days=at), given(value), given(value)) for at in range(14)]
    with pytest.raises(EffectError, match="all users have the same number"):
        trend(CLICKS, same)
    with pytest.raises(EffectError, match="all users have the same number"):
        weekdays_alike(CLICKS, same)


def test_stable_without_a_single_click_has_a_trend_and_no_slope_of_it() -> None:
    draw = np.random.default_rng(10)
    some = [Day(each.day, given(0.0, 400), each.candidate) for each in days(draw, np.arange(14) / 5)]
    found = trend(CLICKS, some)
    assert found.slope is None
    assert found.p_value <= 0.001


def test_nothing_is_claimed_before_two_whole_weeks() -> None:
    some = days(np.random.default_rng(11), np.zeros(20), count=40)
    for few in ([], some[:1], some[:13]):
        with pytest.raises(EffectError, match=f"from 2 whole weeks on.*there are {len(few)} such days"):
            whole_weeks(CLICKS.value, few)
    assert whole_weeks(CLICKS.value, some[:14]) == tuple(some[:14])
    assert whole_weeks(CLICKS.value, some) == tuple(some[:14])  # the third week is not whole


def test_days_with_few_users_or_without_a_denominator_are_left_out() -> None:
    some = days(np.random.default_rng(12), np.zeros(15), count=40)
    empty = Moments.empty(("clicks", "views"))
    few = users(np.random.default_rng(13), LEAST_USERS - 1)
    nobody = Moments.of({"clicks": np.zeros(40), "views": np.zeros(40)})
    some[2] = Day(some[2].day, empty, empty)
    some[4] = Day(some[4].day, few, some[4].candidate)
    some[6] = Day(some[6].day, nobody, some[6].candidate)
    assert [each.day.day for each in whole_weeks(RATE.value, some)] == [2, 3, 5, 7, *range(9, 16)]
    assert [each.day.day for each in whole_weeks(CLICKS.value, some)] == [2, 3, 5, 7, 8, *range(9, 16)]
    with pytest.raises(EffectError, match="Wednesday: 1"):
        weekdays_alike(CLICKS, whole_weeks(CLICKS.value, some))
    assert 0 < trend(RATE, whole_weeks(RATE.value, some)).p_value <= 1
