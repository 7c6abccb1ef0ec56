"""Views: trends that are there and that are not, days of the week, users who met what was changed."""

from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from serving.rollout.statistics.effect import EffectError, Metric, Ratio, effect
from serving.rollout.statistics.moments import Moments
from serving.rollout.statistics.views import Group, by_group, by_weekday, same_everywhere, trend, trigger

CLICKS = Metric(Ratio("clicks"))
RATE = Ratio("clicks", "views")
RATE_METRIC = Metric(RATE)
Floats = npt.NDArray[np.float64]


def users(draw: np.random.Generator, count: int, lift: float = 0.0) -> Moments:
    views = draw.poisson(5 * draw.lognormal(0, 0.7, count)) + 1.0
    return Moments.of({"clicks": 0.2 * views * (1 + lift) * draw.lognormal(0, 0.5, count), "views": views})


def days(draw: np.random.Generator, lifts: Floats, count: int = 400) -> list[Group]:
    return [
        Group(f"day {place}", place, users(draw, count), users(draw, count, lift)) for place, lift in enumerate(lifts)
    ]


def test_each_group_has_its_own_effect_and_interval() -> None:
    groups = days(np.random.default_rng(1), np.array([0.0, 0.5]))
    first, second = by_group(CLICKS, groups, alpha=0.05)
    assert first.effect == effect(CLICKS, groups[0].stable, groups[0].candidate)
    assert first.interval == first.effect.interval(float(stats.norm.ppf(0.975)))
    assert second.interval.low > 0.2


def test_a_fading_effect_is_found_with_its_slope() -> None:
    found = trend(CLICKS, days(np.random.default_rng(2), 0.5 - 0.04 * np.arange(12)))
    assert found.p_value < 0.001
    assert found.slope == pytest.approx(np.polyfit(range(12), np.log(1.5 - 0.04 * np.arange(12)), 1)[0], abs=0.01)
    assert abs(found.slope) > 3 * found.slope_se


def test_no_trend_is_seen_as_often_as_it_should() -> None:
    draw, slopes, p_values = np.random.default_rng(3), [], []
    for _ in range(120):
        found = trend(CLICKS, days(draw, np.full(5, 0.1), count=120))
        slopes.append(found.slope / found.slope_se)
        p_values.append(found.p_value)
    assert stats.kstest(slopes, "norm").pvalue > 0.01
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 120))


def test_the_slope_is_a_weighted_regressions() -> None:
    groups = days(np.random.default_rng(4), np.array([0.1, 0.3, 0.2, 0.0, 0.4]))
    effects = [effect(RATE_METRIC, each.stable, each.candidate) for each in groups]
    by_numpy = np.polyfit(
        range(5),
        [np.log(each.candidate.value / each.stable.value) for each in effects],
        1,
        w=np.sqrt([each.users for each in effects]),
    )
    assert trend(RATE_METRIC, groups).slope == pytest.approx(by_numpy[0], rel=1e-9)


def test_days_of_the_week_are_summed_and_compared() -> None:
    draw, monday = np.random.default_rng(5), date(2026, 3, 2)
    by_day = {
        monday + timedelta(day): (users(draw, 300), users(draw, 300, 0.6 if day % 7 == 5 else 0.0)) for day in range(14)
    }
    groups = by_weekday(by_day)
    assert [group.name for group in groups][0::6] == ["Monday", "Sunday"]
    assert all(group.stable.count == 600 for group in groups)
    assert groups[5].stable == by_day[monday + timedelta(5)][0] + by_day[monday + timedelta(12)][0]
    assert same_everywhere(CLICKS, groups) < 0.001
    even = [group for group in groups if group.name != "Saturday"]
    assert same_everywhere(CLICKS, even) > 0.01


def test_too_little_for_a_trend_is_refused() -> None:
    nothing = Moments.of({"clicks": [0.0, 0.0], "views": [1.0, 1.0]})
    some = users(np.random.default_rng(6), 50)
    groups = [Group("a", 0, some, some), Group("b", 1, some, some), Group("c", 2, nothing, nothing)]
    with pytest.raises(EffectError, match="2 groups have positive values; a trend needs at least 3"):
        trend(CLICKS, groups)
    with pytest.raises(EffectError, match="needs at least 2"):
        same_everywhere(CLICKS, groups[2:])
    assert trend(CLICKS, [*groups, Group("d", 3, some, some)]).left_out == ("c",)


def triggering(draw: np.random.Generator, count: int, share: float, lift: float) -> tuple[Moments, Moments]:
    views = draw.poisson(5, count) + 1.0
    met = draw.random(count) < share
    clicks = views * draw.lognormal(0, 0.5, count) * np.where(met, 1 + lift, 1.0)
    columns = {"clicks": clicks, "views": views}
    return Moments.of(columns), Moments.of({name: column[met] for name, column in columns.items()})


@pytest.mark.parametrize("value", [Ratio("clicks"), RATE])
def test_the_effect_among_the_triggered_is_diluted_to_all_with_less_noise(value: Ratio) -> None:
    draw = np.random.default_rng(7)
    arms = [triggering(draw, 20_000, 0.1, lift) for lift in (0.0, 0.2)]
    found = trigger(value, (arms[0][0], arms[1][0]), (arms[0][1], arms[1][1]))
    plain = effect(Metric(value), arms[0][0], arms[1][0])
    assert found.share == pytest.approx(0.1, abs=0.01)
    assert found.triggered.relative == pytest.approx(0.2, abs=4 * found.triggered.relative_se)
    assert found.diluted.relative == pytest.approx(0.02, abs=4 * found.diluted.relative_se)
    assert found.diluted.relative_se < 0.5 * plain.relative_se
    assert found.others is not None
    assert found.others.interval(3.5).low < 0 < found.others.interval(3.5).high
    assert not found.sizes.mismatch(0.001)


def test_the_diluted_interval_covers_the_truth_as_it_should() -> None:
    draw, inside = np.random.default_rng(8), 0
    for _ in range(200):
        arms = [triggering(draw, 600, 0.3, lift) for lift in (0.0, 0.2)]
        found = trigger(Ratio("clicks"), (arms[0][0], arms[1][0]), (arms[0][1], arms[1][1]))
        interval = found.diluted.interval(1.96)
        inside += interval.low <= 0.06 <= interval.high
    assert inside / 200 == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 200))


def test_all_users_may_be_triggered() -> None:
    arms = [triggering(np.random.default_rng(seed), 500, 1.0, 0.1)[0] for seed in (1, 2)]
    found = trigger(RATE, (arms[0], arms[1]), (arms[0], arms[1]))
    assert found.others is None
    assert found.diluted.relative == pytest.approx(found.triggered.relative)
    assert found.diluted.relative_se == pytest.approx(found.triggered.relative_se)


def test_triggered_users_that_are_more_than_all_are_refused() -> None:
    some, more = (users(np.random.default_rng(9), count) for count in (10, 20))
    with pytest.raises(EffectError, match="20 triggered users"):
        trigger(RATE, (some, some), (more, more))
